"""Step 4: each pixel's window is gone through anew for every map, so that an image needs no weights."""

from __future__ import annotations

import math

import numpy as np
import torch
import triton
import triton.language as tl

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.upsampling_weights import build_axes, build_spatial_weights
from m2n2_engine.types import Image, Map

_ROWS = 16
_COLUMNS = 64
_WARPS = 8


def upsampler_bytes(image_size: tuple[int, int], method: MethodConfig) -> int:
    """Memory of the colours of an image of ``(H, W)`` pixels, in bytes; the window's weights are small beside them."""
    del method
    return image_size[0] * image_size[1] * 3 * 4


class WindowUpsampler:
    """The colours of an image and the weights of a window, on the device."""

    def __init__(self, image: Image, grid: tuple[int, int], method: MethodConfig, device: torch.device) -> None:
        """image: RGB uint8 ``(H, W, 3)``. grid: ``(h, w)`` cells."""
        spatial, half_widths = build_spatial_weights(*build_axes(image, grid, method), method)
        # Scaled so that a squared distance is the base-2 exponent of its weight.
        scale = math.sqrt(0.5 / math.log(2)) / (255.0 * method.range_sigma)
        self._guide = torch.tensor(image, device=device).permute(2, 0, 1).float().mul_(scale).contiguous()
        self._spatial = torch.from_numpy(spatial).to(device)
        self._half_widths = torch.from_numpy(half_widths.astype(np.int32)).to(device)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._guide.nbytes + self._spatial.nbytes + self._half_widths.nbytes

    def apply(self, coarse: Map) -> torch.Tensor:
        """``(h, w)`` coarse map -> ``(H, W)`` float32 on the device."""
        height, width = self._guide.shape[1:]
        on_device = torch.from_numpy(coarse).to(self._guide.device)[None, None]
        values = torch.nn.functional.interpolate(on_device, (height, width), mode="bilinear")
        result = torch.empty(height, width, device=values.device)
        reach_y, reach_x = (size // 2 for size in self._spatial.shape)
        with torch.cuda.device_of(values):
            _upsample_kernel[(triton.cdiv(height, _ROWS), triton.cdiv(width, _COLUMNS))](
                *(self._guide, values, self._spatial, self._half_widths, result, height, width, reach_y, reach_x),
                ROWS=_ROWS, COLUMNS=_COLUMNS, num_warps=_WARPS,
            )  # fmt: skip
        return result


# Sizes of images are not compiled in: no annotator shall wait for a compiler.
@triton.jit(do_not_specialize=["height", "width", "reach_y", "reach_x"])
def _upsample_kernel(
    guide, values, spatial, half_widths, result, height, width, reach_y, reach_x,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    y = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (y < height) & (x < width)
    pixels = height * width
    here = guide + y * width + x
    red, green, blue = (
        tl.load(here, mask=inside, other=0.0),
        tl.load(here + pixels, mask=inside, other=0.0),
        tl.load(here + 2 * pixels, mask=inside, other=0.0),
    )
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    weights = tl.zeros((ROWS, COLUMNS), tl.float32)
    for dy in range(-reach_y, reach_y + 1):
        half_width = tl.load(half_widths + reach_y + dy)
        spatial_row = spatial + (reach_y + dy) * (2 * reach_x + 1) + reach_x
        for dx in range(-half_width, half_width + 1):
            seen = inside & (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
            there = dy * width + dx
            red_step = tl.load(here + there, mask=seen, other=0.0) - red
            green_step = tl.load(here + pixels + there, mask=seen, other=0.0) - green
            blue_step = tl.load(here + 2 * pixels + there, mask=seen, other=0.0) - blue
            distance = red_step * red_step + green_step * green_step + blue_step * blue_step
            weight = tl.where(seen, tl.load(spatial_row + dx) * tl.exp2(-distance), 0.0)
            total += weight * tl.load(values + y * width + x + there, mask=seen, other=0.0)
            weights += weight
    tl.store(result + y * width + x, total / tl.where(inside, weights, 1.0), mask=inside)
