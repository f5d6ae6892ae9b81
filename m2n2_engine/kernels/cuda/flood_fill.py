"""Step 5: values are carried along all rows, then along all columns, in turn until nothing changes.

What a pixel does to a value that is carried over it, ``max(barrier, min(value, filled))``, is a clamp, and clamps after
one another are one again: so a whole row is one parallel scan. Maps of photographs take 12 to 100 rounds over rows and
columns; what is left after ``ROUNDS_ON_DEVICE``, as in a maze, the processor finishes. Only largest and smallest values
are taken, so that the result is that of ``kernels.cpu.click_maps`` to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from m2n2_engine.kernels.cpu.click_maps import finish_fill

_CHECK_EVERY_ROUNDS = 8
"""Rounds between looks at whether anything still changes, each of which waits for the device."""

ROUNDS_ON_DEVICE = 128
"""About 6 ms at a megapixel on an H200, as much as the processor then takes for the rest."""

_ROWS = 4
"""Rows of a program, which are stored as columns."""

LEAST_WIDTH = 1024
"""Narrower maps take the kernel of this width: no annotator shall wait for a compiler."""

_WARPS = 4


def flood_fill(
    values: torch.Tensor,
    pixels: Sequence[tuple[int, int]],
    *,
    least_width: int = LEAST_WIDTH,
    rounds_on_device: int = ROUNDS_ON_DEVICE,
) -> torch.Tensor:
    """Smallest possible largest ``|v(p) - v(click)|`` along any 4-connected path from each map's click.

    Args:
        values: ``(k, H, W)`` float32.
        pixels: ``(x, y)`` of the k clicks.
        least_width: of the kernel, in pixels, a power of two.
        rounds_on_device: over rows and columns; the processor finishes the rest.

    Returns:
        ``(k, H, W)`` float32, 0 at the click.
    """
    click = torch.arange(len(pixels), device=values.device)
    x, y = torch.tensor(pixels, device=values.device).unbind(dim=1)
    barrier = (values - values[click, y, x][:, None, None]).abs_()
    filled = torch.full_like(barrier, float("inf"))
    filled[click, y, x] = 0
    upright, turned = _Pass(barrier, least_width), _Pass(barrier.mT.contiguous(), least_width)
    for done in range(1, rounds_on_device + 1):
        filled = turned.carry(upright.carry(filled))
        if done % _CHECK_EVERY_ROUNDS == 0 and not bool((upright.changes + turned.changes).any()):
            return filled
    for unfinished in (upright.changes + turned.changes).nonzero()[:, 0].tolist():
        filled[unfinished] = _finish_on_processor(barrier[unfinished], filled[unfinished])
    return filled


class _Pass:
    """Carries values along the rows of maps, both ways, and turns the maps."""

    def __init__(self, barrier: torch.Tensor, least_width: int) -> None:
        """barrier: ``(k, H, W)``, contiguous."""
        self._barrier = barrier
        maps, self._height, self._width = barrier.shape
        self._grid = (triton.cdiv(self._height, _ROWS), maps)
        self._kernel_width = max(least_width, triton.next_power_of_2(self._width))
        self._turned = torch.empty_like(barrier.mT, memory_format=torch.contiguous_format)
        self._changes = torch.empty(*self._grid, dtype=torch.int32, device=barrier.device)

    def carry(self, filled: torch.Tensor) -> torch.Tensor:
        """``(k, H, W)`` -> ``(k, W, H)``, which the next call overwrites."""
        with torch.cuda.device_of(filled):
            _carry_kernel[self._grid](
                *(self._barrier, filled, self._turned, self._changes, self._height, self._width),
                ROWS=_ROWS, WIDTH=self._kernel_width, num_warps=_WARPS,
            )  # fmt: skip
        return self._turned

    @property
    def changes(self) -> torch.Tensor:
        """``(k,)`` how many values of each map the last call lowered."""
        return self._changes.sum(dim=0)


def _finish_on_processor(barrier: torch.Tensor, filled: torch.Tensor) -> torch.Tensor:
    finished = filled.cpu()
    finish_fill(barrier.cpu().numpy(), finished.numpy())
    return finished.to(filled.device)


@triton.jit(do_not_specialize=["height", "width"])
def _carry_kernel(barrier, filled, turned, changes, height, width, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, WIDTH)[None, :]
    inside = (row < height) & (column < width)
    click = tl.program_id(1).to(tl.int64) * height * width
    place = click + row * width + column
    # Nothing passes over what is outside: a clamp between infinities.
    lowest = tl.load(barrier + place, mask=inside, other=float("inf"))
    before = tl.load(filled + place, mask=inside, other=float("inf"))
    _, carried = tl.associative_scan((lowest, before), 1, _clamp_twice)
    _, carried = tl.associative_scan((lowest, carried), 1, _clamp_twice, reverse=True)
    tl.store(turned + click + column * height + row, carried, mask=inside)
    changed = tl.sum(tl.sum((carried < before).to(tl.int32), axis=1), axis=0)
    tl.store(changes + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), changed)


@triton.jit
def _clamp_twice(first_low, first_high, second_low, second_high):
    """The clamp to ``first_low..first_high`` followed by that to ``second_low..second_high``."""
    low = tl.maximum(second_low, tl.minimum(second_high, first_low))
    high = tl.maximum(second_low, tl.minimum(second_high, first_high))
    return low, high
