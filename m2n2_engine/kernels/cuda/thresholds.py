"""Steps 6 and 7 where the maps are: the torch form of ``method.thresholds``, for devices to which the way is long.

No map leaves the device; the host waits for it only to hand over the pixels and signs of a prompt. Only the Sobel
magnitude's last bits, and with them one level of 1024 at some pixels, may differ from ``method.thresholds``, whose
docstrings hold here too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch.nn import functional

from m2n2_engine.config import MethodConfig
from m2n2_engine.method.thresholds import SMALLEST_THRESHOLD, count_ranks
from m2n2_engine.types import Mask


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceRankedMap:
    """As ``method.thresholds.RankedMap``, of tensors on one device."""

    values: torch.Tensor
    pixel: tuple[int, int]
    thresholds: torch.Tensor
    edges: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self.values.nbytes + self.thresholds.nbytes + self.edges.nbytes


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceSegment:
    """As ``method.thresholds.ClickSegment``, of scalars on the device."""

    threshold: torch.Tensor
    score: torch.Tensor


def rank_map(values: torch.Tensor, pixel: tuple[int, int], method: MethodConfig) -> DeviceRankedMap:
    """Sort a click's Markov-map ``(H, W)`` float32, 0..1, and measure the border of the segment of every rank."""
    thresholds, order = torch.sort(values.flatten(), stable=True)
    ranks = count_ranks(values.numel(), method.click_area_limit)
    edges = _border_means(order, sobel_levels(values, method.edge_levels), ranks)
    return DeviceRankedMap(values, pixel, thresholds[: max(ranks, 1)].clone(), edges)


def sobel_levels(values: torch.Tensor, levels: int) -> torch.Tensor:
    """Sobel magnitude ``(H, W)`` int64 of a map (reflect padding), over its maximum, times ``levels``, truncated."""
    padded = _reflect(_reflect(values).mT).mT
    down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    magnitude = ((down[:, 2:] - down[:, :-2]) ** 2 + (across[2:] - across[:-2]) ** 2).sqrt()
    largest = magnitude.max()
    return torch.where(largest > 0, magnitude * (levels / largest), magnitude).long()


def _reflect(values: torch.Tensor) -> torch.Tensor:
    """One more column on each side: the second and the last but one; the only one where there is no other."""
    if values.shape[1] == 1:
        return values.expand(-1, 3)
    return torch.cat([values[:, 1:2], values, values[:, -2:-1]], dim=1)


def _border_means(order: torch.Tensor, levels: torch.Tensor, ranks: int) -> torch.Tensor:
    """Mean of ``levels`` over the border of the segment of each of the first ``ranks``; ``(ranks,)`` float32."""
    # A pixel lies on the border from the rank at which its first neighbour joins until it joins itself.
    own = torch.empty_like(order)
    own[order] = torch.arange(len(order), device=order.device)
    own = own.view(levels.shape)
    around = functional.pad(own, (1, 1, 1, 1), value=len(order))
    neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    first = torch.stack([own, *neighbours]).amin(dim=0).flatten()
    sums, counts = (_sum_over_borders(each, first, order)[:ranks] for each in (levels.flatten(), first.new_ones(1)))
    return torch.where(counts > 0, sums.double() / counts.clamp(min=1), 0).float()


def _sum_over_borders(values: torch.Tensor, first: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """For each rank the sum of the values of the pixels of its border; ``(H * W,)`` int64, exact.

    values: of each pixel. first: rank at which a pixel's border begins. order: the pixel at which each rank ends.
    """
    values = values.expand(len(first))
    # Borders of at most five pixels begin together, so that sums seldom wait for each other; one ends at each rank.
    begins = torch.zeros_like(first).index_add_(0, first, values)
    return (begins - values[order]).cumsum(dim=0)


def decide_jointly(maps: Sequence[DeviceRankedMap], signs: Sequence[bool], method: MethodConfig) -> tuple[Mask, float]:
    """As ``method.thresholds.decide_jointly``: of each prompt one mask comes from the device, and the scores."""
    segments = choose_thresholds(maps, signs, method)
    mask = merge_clicks(maps, segments, signs).cpu().numpy()
    scores = torch.stack([segment.score for segment in segments]).tolist()
    positive = [score for score, sign in zip(scores, signs, strict=True) if sign]
    return mask, sum(positive) / len(positive) if positive else 0.0


def choose_thresholds(
    maps: Sequence[DeviceRankedMap], signs: Sequence[bool], method: MethodConfig
) -> list[DeviceSegment]:
    """The best rank of each click, given all clicks of the prompt. signs: True where the click is positive."""
    device = maps[0].values.device
    x, y = torch.tensor([ranked.pixel for ranked in maps], device=device).unbind(dim=1)
    positive = torch.tensor(signs, device=device)
    return [
        _choose_threshold(ranked, ranked.values[y, x], positive == sign, signs.count(sign), method)
        for ranked, sign in zip(maps, signs, strict=True)
    ]


def _choose_threshold(
    ranked: DeviceRankedMap, at_clicks: torch.Tensor, is_same: torch.Tensor, same_count: int, method: MethodConfig
) -> DeviceSegment:
    """at_clicks: the map's values at all clicks. is_same: which of them have this click's sign: same_count."""
    if not len(ranked.edges):
        return DeviceSegment(ranked.thresholds[0], torch.zeros((), device=at_clicks.device))
    thresholds = ranked.thresholds[: len(ranked.edges)]
    limit = torch.minimum(ranked.values.max(), torch.where(is_same, torch.inf, at_clicks).min())
    same_sign = torch.where(is_same, at_clicks, torch.inf).sort().values
    share = torch.searchsorted(same_sign, thresholds, right=True).double() / same_count
    scores = torch.where(thresholds < limit, (ranked.edges * share).float(), 0)
    largest = scores.max()
    # The lowest of equal ranks, which argmax does not promise.
    ranks = torch.arange(len(scores), device=scores.device)
    best = torch.where(scores == largest, ranks, len(scores)).min()
    return DeviceSegment(ranked.thresholds[best], (largest / method.edge_levels).clamp(max=1))


def merge_clicks(
    maps: Sequence[DeviceRankedMap], segments: Sequence[DeviceSegment], signs: Sequence[bool]
) -> torch.Tensor:
    """The nearest click wins every pixel. Returns bool ``(H, W)``; every clicked pixel has its own click's sign."""
    nearest = torch.full_like(maps[0].values, float("inf"))
    mask = torch.zeros_like(nearest, dtype=torch.bool)
    for ranked, segment, sign in zip(maps, segments, signs, strict=True):
        distance = ranked.values / segment.threshold.clamp(min=SMALLEST_THRESHOLD)
        closer = distance < nearest  # on a tie the earlier click keeps the pixel
        nearest = torch.where(closer, distance, nearest)
        mask = torch.where(closer, (distance <= 1) & sign, mask)
    for ranked, sign in zip(maps, signs, strict=True):
        x, y = ranked.pixel
        mask[y, x] = sign
    return mask
