"""Masks as run lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backend.playground.payload import read_runs, write_runs
from m2n2_engine.errors import InvalidMask


@pytest.mark.parametrize(
    ("mask", "runs"),
    [([[0, 0], [0, 0]], [4]), ([[1, 1], [1, 1]], [0, 4]), ([[0, 1], [1, 0]], [1, 2, 1]), ([[1, 0, 1]], [0, 1, 1, 1])],
)
def test_runs_go_row_by_row_and_begin_with_what_is_not_set(mask, runs):
    assert write_runs(np.array(mask, bool)) == runs


@settings(deadline=None)
@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_a_mask_comes_back(mask):
    np.testing.assert_array_equal(read_runs(write_runs(mask), mask.shape), mask)


@pytest.mark.parametrize("runs", [[], [5], [3], [-1, 5], [5, -1], [2**70], [2, -(2**70), 2**70 + 2]])
def test_runs_of_another_image_are_refused(runs):
    with pytest.raises(InvalidMask, match="2 x 2 pixels"):
        read_runs(runs, (2, 2))


@settings(deadline=None)
@given(st.lists(st.integers(-3, 9), max_size=6))
def test_whatever_comes_is_a_mask_or_refused(runs):
    try:
        mask = read_runs(runs, (3, 4))
    except InvalidMask:
        return
    assert mask.shape == (3, 4)
    assert mask.sum() == sum(runs[1::2])
