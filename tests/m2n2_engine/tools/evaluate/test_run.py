"""The loop: every object, band and flip once, whatever happens in between and however many at a time."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import load_engine
from m2n2_engine.errors import ConfigurationError, InvalidImage, OutOfMemory
from m2n2_engine.tools.context import read_image
from m2n2_engine.tools.datasets.coco import Instance
from m2n2_engine.tools.drawing import write_picture
from m2n2_engine.tools.evaluate.measures.metrics import score
from m2n2_engine.tools.evaluate.options import Band, BoxKind, Flip, Rule
from m2n2_engine.tools.evaluate.refinement import Journal, Refinement, decode_mask
from m2n2_engine.tools.evaluate.run import refine_all
from m2n2_engine.types import Click, Image, Mask, Tier
from tests.helpers.evaluation import (
    OPTIONS,
    Answer,
    FakeInstance,
    FakeSegmenter,
    Refine,
    answer_everything,
    answer_nothing,
    answer_red,
)

pytestmark = pytest.mark.usefixtures("one_thread")

BOTH_RULES = pytest.mark.parametrize("rule", Rule)


def without_times(refinements: list[Refinement]) -> list[Refinement]:
    return [dataclasses.replace(found, click_seconds=(), prepare_seconds=None) for found in refinements]


def test_order_and_names(refine: Refine) -> None:
    options = dataclasses.replace(OPTIONS, flips=(Flip.NONE, Flip.BOTH), clicks=1)
    objects, flips = ["a#1", "a#2", "b", "c"], options.flips
    expected = [(name, band, flip) for band in Band for name in objects for flip in flips]
    for jobs in (1, 3):
        assert [found.name for found in refine(FakeSegmenter(answer_nothing), options, jobs)] == expected


# --- segmenters that need no clicks, and such that no click helps


@BOTH_RULES
def test_a_perfect_predictor(refine: Refine, instances: list[Instance], rule: Rule) -> None:
    options = dataclasses.replace(OPTIONS, rule=rule, bands=(Band.IGNORE,))
    found = refine(FakeSegmenter(answer_red), options, only=[instances[2], instances[3]])
    figures = score([each.ious for each in found])
    assert figures.noc == {85: 1, 90: 1, 95: 1}
    assert set(figures.failures.values()) == {0}
    assert figures.mean_ious == (1.0,) * 4


def test_the_band_as_object_takes_more_than_the_sure_pixels(refine: Refine, instances: list[Instance]) -> None:
    (found,) = refine(
        FakeSegmenter(answer_red), dataclasses.replace(OPTIONS, bands=(Band.OBJECT,)), only=[instances[2]]
    )
    sure, unknown = instances[2].sure().sum(), instances[2].unknown().sum()
    assert found.ious == (sure / (sure + unknown),) * 4


@BOTH_RULES
@pytest.mark.parametrize("answer", [answer_nothing, answer_everything])
def test_a_hopeless_predictor(refine: Refine, rule: Rule, answer: Answer) -> None:
    found = refine(FakeSegmenter(answer), dataclasses.replace(OPTIONS, rule=rule, clicks=20))
    figures = score([each.ious for each in found])
    assert figures.noc == {85: 20, 90: 20, 95: 20}
    assert set(figures.failures.values()) == {8}
    if rule is Rule.RITM:
        assert all(len(set(each.clicks)) == 20 for each in found)


@BOTH_RULES
def test_an_object_of_one_pixel_at_the_border(tmp_path: Path, refine: Refine, rule: Rule) -> None:
    pixel = np.zeros((24, 32), bool)
    pixel[23, 31] = True
    instance = FakeInstance(tmp_path / "a.png", pixel)
    write_picture(instance.image_path, np.zeros((24, 32, 3), np.uint8))
    options = dataclasses.replace(OPTIONS, rule=rule, bands=(Band.OBJECT,))
    (found,) = refine(FakeSegmenter(lambda *asked: pixel), options, only=[instance])
    assert found.clicks[0] == Click(31, 23)
    assert found.ious == (1.0,) * 4
    # RITM has nothing left to click, and the figure stays.
    assert len(found.clicks) == (4 if rule is Rule.M2N2 else 1)


def test_clicks_follow_the_masks(refine: Refine, instances: list[Instance]) -> None:
    """Right of column 9 everything, then all but the first row: the third click must know both."""
    masks = [np.indices((24, 32))[1] > 9, np.indices((24, 32))[0] > 0]
    segmenter = FakeSegmenter(lambda image, clicks: masks[len(clicks) % 2])
    (found,) = refine(segmenter, dataclasses.replace(OPTIONS, bands=(Band.IGNORE,)), only=[instances[2]])
    assert [len(clicks) for _, clicks in segmenter.asked] == [1, 2, 3, 4]
    assert segmenter.asked[-1][1] == found.clicks
    assert found.clicks[0].positive
    assert not found.clicks[1].positive


# --- flips


def test_each_flip_is_an_image_of_its_own(refine: Refine, instances: list[Instance]) -> None:
    segmenter = FakeSegmenter(answer_red)
    options = dataclasses.replace(OPTIONS, bands=(Band.IGNORE,), flips=tuple(Flip))
    found = refine(segmenter, options, only=[instances[2]])
    assert [each.flip for each in found] == list(Flip)
    assert {each.ious for each in found} == {(1.0,) * 4}  # so the truth is flipped with its image
    image = read_image(instances[2].image_path)
    expected = [image, image[:, ::-1], image[::-1], image[::-1, ::-1]]
    for (asked, _), flipped in zip(segmenter.asked[::4], expected, strict=True):
        np.testing.assert_array_equal(asked, flipped)


# --- times


def test_an_image_is_prepared_once_for_all_of_its_objects(instances: list[Instance], refine: Refine) -> None:
    engine = load_engine(EngineConfig(backbone="tiny", device="cpu", threads=1, grid=8))
    found = refine(engine, dataclasses.replace(OPTIONS, clicks=2), jobs=2)
    assert engine.status().tiers[Tier.DEVICE].misses == 3
    assert [each.prepare_seconds is not None for each in found] == [True, False, True, True, *[False] * 4]
    # In the second band the first click falls on the same pixel: its time says nothing.
    assert all(each.click_seconds[0] is not None for each in found[:4])
    corner_under_the_other_band = found[5]
    assert corner_under_the_other_band.click_seconds[0] is None


# --- jobs, interruptions, journals


def test_any_number_of_jobs_gives_the_same(instances: list[Instance], tmp_path: Path) -> None:
    options = dataclasses.replace(OPTIONS, clicks=2)
    results = []
    for jobs in (1, 4):
        engine = load_engine(EngineConfig(backbone="tiny", device="cpu", threads=1, grid=8))
        journal = Journal(tmp_path / f"{jobs}.jsonl", {})
        results.append(without_times(refine_all(instances, engine, options, journal, jobs, lambda done, of: None)))
    assert results[0] == results[1]


def test_jobs_are_images_in_flight(refine: Refine) -> None:
    meeting = threading.Barrier(3, timeout=30)

    def answer(image: Image, clicks: Sequence[Click]) -> Mask:
        if len(clicks) == 1 and len(segmenter.asked) <= 3:
            meeting.wait()  # nobody goes on before three are here
        return answer_red(image, clicks)

    segmenter = FakeSegmenter(answer)
    assert len(refine(segmenter, dataclasses.replace(OPTIONS, clicks=2), jobs=3)) == 8


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_interrupted_run_goes_on(refine: Refine, journal: Journal, jobs: int) -> None:
    def interrupt(image: Image, clicks: Sequence[Click]) -> Mask:
        if len(first.asked) > 13:
            raise OutOfMemory("no room")
        return answer_red(image, clicks)

    first, second = FakeSegmenter(interrupt), FakeSegmenter(answer_red)
    with pytest.raises(OutOfMemory, match="no room"):
        refine(first, jobs=jobs)
    made = journal.read()
    assert 0 < len(made) <= 3
    resumed = refine(second, jobs=jobs)
    assert len(second.asked) == 4 * (8 - len(made))
    journal.forget()
    assert without_times(resumed) == without_times(refine(FakeSegmenter(answer_red)))


def test_ctrl_c_ends_the_others_at_their_next_click(refine: Refine, journal: Journal) -> None:
    interrupted = threading.Event()

    def answer(image: Image, clicks: Sequence[Click]) -> Mask:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt
        return answer_red(image, clicks)

    segmenter = FakeSegmenter(answer)
    with pytest.raises(KeyboardInterrupt):
        refine(segmenter, dataclasses.replace(OPTIONS, clicks=1000), jobs=2)
    assert len(segmenter.asked) < 1000
    assert journal.read() == []


def test_a_finished_run_asks_nothing(refine: Refine) -> None:
    made = refine(FakeSegmenter(answer_red))
    again = FakeSegmenter(answer_nothing)
    assert refine(again) == made
    assert again.asked == []


def test_more_bands_and_flips_of_the_same_settings_are_added(refine: Refine) -> None:
    refine(FakeSegmenter(answer_red), dataclasses.replace(OPTIONS, bands=(Band.OBJECT,)))
    more = FakeSegmenter(answer_red)
    refine(more, dataclasses.replace(OPTIONS, flips=(Flip.NONE, Flip.BOTH)))
    assert len(more.asked) == 4 * (4 + 8)


def test_other_settings_do_not_mix(refine: Refine, instances: list[Instance], journal: Journal, tmp_path: Path) -> None:
    made = refine(FakeSegmenter(answer_red))
    other = Journal(tmp_path / "out" / "Discs_metrics.jsonl", {"backbone": "another"})
    assert other.read() == []
    others = refine_all(instances, FakeSegmenter(answer_nothing), OPTIONS, other, 1, lambda done, of: None)
    assert journal.read() != other.read()
    other.forget()
    assert other.read() == []
    assert {found.name: found for found in journal.read()} == {found.name: found for found in made}
    assert others != made


@pytest.mark.parametrize("piece", ['{"key": "0123", "refin', "\n\n"])
def test_what_a_killed_process_left_is_passed_over(
    refine: Refine, journal: Journal, tmp_path: Path, piece: str
) -> None:
    made = refine(FakeSegmenter(answer_red))
    path = tmp_path / "out" / "Discs_metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n" + piece)
    reopened = Journal(path, {"backbone": "fake"})
    assert len(reopened.read()) == len(made) - 1
    reopened.append(made[-1])
    assert {found.name for found in reopened.read()} == {found.name for found in made}


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigurationError, match=r"out/x.jsonl cannot be written: .*; choose another --out"):
        Journal(tmp_path / "out" / "x.jsonl", {})


def test_a_refinement_survives_json(refine: Refine) -> None:
    def through_json(found: Refinement) -> Any:
        return Refinement.from_json(json.loads(json.dumps(found.to_json())))

    made = refine(FakeSegmenter(answer_red))
    assert [through_json(found) for found in made] == made
    options = dataclasses.replace(OPTIONS, flips=(Flip.BOTH,), box=BoxKind.LOOSE, clicks=1, jitter=True)
    boxes = refine(FakeSegmenter(answer_red), options)
    assert [through_json(found) for found in boxes] == boxes


# --- what is kept for the pictures


def test_the_mask_that_is_kept_is_the_first_good_one(refine: Refine, instances: list[Instance]) -> None:
    instance = instances[2]
    masks = [answer_nothing, answer_red, answer_everything, answer_everything]
    segmenter = FakeSegmenter(lambda image, clicks: masks[len(clicks) - 1](image, clicks))
    (found,) = refine(segmenter, dataclasses.replace(OPTIONS, bands=(Band.IGNORE,)), only=[instance])
    np.testing.assert_array_equal(decode_mask(found.shown_mask, (24, 32)), instance.sure())
    assert found.shown_clicks == found.clicks[:2]
    (never,) = refine(
        FakeSegmenter(answer_everything), dataclasses.replace(OPTIONS, bands=(Band.OBJECT,)), only=[instance]
    )
    assert decode_mask(never.shown_mask, (24, 32)).all()
    assert never.shown_clicks == never.clicks


# --- datasets that do not fit together


def test_an_image_of_another_size_is_named(refine: Refine, instances: list[Instance]) -> None:
    write_picture(instances[2].image_path, np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(InvalidImage, match=r"b\.png has \(H, W\) \(10, 10\), but the mask of b \(24, 32\): prepare"):
        refine(FakeSegmenter(answer_red))


def test_an_image_that_is_broken_is_named(refine: Refine, instances: list[Instance]) -> None:
    instances[2].image_path.write_bytes(b"nothing")
    with pytest.raises(InvalidImage, match=r"b\.png: "):
        refine(FakeSegmenter(answer_red))
