"""Lines over a picture: the object as it is in truth, and the box that was drawn around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2n2_engine.types import Box, Mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRUTH_COLOUR = "gold"
_BOX_COLOUR = "white"


def outline_truth(axes: Axes, pixels: Mask) -> None:
    """Draw the border of a bool (H, W) mask; nothing where it has none."""
    if pixels.any() and not pixels.all():
        axes.contour(pixels, [0.5], colors=_TRUTH_COLOUR, linewidths=1.2)


def outline_box(axes: Axes, box: Box | None) -> None:
    """Draw a box, in pixels of the picture, with dashes; nothing for None."""
    if box is not None:
        # A picture's first pixel lies around 0, a box's begins at 0.
        x, y = ([value - 0.5 for value in values] for values in _list_corners(box))
        axes.plot(x, y, linestyle="--", color=_BOX_COLOUR, linewidth=1.2)


def _list_corners(box: Box) -> tuple[list[float], list[float]]:
    x = [box.left, box.right, box.right, box.left, box.left]
    return x, [box.top, box.top, box.bottom, box.bottom, box.top]
