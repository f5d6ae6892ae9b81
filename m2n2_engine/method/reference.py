"""The direct, textbook form of the steps that ``kernels`` has faster: their text, and the oracle of their tests.

Written for plainness in torch and numpy, as the steps are stated; nothing here is used to answer a click. The benchmark
measures against it. Step 3 is in ``chain``, and steps 6 and 7 from the borders on are in ``thresholds``: these are
plain and fast at once.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import ChainConfig, MethodConfig
from m2n2_engine.method.chain import AttentionFactors
from m2n2_engine.types import Image, Map, Mask


def attention(factors: AttentionFactors) -> torch.Tensor:
    """Step 1: every head's whole matrix at once. Returns ``(n, n)``."""
    cells = factors.grid[0] * factors.grid[1]
    total = torch.zeros(cells, cells, device=factors.layers[0].query.device)
    for layer in factors.layers:
        products = layer.query.float() @ layer.key.float().transpose(1, 2)
        scores = products * layer.scale / math.sqrt(layer.query.shape[2])
        mean = scores.softmax(dim=2).mean(dim=0)
        total = total + layer.weight * mean[layer.special_tokens :, layer.special_tokens :]
    return total / total.sum(dim=1, keepdim=True)


def temper(matrix: torch.Tensor, temperature: float) -> torch.Tensor:
    """Step 2, first half."""
    return (matrix.log() / temperature).softmax(dim=1)


def balance(matrix: torch.Tensor, rounds: int) -> torch.Tensor:
    """Step 2, second half: all rounds, each over the full matrix."""
    for _ in range(rounds):
        columns = matrix.sum(dim=0, keepdim=True)
        matrix = matrix / torch.where(columns > 0, columns, 1.0)
        matrix = matrix / matrix.sum(dim=1, keepdim=True)
    return matrix


def transition(attention: torch.Tensor, chain: ChainConfig) -> torch.Tensor:
    """Step 2: ``(n, n)``, doubly stochastic."""
    return balance(temper(attention, chain.temperature), chain.balancing_rounds)


def upsample(coarse: Map, image: Image, method: MethodConfig) -> Map:
    """Step 4: one pass over shifted arrays for each window pixel."""
    height, width = image.shape[:2]
    sigma_y, sigma_x = (
        pixels / cells * method.spatial_sigma_cells for pixels, cells in zip((height, width), coarse.shape, strict=True)
    )
    reach_y = min(int(method.window_sigmas * sigma_y + 1e-9), height - 1)
    reach_x = min(int(method.window_sigmas * sigma_x + 1e-9), width - 1)
    guide = torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255))
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(coarse)[None, None], (height, width), mode="bilinear")
    values = enlarged[0, 0]
    total, weights = torch.zeros(height, width), torch.zeros(height, width)
    for dy in range(-reach_y, reach_y + 1):
        for dx in range(-reach_x, reach_x + 1):
            squared = (dy / sigma_y) ** 2 + (dx / sigma_x) ** 2
            if squared > method.window_sigmas**2 + 1e-9:
                continue
            here = slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))
            there = slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx))
            distance = (guide[:, here[0], here[1]] - guide[:, there[0], there[1]]).square().sum(dim=0)
            weight = torch.exp(-distance / (2 * method.range_sigma**2) - squared / 2)
            total[here] += weight * values[there]
            weights[here] += weight
    return np.asarray(total / weights)


def flood_fill(values: Map, pixel: tuple[int, int]) -> Map:
    """Step 5: every pixel from its neighbours, over and over until nothing changes."""
    x, y = pixel
    barrier = np.abs(values - values[y, x])
    filled = np.full_like(barrier, np.inf)
    filled[y, x] = 0
    while True:
        around = np.pad(filled, 1, constant_values=np.inf)
        lowest = np.minimum.reduce([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
        following: Map = np.minimum(filled, np.maximum(barrier, lowest))
        if np.array_equal(following, filled):
            return following
        filled = following


def sobel_levels(values: Map, levels: int) -> npt.NDArray[np.int64]:
    """Step 6, the edges of a map: Sobel magnitude ``(H, W)`` (reflect padding), over its maximum, times ``levels``,
    truncated."""
    rows, columns = (np.abs(np.arange(-1, size + 1)) for size in values.shape)
    # Reflected at the border pixel; an axis of one pixel has no other.
    rows[-1], columns[-1] = (max(size - 2, 0) for size in values.shape)
    around = values[np.ix_(np.minimum(rows, values.shape[0] - 1), np.minimum(columns, values.shape[1] - 1))]
    down = around[:-2] + 2 * around[1:-1] + around[2:]
    across = around[:, :-2] + 2 * around[:, 1:-1] + around[:, 2:]
    magnitude = np.sqrt((down[:, 2:] - down[:, :-2]) ** 2 + (across[2:] - across[:-2]) ** 2)
    return np.asarray(normalise(magnitude) * levels, np.int64)


def border_means(
    values: Map, levels: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Step 6 for a single click: thresholds and mean levels of the borders of all ``H W - 1`` scored ranks."""
    count = values.size
    order = np.argsort(values, axis=None, kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    grid = np.pad(rank.reshape(values.shape), 1, constant_values=count)
    own = grid[1:-1, 1:-1]
    first = np.minimum.reduce([grid[:-2, 1:-1], grid[2:, 1:-1], grid[1:-1, :-2], grid[1:-1, 2:]])
    on_border = first < own
    border_levels = levels[on_border]
    sums, counts = np.zeros(count + 1), np.zeros(count + 1)
    for places, sign in ((first[on_border], 1), (own[on_border], -1)):
        np.add.at(sums, places, sign * border_levels)
        np.add.at(counts, places, sign)
    return values.ravel()[order][:-1], (sums.cumsum()[:-2] / np.maximum(counts.cumsum()[:-2], 1))


def markov_map(coarse: Map, image: Image, pixel: tuple[int, int], method: MethodConfig) -> Map:
    """Steps 4 and 5 of one click, ``(H, W)`` 0..1."""
    return normalise(flood_fill(normalise(upsample(coarse, image, method)), pixel))


def restore_mask(mask: Mask, reduced: Image, image: Image, range_sigma: float) -> Mask:
    """A mask of the working size at full size: all working pixels within 2 of that under a pixel vote on it, weighted
    by Gaussians of distance (1 working pixel) and of colour difference."""
    shares = [size / full for size, full in zip(mask.shape, image.shape[:2], strict=True)]
    y, x = ((np.arange(full) + 0.5) * share for full, share in zip(image.shape[:2], shares, strict=True))
    balance = np.zeros(image.shape[:2])
    for dy, dx in np.ndindex(5, 5):
        row, column = y.astype(int) + dy - 2, x.astype(int) + dx - 2
        seen = np.logical_and.outer((row >= 0) & (row < mask.shape[0]), (column >= 0) & (column < mask.shape[1]))
        place = np.ix_(row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1))
        squared = np.add.outer((row + 0.5 - y) ** 2, (column + 0.5 - x) ** 2)
        distance = ((reduced[place].astype(float) - image) ** 2).sum(axis=2) / (255 * range_sigma) ** 2
        balance += np.where(mask[place], 1, -1) * seen * np.exp(-(squared + distance) / 2)
    return np.asarray(balance > 0)


def normalise(values: Map) -> Map:
    """``values`` divided by their maximum, 0 to 1; a map that is 0 everywhere stays 0."""
    largest = values.max()
    return np.asarray(values / largest) if largest > 0 else values
