"""The stepwise alternative to steps 6 and 7: a click corrects the mask of the clicks before it, around itself alone.

An annotator who clicks where the mask is wrong wants that place changed and the rest left as it is. So the click's
segment grows only over what is connected to it and has the wrong sign. It ends where the click's Markov-map has its
strongest edge, as in step 6, but a segment counts less the farther from its middle the click lies, for annotators click
into the middle of what is wrong.

Last, the border of the mask follows colours. The cells of the attention are several pixels wide, so the border is right
to about a cell. Within that band the colours of object and background, each a Gaussian mixture learned from this mask,
and the edges of the image tell better where it runs (Rother, Kolmogorov and Blake, GrabCut, 2004).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from m2n2_engine.config import MethodConfig
from m2n2_engine.types import Click, Image, Map, Mask

_KEPT_STEPS = 64
"""Masks of earlier steps that are kept: those of a few objects that are worked on in turn."""

_INNER_SHARE = 0.6
"""The band reaches at most this share of the mask's depth inwards, so that of thin objects something is left. Here."""

_MIXTURE = 5
"""Gaussians of each mixture, fixed in OpenCV: it learns them from no fewer pixels."""

_SEED = 0

_LIKELY, _CERTAIN = (cv2.GC_PR_FGD, cv2.GC_PR_BGD), (cv2.GC_FGD, cv2.GC_BGD)

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

Thresholds = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.int16]


@dataclasses.dataclass(frozen=True)
class EdgeMap:
    """A click's Markov-map and its edges.

    values: (H, W) float32, 0 at the click to 1. pixel: (x, y) of the click. levels: (H, W) int32, Sobel magnitude of
    the map, 0 to ``edge_levels``.
    """

    values: Map
    pixel: tuple[int, int]
    levels: npt.NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self.values.nbytes + self.levels.nbytes


@dataclasses.dataclass(frozen=True)
class Correction:
    """What a click changes. region: bool (H, W), to be given the click's sign. depth: of the click in it, in pixels.
    score: 0 to 1, mean edge of the map along the region's border as a share of ``edge_levels``."""

    region: Mask
    depth: float
    score: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """The mask after some clicks, the score of the last one's correction, and what colours must leave alone."""

    mask: Mask
    score: float = 0.0
    marks: tuple[Mark, ...] = ()


class StepwiseDecider:
    """The masks of prompts on one image: each click corrects the mask of the clicks before it, and the border
    follows colours. A click that agrees with that mask changes nothing. Not safe under threads, but for ``nbytes``."""

    def __init__(self, image: Image, cell_pixels: float, method: MethodConfig) -> None:
        """image: RGB uint8 ``(H, W, 3)`` at working size. cell_pixels: longer side of a grid cell in it."""
        self._image = image.copy()  # the caller's own array may change later
        self._band_pixels = method.colour_band_cells * cell_pixels
        self._method = method
        self._steps: collections.OrderedDict[tuple[Click, ...], _Step] = collections.OrderedDict()

    @property
    def nbytes(self) -> int:
        """Memory of image and earlier masks, in bytes."""
        # Counted, not added up: it is asked for while another thread decides. A mask takes a byte a pixel.
        return self._image.nbytes + len(self._steps) * self._image[:, :, 0].size

    def decide(self, clicks: Sequence[Click], maps: Sequence[EdgeMap]) -> tuple[Mask, float]:
        """One click after the other; the steps of the last few objects are kept.

        Args:
            clicks: in the order they were made.
            maps: of each click.

        Returns:
            The mask bool ``(H, W)``, and the mean score, 0 to 1, of the positive clicks that changed anything.
        """
        step = _Step(np.zeros(self._image.shape[:2], bool))
        scores: list[float] = []
        for count in range(1, len(clicks) + 1):
            step = self._find_step(tuple(clicks[:count]), maps[:count], step)
            if clicks[count - 1].positive and step.score > 0:
                scores.append(step.score)
        return step.mask.copy(), sum(scores) / len(scores) if scores else 0.0

    def _find_step(self, clicks: tuple[Click, ...], maps: Sequence[EdgeMap], before: _Step) -> _Step:
        if clicks not in self._steps:
            self._steps[clicks] = self._correct(clicks, maps, before)
        self._steps.move_to_end(clicks)
        step = self._steps[clicks]
        while len(self._steps) > _KEPT_STEPS:
            self._steps.popitem(last=False)
        return step

    def _correct(self, clicks: Sequence[Click], maps: Sequence[EdgeMap], before: _Step) -> _Step:
        """What follows from the last click."""
        click, click_map = clicks[-1], maps[-1]
        x, y = click_map.pixel
        if before.mask[y, x] == click.positive:
            return _Step(before.mask, 0.0, (*before.marks, Mark((x, y), 0, click.positive)))
        others = [
            click_map.values[other.pixel[::-1]]
            for made, other in zip(clicks, maps, strict=True)
            if made.positive != click.positive
        ]
        limit = float(min(others, default=np.inf))
        correction = find_correction(click_map, before.mask, click.positive, limit, self._method)
        radius = max(int(self._method.colour_mark_share * correction.depth), self._method.colour_mark_pixels)
        marks = (*before.marks, Mark((x, y), radius, click.positive))
        corrected = np.where(correction.region, click.positive, before.mask)
        return _Step(self._refine(corrected, marks), correction.score, marks)

    def _refine(self, mask: Mask, marks: Sequence[Mark]) -> Mask:
        if self._band_pixels:
            mask = refine_border(mask, self._image, marks, self._band_pixels, self._method.colour_rounds)
        for mark in marks:
            x, y = mark.pixel
            mask[y, x] = mark.positive
        return mask


def find_correction(click: EdgeMap, mask: Mask, positive: bool, limit: float, method: MethodConfig) -> Correction:
    """What a click of this sign changes in a ``mask`` (H, W) that has the other sign under it.

    limit: the region keeps below this value of the click's map, that of the nearest click of the other sign.
    """
    wrong = _component(mask != positive, click.pixel)
    thresholds = _choose_candidates(click.values[wrong], limit, click.values.size, method)
    # The first candidate whose region holds a pixel; pixels that cannot be changed are in none.
    ranks = np.searchsorted(thresholds, click.values, side="left").astype(np.int16)
    ranks[~wrong] = len(thresholds)
    edges = _border_means(ranks, wrong, click.levels, len(thresholds))
    best = _choose_best(ranks, edges, click.pixel, method.centring)
    region = ranks <= best
    depth, _ = _measure_depths(region, click.pixel)
    return Correction(region, depth, min(float(edges[best]) / method.edge_levels, 1.0))


def _component(mask: Mask, pixel: tuple[int, int]) -> Mask:
    """The 4-connected part of a mask that holds a pixel of it."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    component: Mask = labels == labels[pixel[1], pixel[0]]
    return component


def _choose_candidates(values: Thresholds, limit: float, pixels: int, method: MethodConfig) -> Thresholds:
    """Ascending thresholds whose regions grow by equal factors, from the smallest correction to the area limit; 0, the
    click's own value, is always among them."""
    ordered = np.sort(values)
    most = min(max(int(method.click_area_limit * pixels), 1), len(ordered))
    least = min(max(int(method.smallest_correction * pixels), 1), most)
    sizes = np.geomspace(least, most, method.correction_candidates).astype(int)
    candidates = ordered[np.clip(sizes, 1, most) - 1]
    return np.unique(np.append(candidates[candidates < limit], np.float32(0)))


def _border_means(ranks: Ranks, wrong: Mask, levels: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.float64]:
    """(count,): mean level over the pixels outside each candidate's region that touch it and could be changed too; 0
    where there are none. Where the region ends at the mask's own border, that border says nothing."""
    # A pixel lies on the border from the candidate at which its first neighbour joins until it joins itself.
    first = cv2.erode(ranks, _CROSS)
    on_border = (first < ranks) & wrong
    sums, counts = np.zeros(count + 1), np.zeros(count + 1)
    for places, sign in ((first[on_border], 1), (ranks[on_border], -1)):
        sums += sign * np.bincount(places, levels[on_border], count + 1)
        counts += sign * np.bincount(places, minlength=count + 1)
    means: npt.NDArray[np.float64] = sums.cumsum() / np.maximum(counts.cumsum(), 1)
    return means[:count]


def _choose_best(ranks: Ranks, edges: npt.NDArray[np.float64], pixel: tuple[int, int], centring: float) -> int:
    """The candidate with the largest product of edge and centring; the smallest region of equal ones."""
    best, highest = 0, 0.0
    for candidate in np.argsort(-edges, kind="stable"):
        if edges[candidate] <= highest:
            break  # its click cannot lie deeper than in the very middle
        depth, deepest = _measure_depths(ranks <= candidate, pixel)
        score = edges[candidate] * (depth / deepest) ** centring
        if score > highest:
            best, highest = int(candidate), score
    return best


def _measure_depths(region: Mask, pixel: tuple[int, int]) -> tuple[float, float]:
    """How deep a pixel lies in its region, and the deepest place there, in pixels; the image's border is an edge."""
    depths = cv2.distanceTransform(np.pad(region.astype(np.uint8), 1), cv2.DIST_L2, 3)
    return float(depths[pixel[1] + 1, pixel[0] + 1]), float(depths.max())


# --- the border follows colours


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A disc whose sign colours cannot change. pixel: its centre (x, y). radius: in pixels, 0 for the centre alone."""

    pixel: tuple[int, int]
    radius: int
    positive: bool


def refine_border(mask: Mask, image: Image, marks: Sequence[Mark], band_pixels: float, rounds: int) -> Mask:
    """The mask ``(H, W)`` with its border where the colours of an RGB uint8 image ``(H, W, 3)`` change.

    Only pixels within ``band_pixels`` of the border may change; where one side has too few pixels to learn from, none.
    marks: a later one counts where two overlap. rounds: of learning and cutting.
    """
    labels = _label(mask, band_pixels)
    for mark in marks:
        cv2.circle(labels, mark.pixel, mark.radius, cv2.GC_FGD if mark.positive else cv2.GC_BGD, cv2.FILLED)
    is_object = _is_object(labels)
    if min(is_object.sum(), (~is_object).sum()) < _MIXTURE:
        return mask
    cv2.setRNGSeed(_SEED)  # the mixtures start from random pixels
    cv2.grabCut(image, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), rounds, cv2.GC_INIT_WITH_MASK)
    return _is_object(labels)


def _label(mask: Mask, band_pixels: float) -> Image:
    """OpenCV's four labels ``(H, W)``: pixels near the border are likely on their side, all others certainly."""
    inside, outside = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 3) for side in (mask, ~mask))
    is_near = (inside <= min(band_pixels, _INNER_SHARE * float(inside.max()))) & (outside <= band_pixels)
    likely, certain = (np.where(mask, *labels) for labels in (_LIKELY, _CERTAIN))
    return np.where(is_near, likely, certain).astype(np.uint8)


def _is_object(labels: Image) -> Mask:
    is_object: Mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return is_object
