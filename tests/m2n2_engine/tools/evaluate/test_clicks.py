"""Where the simulated annotator clicks, on masks small enough to see it."""

from __future__ import annotations

import numpy as np
import pytest

from m2n2_engine.tools.evaluate.options import Band, ClicksAt, Flip, Options, Rule
from m2n2_engine.tools.evaluate.simulation.clicks import choose_place, draw_inner, measure_depth, next_click
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Click, Mask

BOTH_RULES = pytest.mark.parametrize("rule", Rule)


def draw(*rows: str) -> Mask:
    """``#`` is True."""
    return np.array([[character == "#" for character in row] for row in rows])


def everywhere(pixels: Mask) -> Truth:
    return Truth(pixels, np.ones_like(pixels))


EMPTY = np.zeros((5, 7), bool)
OBJECT = draw("       ", " ####  ", " ####  ", " ####  ", " ####  ")


@BOTH_RULES
def test_the_first_click_is_the_first_of_the_deepest_pixels(rule: Rule) -> None:
    assert next_click(rule, EMPTY, everywhere(OBJECT), []) == Click(2, 2, positive=True)


@BOTH_RULES
def test_the_border_of_the_image_is_an_edge(rule: Rule) -> None:
    assert next_click(rule, EMPTY, everywhere(~EMPTY), []) == Click(2, 2)
    at_border = draw("###    ", "###    ", "###    ", "       ", "       ")
    assert next_click(rule, EMPTY, everywhere(at_border), []) == Click(1, 1)


@BOTH_RULES
def test_an_object_of_one_pixel(rule: Rule) -> None:
    pixel = draw("       ", "       ", "      #", "       ", "       ")
    assert next_click(rule, EMPTY, everywhere(pixel), []) == Click(6, 2)


@BOTH_RULES
def test_what_is_wrongly_taken_gets_a_negative_click(rule: Rule) -> None:
    truth = draw("##     ", "##     ", "       ", "       ", "       ")
    mask = draw("##     ", "##  ###", "    ###", "    ###", "       ")
    assert next_click(rule, mask, everywhere(truth), [Click(0, 0)]) == Click(5, 2, positive=False)


def test_m2n2_looks_at_all_errors_together_and_ritm_at_each_kind() -> None:
    missed, taken = np.zeros((9, 8), bool), np.zeros((9, 8), bool)
    missed[:, :3] = taken[:, 3:6] = True
    # Together six columns wide, the deepest of them where three pixels lie to each side.
    assert next_click(Rule.M2N2, taken, everywhere(missed), []) == Click(2, 2, positive=True)
    # Each three wide and as deep as the other: RITM takes the false positives.
    assert next_click(Rule.RITM, taken, everywhere(missed), []) == Click(4, 1, positive=False)
    missed[:, 7] = False
    wider = missed.copy()
    wider[:, 6] = wider[:, 7] = True
    assert next_click(Rule.RITM, taken, everywhere(missed), [Click(4, y) for y in range(9)]) == Click(1, 1)


@BOTH_RULES
def test_the_unknown_band_is_never_clicked(rule: Rule) -> None:
    truth = Truth(
        draw("       ", "  #    ", "       ", "       ", "       "),
        ~draw("####   ", "## #   ", "####   ", "####   ", "####   "),
    )
    everything = ~EMPTY
    click = next_click(rule, everything, truth, [Click(2, 1)])
    assert click == Click(5, 1, positive=False)
    assert next_click(rule, EMPTY, truth, []) == Click(2, 1, positive=True)


def test_where_nothing_is_wrong_the_deepest_pixel_of_the_object() -> None:
    clicks = [Click(2, 2)]
    assert next_click(Rule.M2N2, OBJECT, everywhere(OBJECT), clicks) == Click(2, 2)
    assert next_click(Rule.RITM, OBJECT, everywhere(OBJECT), clicks) == Click(3, 2)


def test_ritm_never_clicks_a_pixel_twice_and_then_has_none_left() -> None:
    block = draw("       ", "  ##   ", "  ##   ", "       ", "       ")
    clicks: list[Click] = []
    while (click := next_click(Rule.RITM, EMPTY, everywhere(block), clicks)) is not None:
        clicks.append(click)
    assert clicks == [Click(2, 1), Click(3, 1), Click(2, 2), Click(3, 2)]


def test_m2n2_may_click_again_what_does_not_change() -> None:
    assert next_click(Rule.M2N2, EMPTY, everywhere(OBJECT), [Click(2, 2)]) == Click(2, 2)


# --- clicks off the centre


def draw_often(pixels: Mask, times: int = 2000) -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    return [draw_inner(measure_depth(pixels), rng) for _ in range(times)]


def test_inner_pixels_are_those_at_least_three_tenths_as_deep() -> None:
    """Seven by seven pixels are 1, 2, 3, 4, 3, 2, 1 deep: 0.3 * 4 leaves out the outermost ring."""
    square = np.zeros((9, 9), bool)
    square[1:8, 1:8] = True
    found = draw_often(square)
    assert set(found) == {(x, y) for x in range(2, 7) for y in range(2, 7)}
    counts = [found.count(pixel) for pixel in set(found)]
    assert min(counts) > 50  # 80 each in the mean: all are as likely
    assert max(counts) < 115


def test_a_pixel_at_the_very_limit_is_an_inner_one() -> None:
    """Nineteen wide: the deepest lies 10 deep, so 3 deep is 0.3 of it."""
    stripe = np.zeros((60, 21), bool)
    stripe[:, 1:20] = True
    columns = {x for x, _ in draw_often(stripe)}
    assert columns == set(range(3, 18))


def test_inner_clicks_stay_in_the_part_with_the_deepest_pixel() -> None:
    """The left part is three deep, the right one two; both touch at a corner only."""
    parts = np.zeros((9, 12), bool)
    parts[0:5, 0:5] = True
    parts[5:8, 5:8] = True
    assert set(draw_often(parts)) == {(x, y) for x in range(5) for y in range(5)}


@BOTH_RULES
def test_an_inner_click_has_the_sign_of_the_truth_at_its_pixel(rule: Rule) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    truth = everywhere(np.zeros_like(mask))
    click = next_click(rule, mask, truth, [], lambda depth: draw_inner(depth, rng))
    assert click is not None
    assert not click.positive
    assert mask[int(click.y), int(click.x)]


def draw_five(name: str, band: Band = Band.OBJECT, flip: Flip = Flip.NONE, seed: int | None = None) -> list[object]:
    kind = ClicksAt.INNER if seed is None else ClicksAt.INNER_SEEDED
    place = choose_place(Options(Rule.M2N2, (band,), (flip,), 5, clicks_at=kind, seed=seed), (name, band, flip))
    depth = measure_depth(np.ones((200, 200), bool))
    return [place(depth) for _ in range(5)]


def test_draws_depend_on_name_band_flip_and_seed_alone() -> None:
    assert draw_five("a") == draw_five("a")
    assert draw_five("a", seed=3) == draw_five("a", seed=3)
    different = [
        draw_five("a"),
        draw_five("b"),
        draw_five("a", Band.IGNORE),
        draw_five("a", flip=Flip.BOTH),
        draw_five("a", seed=0),
        draw_five("a", seed=1),
    ]
    assert all(first != second for number, first in enumerate(different) for second in different[:number])


def test_the_centre_is_drawn_by_nobody() -> None:
    place = choose_place(Options(Rule.M2N2, (Band.OBJECT,), (Flip.NONE,), 5), ("a", Band.OBJECT, Flip.NONE))
    assert {place(measure_depth(OBJECT)) for _ in range(5)} == {(2, 2)}
