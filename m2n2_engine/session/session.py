"""One image resident on the device: its transition matrix, its upsampling weights and the maps of its clicks."""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from m2n2_engine.config import Decision, MethodConfig
from m2n2_engine.kernels.click_maps import build_click_maps
from m2n2_engine.kernels.cpu.upsample import build_upsampler, upsampler_bytes
from m2n2_engine.kernels.cpu.walk import build_coarse_maps, build_start_state
from m2n2_engine.kernels.cpu.working_size import reduce_image, restore_mask
from m2n2_engine.kernels.fused import is_fused
from m2n2_engine.session.box import exclude_outside, find_seeds, surround
from m2n2_engine.session.decision import ClickMap, Decider, JointDecider, build_decider
from m2n2_engine.types import Box, Click, Image, Mask

_MapKey = tuple[Decider[Any], tuple[float, float]]


def session_bytes(image_size: tuple[int, int], cells: int, method: MethodConfig, device: torch.device) -> int:
    """Room a session takes before its first click, in bytes. image_size: working ``(H, W)``. cells: ``h * w``."""
    dtype = torch.float16 if is_fused(device) else torch.float32
    return cells**2 * dtype.itemsize + upsampler_bytes(image_size, method, device)


def _freeze(image: Image) -> Image:
    """A view that nobody can write to: kernels are compiled for one kind of image alone, whatever callers have."""
    view = image.view()
    view.setflags(write=False)
    return view


class Session:
    """Answers clicks on one image. Safe under threads; clicks of one session wait for each other."""

    def __init__(self, image: Image, transition: torch.Tensor, method: MethodConfig, click_maps_bytes: int) -> None:
        """image: RGB uint8 ``(H, W, 3)``. transition: ``(h, w, h, w)``, doubly stochastic; kept."""
        self._method = method
        self._image_size = (image.shape[0], image.shape[1])
        self._grid = (transition.shape[0], transition.shape[1])
        cells = self._grid[0] * self._grid[1]
        self._transition = transition.reshape(cells, cells)
        working_image = _freeze(reduce_image(image, method.working_size_pixels))
        self._working_size = (working_image.shape[0], working_image.shape[1])
        self._upsampler = build_upsampler(working_image, self._grid, method, transition.device)
        # Needed on the way back to full size; the caller's own array may change later and is not kept.
        self._reduced = None if self._working_size == self._image_size else working_image
        cell_pixels = max(pixels / cells for pixels, cells in zip(self._working_size, self._grid, strict=True))
        # Colours are settled on the processor, and the maps for that are small.
        on_device = is_fused(transition.device) and method.decision is Decision.JOINT
        self._click_maps = build_click_maps(self._upsampler, on_device=on_device)
        self._decider = build_decider(working_image, cell_pixels, method, on_device=on_device)
        # The clicks that stand for a box come all at once: no one of them corrects another.
        self._box_decider: Decider[Any] = self._decider if method.decision is Decision.JOINT else JointDecider(method)
        self._click_maps_bytes = click_maps_bytes
        self._maps: collections.OrderedDict[_MapKey, ClickMap] = collections.OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory held now, in bytes; grows with the clicks."""
        reduced_bytes = 0 if self._reduced is None else self._reduced.nbytes
        kept_bytes = self._upsampler.nbytes + reduced_bytes + self._decider.nbytes
        return self._transition.nbytes + kept_bytes + self._used_map_bytes()

    def segment(self, image: Image, clicks: Sequence[Click], box: Box | None = None) -> tuple[Mask, float]:
        """Mask bool ``(H, W)`` and score 0..1. image: the session's own, full size. clicks: at least one positive,
        unless there is a box: then its seeds take their place. Nothing outside the box is in the mask."""
        with self._lock:
            if box is not None:
                clicks = [*clicks, *self._find_box_clicks(clicks, box)]
            decider = self._decider if box is None else self._box_decider
            mask, score = decider.decide(clicks, self._find_maps([(click.x, click.y) for click in clicks], decider))
        if self._reduced is not None:
            mask = restore_mask(mask, self._reduced, _freeze(image), self._method.range_sigma)
        for click in clicks:
            x, y = self._to_pixel(click.x, click.y, self._image_size)
            mask[y, x] = click.positive
        return mask if box is None else exclude_outside(mask, box), score

    def _find_box_clicks(self, clicks: Sequence[Click], box: Box) -> list[Click]:
        """What a box says beside the clicks."""
        around = surround(box, self._image_size, self._method)
        if any(click.positive for click in clicks):
            return around
        return [*find_seeds(box, self._image_size, self._transition, self._grid, self._method), *around]

    def _find_maps(self, points: list[tuple[float, float]], decider: Decider[Any]) -> list[ClickMap]:
        """What the decider measures in the maps of these points, computing those not seen before together."""
        # By the exact point, not its pixel: the walk starts from the fraction, and an answer must not depend on who
        # clicked nearby before.
        keys = [(decider, point) for point in points]
        missing = [key for key in dict.fromkeys(keys) if key not in self._maps]
        if missing:
            self._maps.update(zip(missing, self._build_maps([point for _, point in missing], decider), strict=True))
        for key in keys:
            self._maps.move_to_end(key)
        maps = [self._maps[key] for key in keys]
        while self._used_map_bytes() > self._click_maps_bytes and len(self._maps) > 1:
            self._maps.popitem(last=False)
        return maps

    def _build_maps(self, points: list[tuple[float, float]], decider: Decider[Any]) -> list[ClickMap]:
        starts = np.stack([build_start_state(point, self._image_size, self._grid) for point in points])
        coarse_maps = build_coarse_maps(self._transition, starts, self._method)
        pixels = [self._to_pixel(*point, self._working_size) for point in points]
        return self._click_maps.measure(coarse_maps, pixels, decider.measure)

    def _to_pixel(self, x: float, y: float, size: tuple[int, ...]) -> tuple[int, int]:
        """The pixel ``(x, y)`` of an image of ``size`` (H, W) under a point of the full-size image."""
        height, width = self._image_size
        return min(int(x * (size[1] / width)), size[1] - 1), min(int(y * (size[0] / height)), size[0] - 1)

    def _used_map_bytes(self) -> int:
        return sum(ranked.nbytes for ranked in list(self._maps.values()))
