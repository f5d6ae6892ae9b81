"""The bytes that CVAT gets hold the mask, whole or as run lengths."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cvat_sdk.masks import decode_mask, encode_mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from backend.cvat.answer import encode_points, find_confidence, render_mask, render_shapes

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans())


@given(masks)
def test_a_mask_is_the_json_of_its_zeros_and_ones(mask):
    expected = json.dumps({"mask": mask.astype(int).tolist()}, separators=(",", ":"))
    assert render_mask(mask).decode() == expected


@given(masks)
def test_run_lengths_are_those_of_cvat_s_own_sdk(mask):
    points = encode_points(mask)
    assert points == encode_mask(mask)
    height, width = mask.shape
    np.testing.assert_array_equal(decode_mask(points, image_width=width, image_height=height), mask)
    confidence = {"spec_id": 0, "value": "0.8750" if mask.any() else "0.0000"}
    expected = {"shapes": [{"type": "mask", "points": points, "attributes": [confidence]}]}
    assert json.loads(render_shapes(mask, 0.75)) == expected


def test_a_mask_that_was_found_is_never_below_the_threshold_of_cvat_s_page():
    found = np.ones((2, 3), bool)
    scores = [0.0, 0.1, 0.5, 0.99, 1.0]
    confidences = [find_confidence(found, score) for score in scores]
    assert confidences == sorted(set(confidences))
    assert (confidences[0], confidences[-1]) == (0.5, 1.0)
    assert find_confidence(~found, 0.0) == 0.0


@pytest.mark.parametrize("slicing", [np.s_[::2, ::3], np.s_[::-1], np.s_[:, 5:20]])
def test_a_view_of_a_mask_is_read_as_it_is(slicing):
    mask = (np.random.default_rng(1).random((30, 40)) < 0.5)[slicing]
    assert json.loads(render_mask(mask))["mask"] == mask.astype(int).tolist()
    assert encode_points(mask) == encode_mask(mask)
