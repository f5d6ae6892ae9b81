"""Group normalisation whose groups are shared by many programs, for networks of few groups and many pixels.

torch gives each group to one block. The VAE of Stable Diffusion has 32 groups, and an H200 has 132 multiprocessors. So
a quarter of the chip works, for 23 of the 47 ms that the VAE takes of one megapixel. Here up to 64 programs a group
find the mean and the squares of a part each, and as many normalise.

These kernels were never timed, because no GPU was at hand. They are tested in Triton's interpreter, and they compile
for an H200. The same division of the work, tried by hand on one H200 before they were written, took the VAE from 47 to
25.9 ms, with outputs within 4e-3. ``m2n2 benchmark`` times them beside torch's.

SiLU, which follows most of these layers, is not part of them: diffusers calls it from the block around both, and shares
it with the embedding of time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import nn

_PROGRAMS_A_GROUP = 64
"""Programs of one group. As in the trial by hand: 32 groups then have 2048, fifteen for each multiprocessor."""

_BLOCK = 4096
"""Elements that a program reads at a time. By arithmetic: 16 a thread, in registers."""

_WARPS = 8

_FUSED_TYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Sums are of float32, which would be too short for longer ones."""


class ChunkedGroupNorm(nn.GroupNorm):
    """``nn.GroupNorm`` by these kernels, with the parameters of the one that it replaces.

    Its plain form is torch's, which tensors of other types still take.
    """

    def __init__(self, replaced: nn.GroupNorm) -> None:
        """replaced: with weights and biases, frozen."""
        super().__init__(replaced.num_groups, replaced.num_channels, replaced.eps, device="meta")
        self.weight = replaced.weight
        self.bias = replaced.bias

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(n, channels, ...)`` -> the same shape and type."""
        if input.dtype in _FUSED_TYPES and input.numel():
            return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
        return super().forward(input)


def replace_group_norms(network: nn.Module) -> None:
    """Put a ``ChunkedGroupNorm`` in the place of every ``nn.GroupNorm`` of a frozen network that has weights."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.GroupNorm and child.affine:
                setattr(module, name, ChunkedGroupNorm(child))


def group_norm(
    values: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """As ``torch.nn.functional.group_norm``, summed in float32.

    All values are taken from the first one of their group, and parts are joined by their means and their squares around
    these (Chan, Golub and LeVeque, 1979). So a mean far from 0 costs no digits, as it would in a mean of squares less
    the square of the mean.

    Args:
        values: ``(n, channels, ...)``, float16, bfloat16 or float32, at least one element.
        groups: that the channels are divided into, in their order.
        weight: ``(channels,)``.
        bias: ``(channels,)``.
        epsilon: is added to the variance.

    Returns:
        A tensor of the shape and type of ``values``, contiguous.
    """
    values = values.contiguous()
    samples, channels = values.shape[:2]
    pixels = values[0, 0].numel()
    size = channels // groups * pixels
    length = triton.cdiv(triton.cdiv(size, _BLOCK), _PROGRAMS_A_GROUP) * _BLOCK
    chunks = triton.cdiv(size, length)
    result = torch.empty_like(values)
    means, squares = torch.empty(2, samples * groups, chunks, device=values.device)
    grid = (samples * groups, chunks)
    with torch.cuda.device_of(values):
        _describe_kernel[grid](values, means, squares, size, length, chunks, BLOCK=_BLOCK, num_warps=_WARPS)
        _normalise_kernel[grid](
            *(values, means, squares, weight, bias, result),
            *(size, length, chunks, pixels, channels // groups, groups, epsilon),
            CHUNKS=triton.next_power_of_2(chunks), BLOCK=_BLOCK, num_warps=_WARPS,
        )  # fmt: skip
    return result


@triton.jit
def _describe_kernel(values, means, squares, size, length, chunks, BLOCK: tl.constexpr):
    """The mean of a part of a group, less the group's first value, and the sum of squares around that mean."""
    group = tl.program_id(0)
    chunk = tl.program_id(1)
    first = chunk * length
    last = tl.minimum(first + length, size)
    start = values + group.to(tl.int64) * size
    origin = tl.load(start).to(tl.float32)
    offset = tl.arange(0, BLOCK)
    mean = 0.0
    square = 0.0
    count = 0.0
    for begin in range(first, last, BLOCK):
        inside = begin + offset < last
        block = tl.where(inside, tl.load(start + begin + offset, mask=inside, other=0.0).to(tl.float32) - origin, 0.0)
        number = tl.minimum(last - begin, BLOCK).to(tl.float32)
        block_mean = tl.sum(block, axis=0) / number
        apart = tl.where(inside, block - block_mean, 0.0)
        step = block_mean - mean
        share = number / (count + number)
        mean += step * share
        square += tl.sum(apart * apart, axis=0) + step * step * count * share
        count += number
    tl.store(means + group * chunks + chunk, mean)
    tl.store(squares + group * chunks + chunk, square)


@triton.jit
def _normalise_kernel(
    values, means, squares, weight, bias, result,
    size, length, chunks, pixels, channels, groups, epsilon,
    CHUNKS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A part of a group, by what all of its parts have found."""
    group = tl.program_id(0)
    first = tl.program_id(1) * length
    last = tl.minimum(first + length, size)
    part = tl.arange(0, CHUNKS)
    there = part < chunks
    counts = tl.where(there, tl.minimum(size - part * length, length), 0).to(tl.float32)
    part_means = tl.load(means + group * chunks + part, mask=there, other=0.0)
    mean = tl.sum(counts * part_means, axis=0) / size
    apart = part_means - mean
    own = tl.load(squares + group * chunks + part, mask=there, other=0.0)
    factor = 1.0 / tl.sqrt(tl.sum(own + counts * apart * apart, axis=0) / size + epsilon)
    base = group.to(tl.int64) * size
    origin = tl.load(values + base).to(tl.float32)
    first_channel = group % groups * channels
    offset = tl.arange(0, BLOCK)
    for begin in range(first, last, BLOCK):
        place = begin + offset
        inside = place < last
        channel = first_channel + place // pixels
        scale = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32) * factor
        shift = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
        block = tl.load(values + base + place, mask=inside, other=0.0).to(tl.float32) - origin
        tl.store(result + base + place, (block - mean) * scale + shift, mask=inside)
