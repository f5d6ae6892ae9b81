"""The picture in the window, and the way from its pixels to those of the image."""

from __future__ import annotations

import numpy as np
import pytest

from m2n2_engine.tools.demo.state import HELP, State
from m2n2_engine.tools.demo.view import View, fit
from m2n2_engine.tools.lettering import fill_lines, measure_width
from m2n2_engine.types import Click, Segmentation, Timings

GREY = 90


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1280, 640), (1280, 640)),
        ((3000, 2000), (960, 640)),
        ((4000, 1000), (1280, 320)),
        ((100, 80), (800, 640)),
        ((1000, 600), (1000, 600)),
        ((1, 1), (640, 640)),
        ((10000, 3), (1280, 1)),
    ],
)
def test_images_fit_the_screen(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert fit(*size).shown == shown


@pytest.mark.parametrize("size", [(3001, 1999), (97, 73), (1280, 640), (5000, 40), (7, 3000)])
def test_every_shown_pixel_goes_to_the_image_and_back(size: tuple[int, int]) -> None:
    viewport = fit(*size)
    columns, rows = viewport.shown
    for column, row in {*((i, 0) for i in range(columns)), *((0, i) for i in range(rows)), (columns - 1, rows - 1)}:
        point = viewport.find_point(column, row)
        assert point is not None
        # The centre of the shown pixel: inside the full-size pixels that it stands for.
        assert column <= point[0] * columns / size[0] <= column + 1
        assert row <= point[1] * rows / size[1] <= row + 1
        placed = viewport.place(Click(*point, positive=False))
        assert (placed.x, placed.y, placed.positive) == (column, row, False)


def test_beside_the_image_there_is_no_point() -> None:
    viewport = fit(1280, 640)
    for pixel in ((-1, -1), (1280, 5), (5, 640), (5, -1)):
        assert viewport.find_point(*pixel) is None
    assert viewport.place(Click(1280, 640)) == Click(1279, 639)


def answered(mask: np.ndarray, *clicks: Click) -> State:
    return State(clicks, 1.0, clicks, Segmentation(mask, 0.5, Timings(0.0, 0.1)))


@pytest.mark.parametrize("size", [(700, 300), (2800, 1200)])
def test_mask_and_clicks_lie_where_the_image_shows_them(size: tuple[int, int]) -> None:
    width, height = size
    image = np.full((height, width, 3), GREY, np.uint8)
    mask = np.zeros((height, width), bool)
    mask[:, : width // 2] = True
    view = View(image)
    columns, rows = view.viewport.shown
    before = view.draw(State())[:rows, :columns].astype(int)
    positive, negative = Click(width * 0.25, height * 0.5), Click(width * 0.75, height * 0.5, positive=False)
    drawn = view.draw(answered(mask, positive, negative))[:rows, :columns].astype(int)
    assert (before == GREY).all()
    assert np.abs(drawn - GREY)[: rows // 4, : columns // 2 - 4].mean() > 20
    assert (drawn[: rows // 4, columns // 2 + 4 :] == GREY).all()
    for share, channel in ((0.25, 1), (0.75, 0)):
        dot = drawn[rows // 2 - 8 : rows // 2 + 8, round(columns * share) - 8 : round(columns * share) + 8]
        assert ((dot[..., channel] > 150) & (dot[..., 2] < 60)).sum() > 20


@pytest.mark.parametrize("size", [(1280, 640), (60, 300), (1280, 8)])
def test_the_text_is_under_the_image_and_whole(size: tuple[int, int]) -> None:
    view = View(np.full((size[1], size[0], 3), 255, np.uint8))
    picture, (columns, rows) = view.draw(State()), view.viewport.shown
    assert (picture[:rows, :columns] == 255).all()
    assert picture.shape[0] <= 640 + 3 * 24 + 24
    text = picture[rows:] > 100
    assert text.any(axis=(1, 2)).sum() > 20
    assert not text[:, -4:].any()  # no letter is cut off
    assert not text[-4:].any()


def test_lines_hold_as_many_items_as_fit() -> None:
    width = measure_width("U: undo  R: reset", 16)
    assert fill_lines(["U: undo", "R: reset", "S: save"], "  ", 16, width) == ["U: undo  R: reset", "S: save"]
    assert fill_lines(list(HELP), " ", 16, 1) == list(HELP)
    assert measure_width("a" * 400, 16) == pytest.approx(100 * measure_width("aaaa", 16), rel=0.1)
