"""Bands cover everything once, from any thread."""

import threading

import numpy as np
import pytest

from m2n2_engine.kernels.cpu import threads as kernel_threads
from m2n2_engine.kernels.cpu.click_maps import flood_fill


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("length", [0, 1, 5, 100])
def test_bands_cover_the_range_once(threads, count, length):
    threads(count)
    seen = np.zeros(length, int)

    def visit(start, stop):
        seen[start:stop] += 1

    kernel_threads.run_in_bands(visit, length)
    assert (seen == 1).all()


def test_an_error_in_a_band_reaches_the_caller():
    def fail(start, stop):
        raise ValueError(f"band {start} to {stop}")

    with pytest.raises(ValueError, match="band"):
        kernel_threads.run_in_bands(fail, 100)


def test_kernels_entered_together_from_many_threads_agree():
    values = np.random.default_rng(0).random((60, 70), np.float32)
    expected = flood_fill(values, (3, 4))
    ready = threading.Barrier(8)
    results = []

    def work():
        ready.wait()
        results.append(all(np.array_equal(flood_fill(values, (3, 4)), expected) for _ in range(20)))

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [True] * 8
