"""Stopwatches: medians of repeated calls, the sides of a ratio in turn, the device waited for."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

ENOUGH_SECONDS = 15.0
"""A form that took this long in all is not repeated: slow forms vary little, and the run has to end."""

ResultT = TypeVar("ResultT")


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """Seconds of each timed call, at least one."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """In seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """The 95th percentile, in seconds; of fewer than 20 calls it leans on the slowest."""
        return float(np.percentile(self.seconds, 95))


def time_call(
    call: Callable[[], ResultT], device: str, clock: Callable[[], float] = time.perf_counter
) -> tuple[ResultT, float]:
    """What ``call`` returns, and its seconds from an idle device to an idle device, by ``clock``."""
    _wait_for(device)
    started = clock()
    result = call()
    _wait_for(device)
    return result, clock() - started


def time_in_turn(
    forms: Sequence[Callable[[], object]], repeats: int, device: str, clock: Callable[[], float] = time.perf_counter
) -> list[Samples]:
    """Each form ``repeats`` times, one after the other, so that all of them meet the same machine.

    Args:
        forms: What is timed.
        repeats: At least 1; a form that took ENOUGH_SECONDS in all is not repeated.
        device: The torch device that is waited for before and after each call.
        clock: Gives the time in seconds.
    """
    taken: list[list[float]] = [[] for _ in forms]
    for _ in range(repeats):
        for form, seconds in zip(forms, taken, strict=True):
            if sum(seconds) < ENOUGH_SECONDS:
                seconds.append(time_call(form, device, clock)[1])
    return [Samples(tuple(seconds)) for seconds in taken]


def _wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
