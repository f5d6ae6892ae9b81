"""Annotators at once are answered as if each were alone, and /health answers all the while."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np

from backend.label_studio.brush_rle import encode
from backend.tools.load import Answer
from tests.helpers.soak.load import compare, find_differences, render_report
from tests.helpers.soak.pressure import LEVELS, MOST_GROWTH_BYTES, press
from tests.helpers.soak.server import TINY

SIZE = (120, 160)


def test_every_answer_is_the_one_computed_alone(tmp_path, is_full):
    if is_full:
        environ, annotators, clicks, size = {"M2N2_BACKBONE": "dinov2-small"}, 16, 20, (480, 640)
    else:
        environ, annotators, clicks, size = TINY, 4, 5, SIZE
    load, problems = compare(environ, tmp_path, annotators, clicks, size)
    sys.stdout.write(f"\n{render_report(load)}\n")
    assert problems == []
    assert sum(len(answers) for answers in load.answers) == annotators * clicks


def test_a_cache_smaller_than_the_set_of_images_gives_the_same_masks_and_does_not_grow(tmp_path, is_full):
    if is_full:
        # Each level holds some of the images: clicks find theirs on the device, in host memory, on disk or nowhere.
        room = {"M2N2_SESSION_CACHE_MIB": "16", "M2N2_HOST_CACHE_MIB": "2", "M2N2_DISK_CACHE_MIB": "16"}
        environ = {"M2N2_BACKBONE": "dinov2-small", "M2N2_GRID": "24", **room}
        annotators, at_once, clicks, rounds, tight = 60, 16, 10, 5, LEVELS
    else:
        # What the tiny network leaves of an image is less than any budget below the device's.
        environ, annotators, at_once = {**TINY, "M2N2_SESSION_CACHE_MIB": "6"}, 3, 3
        clicks, rounds, tight = 2, 2, LEVELS[:1]
    pressure = press(environ, tmp_path, annotators, at_once, clicks, rounds, SIZE)
    sys.stdout.write(f"\n{pressure.render()}\n")
    assert pressure.differences == []
    for level in tight:
        assert pressure.hits[level]
        assert pressure.evictions[level]
    assert pressure.growth_bytes < MOST_GROWTH_BYTES


def test_another_mask_is_noticed():
    mask = np.zeros(SIZE, bool)
    mask[:100, :100] = True
    right = Answer(tuple(encode(mask)), 0.1)
    mask[0, :20] = False
    wrong = dataclasses.replace(right, rle=tuple(encode(mask)))
    assert find_differences([[right, right]], [[right, right]], SIZE) == []
    assert find_differences([[right, wrong]], [[right, right]], SIZE) == ["annotator 0, click 2: IoU 0.9980"]
    assert find_differences([[right]], [[Answer((), 0.1)]], SIZE) == ["annotator 0, click 1: IoU 0.0000"]
