"""What the page makes of masks for its files, beside other people's code: random small masks, exactly."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import playwright
import pytest
from pycocotools import mask as coco_mask

from backend.playground.payload import write_runs
from m2n2_engine.types import Mask
from tests.helpers.paths import ROOT

# Playwright brings it.
NODE = Path(playwright.__file__).parent / "driver" / "node"
COUNT = 400


@pytest.fixture(scope="module")
def masks() -> list[Mask]:
    """From empty to full, with holes, islands in holes and pixels that touch at a corner."""
    random = np.random.default_rng(0)
    sizes = random.integers(1, 12, (COUNT, 2))
    return [random.random(tuple(size)) < share for size, share in zip(sizes, np.linspace(0, 1, COUNT), strict=True)]


@pytest.fixture(scope="module")
def results(masks: list[Mask]) -> list[dict[str, Any]]:
    asked = [{"runs": write_runs(mask), "width": mask.shape[1], "height": mask.shape[0]} for mask in masks]
    command = [NODE, Path(__file__).with_name("page_modules.mjs"), ROOT / "backend" / "playground" / "page"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def measure(points: list[list[float]]) -> float:
    """Area of a ring, below 0 where it goes the other way."""
    (x, y), (next_x, next_y) = np.array(points).T, np.roll(np.array(points), -1, axis=0).T
    return float((x * next_y - next_x * y).sum() / 2)


def test_run_lengths_are_coco_s(masks, results):
    for mask, result in zip(masks, results, strict=True):
        height, width = mask.shape
        runs = coco_mask.frPyObjects({"size": [height, width], "counts": result["counts"]}, height, width)
        np.testing.assert_array_equal(coco_mask.decode(runs) == 1, mask)
        assert result["area"] == mask.sum()


def test_boxes_are_tight(masks, results):
    for mask, result in zip(masks, results, strict=True):
        if not mask.any():
            assert result["box"] is None
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        corners = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert tuple(result["box"][side] for side in ("left", "top", "right", "bottom")) == corners


def test_outlines_enclose_every_pixel_and_no_other(masks, results):
    """Seen along each row: the sides of rings that lie to the left of a pixel's middle are odd in number within."""
    for mask, result in zip(masks, results, strict=True):
        inside = np.zeros(mask.shape, int)
        for ring in result["rings"]:
            points = np.array(ring).reshape(-1, 2)
            for (x, y), (next_x, next_y) in zip(points, np.roll(points, -1, axis=0), strict=True):
                if x == next_x:
                    inside[min(y, next_y) : max(y, next_y), x:] += 1
        np.testing.assert_array_equal(inside % 2 == 1, mask)


def test_polygons_have_the_mask_s_area_with_holes_in_the_pieces_around_them(masks, results):
    for mask, result in zip(masks, results, strict=True):
        for piece in result["polygons"]:
            hole_areas = [measure(hole) for hole in piece["holes"]]
            assert all(area < 0 for area in hole_areas)
            assert measure(piece["outline"]) + sum(hole_areas) > 0
        rings = [ring for piece in result["polygons"] for ring in (piece["outline"], *piece["holes"])]
        assert sum(map(measure, rings)) == pytest.approx(float(mask.sum()))
