"""The reference arrays, one parameter each."""

import numpy as np
import pytest
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.ops.compiled import set_thread_count, thread_count
from m2n2_engine.ops.transition import build_transition

NAMES = ("flowers_dinov2_16", "blobs_local_10x14", "ratio_11x13")


@pytest.fixture(scope="session", params=NAMES)
def reference(request, parity_folder):
    """A dictionary of arrays; see tests/data/parity/README.md for their meaning."""
    with np.load(parity_folder / f"{request.param}.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def threads():
    """Sets how many threads the kernels use, until the test ends."""
    before = thread_count()
    yield set_thread_count
    set_thread_count(before)


@pytest.fixture
def method():
    return MethodConfig()


@pytest.fixture
def attention(reference):
    """(n, n), a copy that the test may overwrite."""
    cells = reference["attention"].shape[0] * reference["attention"].shape[1]
    return torch.from_numpy(reference["attention"].reshape(cells, cells).copy())


@pytest.fixture
def transition(attention, method):
    return build_transition(attention, method)


@pytest.fixture
def pixel(reference):
    """(x, y) of the reference click."""
    return int(reference["click"][0]), int(reference["click"][1])


@pytest.fixture(scope="session")
def relative_error():
    """max |a - b| / max |b|."""
    return lambda found, expected: np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()
