"""One image, as the decision of a prompt sees it."""

from __future__ import annotations

import dataclasses

import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.method.appearance import Appearance, measure_appearance
from m2n2_engine.method.regions import Regions, cut_regions
from m2n2_engine.types import Image, Mask


@dataclasses.dataclass(frozen=True)
class Scene:
    """What masks of one image are made from, at working size.

    appearance: colours and edges. regions: that a correction's walk steps over. transition: ``(n, n)``, any multiple of
    probabilities, on any device. method: the constants. grid: ``(h, w)`` cells. outside: (H, W), pixels that are no
    object, whatever is clicked; None where all may be.
    """

    appearance: Appearance
    regions: Regions
    transition: torch.Tensor
    method: MethodConfig
    grid: tuple[int, int]
    outside: Mask | None = None

    @property
    def nbytes(self) -> int:
        """Memory held for the image beside the transition matrix, in bytes."""
        return self.appearance.nbytes + self.regions.nbytes

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` of the working size, in pixels."""
        return self.appearance.edges.shape[0], self.appearance.edges.shape[1]

    @property
    def cell_pixels(self) -> float:
        """Longer side of a cell of the grid."""
        return max(pixels / cells for pixels, cells in zip(self.size, self.grid, strict=True))

    @property
    def click_radius(self) -> float:
        """Of the disc that has a click's sign in any case, in pixels."""
        return self.method.click_radius_cells * self.cell_pixels

    @property
    def band_pixels(self) -> float:
        """How far colours may move a border."""
        return self.method.colour_band_cells * self.cell_pixels

    @property
    def reach_pixels(self) -> float:
        """How far from a change they may."""
        return self.method.colour_reach_cells * self.cell_pixels

    def with_outside(self, outside: Mask) -> Scene:
        """The same image, with pixels that are no object."""
        return dataclasses.replace(self, outside=outside)


def look_at(image: Image, transition: torch.Tensor, grid: tuple[int, int], method: MethodConfig) -> Scene:
    """The scene of an RGB uint8 image ``(H, W, 3)`` at working size. transition: ``(n, n)`` of ``grid`` (h, w)."""
    own = image.copy()  # the caller's array may change later
    appearance = measure_appearance(own, grid)
    regions = cut_regions(own, appearance.lab, appearance.edges, transition, grid, method)
    return Scene(appearance, regions, transition, method, grid)
