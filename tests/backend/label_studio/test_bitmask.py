"""Masks as PNGs: what is written is what other programs read."""

from __future__ import annotations

import base64
import tracemalloc

import cv2
import numpy as np
import pytest

from backend.label_studio.shapes.bitmask import encode
from tests.helpers.label_studio.photographs import decode_bitmask


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (37, 53), (600, 500), (3, 300_000)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_pixel_is_read_as_it_was(shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    url = encode(mask)
    assert np.array_equal(decode_bitmask(url), mask)
    read = cv2.imdecode(np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read[..., 3] > 0, mask), "OpenCV reads the same"


def test_a_mask_of_a_photograph_is_a_small_file_and_takes_little_memory():
    y, x = np.mgrid[:3000, :4000]
    mask = (x - 2000) ** 2 + (y - 1500) ** 2 < 1000**2
    tracemalloc.start()
    try:
        url = encode(mask)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(url) < 100_000
    assert most < 6 * mask.size, "the four channels, alpha alone, and little else"
