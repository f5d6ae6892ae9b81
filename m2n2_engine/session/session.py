"""One image resident on the device: its transition matrix, its upsampling weights and the maps of its clicks."""

from __future__ import annotations

import dataclasses
import math
import threading

import cv2
import numpy as np
import torch

from m2n2_engine.config import Decision, MethodConfig
from m2n2_engine.kernels import Kernels
from m2n2_engine.method.decider import Decided, Impression, PromptDecider
from m2n2_engine.method.scene import look_at
from m2n2_engine.prompt import Prompt, find_path, sample_stroke
from m2n2_engine.session.box import exclude_outside, find_seeds, surround
from m2n2_engine.session.finish import apply_change, choose_different, clean_mask
from m2n2_engine.session.point_maps import PointMaps
from m2n2_engine.types import Box, Click, Image, Mask

_SLIMMEST = 4.0
"""Longer side over shorter side up to which the working size caps the longer one. Here."""

_PIECE_OF_BOX = 0.02
"""A piece of a mask, or a hole in it, may be as small as this share of the box, in however large an image. Here."""


def session_bytes(image_size: tuple[int, int], cells: int, method: MethodConfig, kernels: Kernels) -> int:
    """Room a session takes before its first click, in bytes.

    Args:
        image_size: ``(H, W)`` of the full-size image.
        cells: ``h * w`` of its attention's grid.
        method: working size and upsampling.
        kernels: of the device that the session will be on.
    """
    working_size = reduced_size(image_size, method.working_size_pixels)
    return cells**2 * kernels.matrix_dtype.itemsize + kernels.click_maps_bytes(working_size, method)


def reduced_size(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """``(H, W)`` scaled so that the longer of them is at most ``longest_side`` pixels; 0 means no cap.

    A slimmer image than ``_SLIMMEST`` keeps as many pixels as one of that shape would have: by its longer side alone
    nothing of it would be left.
    """
    slimness = max(1.0, max(size) / min(size) / _SLIMMEST)
    scale = longest_side / max(size) * math.sqrt(slimness)
    if not longest_side or scale >= 1:
        return size
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def reduce_image(image: Image, longest_side: int) -> Image:
    """The image at its reduced size, by area averaging; the same array where that is its own size."""
    height, width = reduced_size((image.shape[0], image.shape[1]), longest_side)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class Session:
    """Answers clicks on one image. Safe under threads; clicks of one session wait for each other."""

    def __init__(
        self, image: Image, transition: torch.Tensor, kernels: Kernels, method: MethodConfig, click_maps_bytes: int
    ) -> None:
        """Prepare an image for clicks.

        Args:
            image: RGB uint8 ``(H, W, 3)``; not kept.
            transition: ``(h, w, h, w)``, as ``kernels`` make it; kept.
            kernels: of the device that the transition matrix is on.
            method: all constants.
            click_maps_bytes: budget of the maps of clicks, in bytes.
        """
        self._method = method
        self._kernels = kernels
        self._image_size = (image.shape[0], image.shape[1])
        self._grid = (transition.shape[0], transition.shape[1])
        working_image = _freeze(reduce_image(image, method.working_size_pixels))
        self._working_size = (working_image.shape[0], working_image.shape[1])
        # Needed on the way back to full size; the caller's own array may change later and is not kept.
        self._reduced = None if self._working_size == self._image_size else working_image
        self._click_maps = kernels.build_click_maps(working_image, self._grid, method)
        is_consensus = method.decision is Decision.CONSENSUS
        # Each kind of decision measures something else in a map; a session has one.
        measure = self._click_maps.find_edges if is_consensus else self._click_maps.rank
        self._maps = PointMaps(
            transition, kernels, method, self._image_size, self._working_size, measure, click_maps_bytes
        )
        self._decider: PromptDecider | None = None
        if is_consensus:
            scene = look_at(working_image, self._maps.transition, self._grid, method)
            # Not a method of this session: a cycle would keep all of it until the collector comes by.
            self._decider = PromptDecider(scene, self._image_size, self._maps.find)
        self._lock = threading.Lock()

    @property
    def grid(self) -> tuple[int, int]:
        """``(h, w)`` cells of the attention."""
        return self._grid

    @property
    def nbytes(self) -> int:
        """Memory held now, in bytes; grows with the clicks."""
        reduced_bytes = 0 if self._reduced is None else self._reduced.nbytes
        decider_bytes = 0 if self._decider is None else self._decider.nbytes
        kept_bytes = self._click_maps.nbytes + reduced_bytes + decider_bytes
        return kept_bytes + self._maps.nbytes

    def segment(self, image: Image, prompt: Prompt) -> tuple[Mask, float]:
        """The mask of the object that a prompt describes.

        Args:
            image: the session's own, full size.
            prompt: with a positive click, a box or a mask to start from, which is not for a joint decision. Nothing
                outside of the box is in the mask.

        Returns:
            Mask bool ``(H, W)`` and score, 0 to 1.
        """
        with self._lock:
            found = self._decide(prompt)
        return self._finish(found, prompt, image), found.score

    def inspect(self, prompt: Prompt) -> Impression:
        """What a first look at clicks says; not for a joint decision."""
        assert self._decider is not None
        with self._lock:
            return self._decider.inspect(prompt)

    def offer(self, image: Image, prompt: Prompt) -> list[tuple[Mask, float]]:
        """Masks and scores of the sizes that the prompt's last click may mean, as ``segment`` gives one of them; those
        whose click changes least come first."""
        if self._decider is None:
            return [self.segment(image, prompt)]
        with self._lock:
            found = self._decider.offer(prompt)
            earlier = dataclasses.replace(prompt, clicks=prompt.clicks[:-1])
            start = self._decider.decide(earlier)
        before = self._finish(start, earlier, image)
        return choose_different([(self._finish(each, prompt, image), each.score) for each in found], before)

    def _finish(self, found: Decided, prompt: Prompt, image: Image) -> Mask:
        """The mask at full size, with all that is promised of it."""
        signs = {
            pixel: click.positive
            for click in (*prompt.settled, *prompt.clicks)
            for pixel in find_path(click, self._image_size, self._image_size)
        }
        mask = self._bring_to_full_size(found, prompt, _freeze(image))
        if self._decider is not None:
            given = None if prompt.start is None else prompt.start.pixels
            mask = clean_mask(mask, signs, self._find_least_piece(prompt.box), given)
        for (x, y), positive in signs.items():
            mask[y, x] = positive
        return mask if prompt.box is None else exclude_outside(mask, prompt.box)

    def _decide(self, prompt: Prompt) -> Decided:
        if self._decider is not None:
            return self._decider.decide(prompt)
        clicks = [
            Click(*point, click.positive)
            for click in prompt.clicks
            for point in sample_stroke(click, self._image_size, self._grid)
        ]
        if prompt.box is not None:
            clicks += find_seeds(prompt.box, self._image_size, self._grid, self._maps.walk, self._method)
            clicks += surround(prompt.box, self._image_size, self._method)
        ranked = self._maps.find([(click.x, click.y) for click in clicks])
        mask, score = self._click_maps.decide(ranked, [click.positive for click in clicks])
        return Decided(mask, np.zeros_like(mask), score)

    def _bring_to_full_size(self, found: Decided, prompt: Prompt, image: Image) -> Mask:
        mask = found.mask
        if self._reduced is not None:
            mask = self._kernels.restore_mask(mask, self._reduced, image, self._method.range_sigma)
        return mask if prompt.start is None else apply_change(prompt.start.pixels, found, mask)

    def _find_least_piece(self, box: Box | None) -> float:
        """Pixels of the full-size image that a piece of a mask, or a hole in it, has at least."""
        height, width = self._image_size
        cell_pixels = height * width / (self._grid[0] * self._grid[1])
        least: float = self._method.smallest_piece_cells * cell_pixels
        # By the box and not by the mask: what one more click keeps must not depend on what it adds.
        return least if box is None else min(least, _PIECE_OF_BOX * (box.right - box.left) * (box.bottom - box.top))


def _freeze(image: Image) -> Image:
    """A view that nobody can write to: kernels are compiled for one kind of image alone, whatever callers have."""
    view = image.view()
    view.setflags(write=False)
    return view
