"""One object: what is asked, and what is kept of the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m2n2_engine.tools.datasets.coco import Instance
from m2n2_engine.tools.drawing import write_picture
from m2n2_engine.tools.evaluate.options import Band, BoxKind, ClicksAt, Options, Rule
from m2n2_engine.tools.evaluate.refinement import Journal, decode_mask
from m2n2_engine.tools.evaluate.run import refine_all
from m2n2_engine.types import Box, Click, Image, Mask
from tests.helpers.evaluation import (
    OPTIONS,
    FakeInstance,
    FakeSegmenter,
    Refine,
    answer_everything,
    answer_nothing,
    answer_red,
)


def test_masks_and_their_borders_are_kept_after_some_clicks(refine: Refine, instances: list[Instance]) -> None:
    """Before the fifth click nothing, from then on the disc."""
    segmenter = FakeSegmenter(lambda image, clicks: answer_red(image, clicks) & (len(clicks) >= 5))
    options = dataclasses.replace(OPTIONS, bands=(Band.IGNORE,), clicks=12)
    (found,) = refine(segmenter, options, only=[instances[2]])
    assert [(mark.number, mark.boundary_f) for mark in found.marks] == [(1, 0), (2, 0), (3, 0), (5, 1), (10, 1)]
    assert [decode_mask(mark.mask, (24, 32)).any() for mark in found.marks] == [False, False, False, True, True]
    assert found.size_share == instances[2].sure().sum() / (24 * 32)


def test_where_no_click_is_left_the_last_mask_stays(tmp_path: Path, refine: Refine) -> None:
    pixel = np.zeros((24, 32), bool)
    pixel[23, 31] = True
    instance = FakeInstance(tmp_path / "a.png", pixel)
    write_picture(instance.image_path, np.zeros((24, 32, 3), np.uint8))
    options = dataclasses.replace(OPTIONS, rule=Rule.RITM, bands=(Band.OBJECT,), clicks=5)
    (found,) = refine(FakeSegmenter(lambda *asked: pixel), options, only=[instance])
    assert [(mark.number, mark.boundary_f) for mark in found.marks] == [(1, 1), (2, 1), (3, 1), (5, 1)]
    assert (found.invariants.clicks, found.invariants.masks) == (1, 1)


def test_invariants_are_counted_from_click_to_click(refine: Refine, instances: list[Instance]) -> None:
    """Everything, nothing, everything: the second click is negative and keeps its sign, but the first is lost. So is
    the second after the third, which is positive."""
    answers = [answer_everything, answer_nothing]
    segmenter = FakeSegmenter(lambda image, clicks: answers[(len(clicks) - 1) % 2](image, clicks))
    options = dataclasses.replace(OPTIONS, bands=(Band.IGNORE,), clicks=3)
    (found,) = refine(segmenter, options, only=[instances[2]])
    assert [click.positive for click in found.clicks] == [True, False, True]
    counts = found.invariants
    assert (counts.clicks, counts.sign_broken, counts.loses) == (3, 2, 1)
    assert (counts.negative_adds, counts.positive_removes, counts.changed_far) == (0, 0, 2)


# --- boxes


def test_a_box_alone_then_clicks_with_the_same_box(refine: Refine, instances: list[Instance]) -> None:
    segmenter = FakeSegmenter(lambda image, clicks: answer_red(image, clicks) & (len(clicks) >= 1))
    options = dataclasses.replace(OPTIONS, bands=(Band.IGNORE,), box=BoxKind.TIGHT, clicks=2)
    (found,) = refine(segmenter, options, only=[instances[2]])
    assert [len(clicks) for _, clicks in segmenter.asked] == [0, 1, 2]
    rows, columns = np.nonzero(instances[2].sure())
    box = Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert segmenter.boxes == [box] * 3
    assert found.box == box
    assert found.ious == (0.0, 1.0, 1.0)
    assert [mark.number for mark in found.marks] == [0, 1, 2]
    assert (found.invariants.clicks, found.invariants.masks) == (2, 3)
    area = (box.right - box.left) * (box.bottom - box.top)
    # The band is unknown: it leaves the IoU of the filled box too.
    unknown = instances[2].unknown()[int(box.top) : int(box.bottom), int(box.left) : int(box.right)].sum()
    assert found.filled_box_iou == instances[2].sure().sum() / (area - unknown)
    assert found.shown_clicks == found.clicks[:1]


def test_a_box_needs_no_click(refine: Refine, instances: list[Instance]) -> None:
    segmenter = FakeSegmenter(answer_everything)
    options = dataclasses.replace(OPTIONS, bands=(Band.OBJECT,), box=BoxKind.LOOSE, clicks=0)
    (found,) = refine(segmenter, options, only=[instances[2]])
    assert (len(found.ious), found.clicks, found.invariants.outside_box) == (1, (), 1)
    assert found.shown_clicks == ()


def test_without_a_box_none_is_given(refine: Refine, instances: list[Instance]) -> None:
    segmenter = FakeSegmenter(answer_red)
    (found, _) = refine(segmenter, only=[instances[2]])
    assert set(segmenter.boxes) == {None}
    assert (found.box, found.filled_box_iou) == (None, None)


# --- jitter


def test_jitter_asks_for_the_first_click_two_pixels_aside(refine: Refine, instances: list[Instance]) -> None:
    """Right of where it should be, the click finds nothing."""
    middle = 8.0

    def answer(image: Image, clicks: Sequence[Click]) -> Mask:
        return answer_red(image, clicks) & (clicks[0].x <= middle)

    segmenter = FakeSegmenter(answer)
    options = dataclasses.replace(OPTIONS, bands=(Band.IGNORE,), clicks=2, jitter=True)
    (found,) = refine(segmenter, options, only=[instances[2]])
    x, y = found.clicks[0].x, found.clicks[0].y
    moved = [clicks for _, clicks in segmenter.asked[2:]]
    assert moved == [(Click(x + 2, y),), (Click(x - 2, y),), (Click(x, y + 2),), (Click(x, y - 2),)]
    assert found.moved_ious == (0.0, 1.0, 1.0, 1.0)
    assert found.ious == (1.0, 1.0)
    assert found.invariants.clicks == 2


def test_jitter_moves_the_box(refine: Refine, instances: list[Instance]) -> None:
    segmenter = FakeSegmenter(answer_red)
    options = dataclasses.replace(OPTIONS, bands=(Band.IGNORE,), box=BoxKind.TIGHT, clicks=0, jitter=True)
    (found,) = refine(segmenter, options, only=[instances[2]])
    assert found.box is not None
    assert [moved.left - found.box.left for moved in segmenter.boxes if moved is not None] == [0, 2, -2, 0, 0]
    assert not any(clicks for _, clicks in segmenter.asked)
    assert found.moved_ious == (1.0,) * 4


# --- clicks off the centre


def test_inner_clicks_are_the_same_in_every_run_and_for_any_number_of_jobs(
    instances: list[Instance], tmp_path: Path
) -> None:
    options = dataclasses.replace(OPTIONS, clicks_at=ClicksAt.INNER)

    def click(name: str, jobs: int, only: list[Instance], chosen: Options = options) -> dict[Any, tuple[Click, ...]]:
        journal = Journal(tmp_path / f"{name}.jsonl", {})
        made = refine_all(only, FakeSegmenter(answer_nothing), chosen, journal, jobs, lambda done, of: None)
        return {found.name: found.clicks for found in made}

    first = click("first", 1, instances)
    assert click("jobs", 3, instances[::-1]) == first
    assert click("alone", 1, instances[2:3]).items() <= first.items()
    assert click("centre", 1, instances, OPTIONS) != first
    seeded = [dataclasses.replace(options, clicks_at=ClicksAt.INNER_SEEDED, seed=seed) for seed in (0, 1)]
    others = [click(f"seed {each.seed}", 1, instances, each) for each in seeded]
    assert others[0] != others[1] != first != others[0]
