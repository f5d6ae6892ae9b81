"""The published names of the method, on top of the engine: aggregators, the segmentation model and its steps.

Points are ``(x, y)`` pixels. Images are RGB uint8 ``(H, W, 3)`` with any strides. Torch tensors in, torch tensors out,
on the input's device; numpy arrays in, numpy arrays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.attention import AnyAggregator, copy_attention, read_attention
from m2n2_engine.backbones import Backbone, load_backbone
from m2n2_engine.cache.transitions import AggregatorSource
from m2n2_engine.config import EngineConfig, MethodConfig, WeightsConfig
from m2n2_engine.engine import Engine
from m2n2_engine.errors import InvalidClicks, InvalidInput
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.kernels.cpu.click_maps import flood_fill
from m2n2_engine.kernels.cpu.upsampling_weights import upsample
from m2n2_engine.method.chain import build_start_state
from m2n2_engine.prompt import check_clicks
from m2n2_engine.types import Click, Image, Picture

TensorT = TypeVar("TensorT", torch.Tensor, npt.NDArray[np.float32])
Point = Sequence[float] | npt.NDArray[Any]


class BackboneAggregator:
    """The attention of a backbone's named layers. Safe under threads."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def extract_attention(self, image: Image) -> torch.Tensor:
        """Attention ``(h, w, h, w)`` float32 on the backbone's device; the last two axes sum to 1."""
        factors = self.backbone.extract(image)
        # Not inference_mode: what it makes cannot be changed in place by its owner.
        with torch.no_grad():
            attention = choose_kernels(self.backbone.device).build_attention(factors)
        return attention.reshape(*factors.grid, *factors.grid)


class _PublishedAggregator(BackboneAggregator):
    _backbone_name: str

    def __init__(
        self,
        device: str = "auto",
        model_id: str | None = None,
        *,
        revision: str | None = None,
        grid: int | None = None,
        offline: bool = False,
    ) -> None:
        """device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. model_id: hub repository or folder to take instead of the
        backbone's own. revision: of that repository. grid: cells along a side; None takes the backbone's own. offline:
        True never opens a connection.

        Raises ConfigurationError, WeightsUnavailable or WeightsCorrupt.
        """
        folder = Path(model_id) if model_id is not None and Path(model_id).is_dir() else None
        weights = WeightsConfig(
            folder=folder, model_id=None if folder else model_id, revision=revision, offline=offline
        )
        config = EngineConfig(weights=weights, backbone=self._backbone_name, device=device, grid=grid)
        super().__init__(load_backbone(config).backbone)


class StableDiffusion2AttentionAggregator(_PublishedAggregator):
    """The attention of Stable Diffusion 2, by default at a 128 x 128 grid."""

    _backbone_name = "stable-diffusion-2"


class StableDiffusion1AttentionAggregator(_PublishedAggregator):
    """The attention of Stable Diffusion 1.5, by default at a 112 x 112 grid."""

    _backbone_name = "stable-diffusion-1-5"


class Dinov2AttentionAggregator(_PublishedAggregator):
    """The attention of the embedded DINOv2-small."""

    _backbone_name = "dinov2-small"


class _CheckedAggregator:
    """An aggregator of the caller's, whose attention is checked, and copied: the engine overwrites what it is given."""

    def __init__(self, given: AnyAggregator) -> None:
        if not callable(getattr(given, "extract_attention", None)):
            raise InvalidInput(
                f"an aggregator needs a method extract_attention(image), which {type(given).__name__} has not"
            )
        self._given = given

    def extract_attention(self, image: Image) -> torch.Tensor:
        if isinstance(self._given, BackboneAggregator):
            return self._given.extract_attention(image)
        return copy_attention(self._given.extract_attention(image))


class M2N2SegmentationModel:
    """Points to masks on the attention of any object with ``extract_attention(image)``."""

    def __init__(self, aggregator: AnyAggregator, **constants: Any) -> None:
        """aggregator: gives attention ``(h, w, h, w)`` of an image, whose last two axes sum to 1: a tensor of torch or
        an array of numpy, of any floating point type, which stays as it is. constants: those of
        ``config.MethodConfig`` and its chain to change, for example ``temperature=0.5``.

        Raises InvalidInput for an object without ``extract_attention``.
        """
        method = MethodConfig().replace(**constants)
        source = AggregatorSource(_CheckedAggregator(aggregator), method.chain)
        self._engine = Engine(source, fingerprint="the aggregator given", method=method)

    @property
    def engine(self) -> Engine:
        """What segments here, for tools that take any segmenter."""
        return self._engine

    def segment(self, img: Image, points: Sequence[Point], points_in_segment: Sequence[bool]) -> npt.NDArray[np.uint8]:
        """The mask of one object, ``(H, W)`` of 0 and 1.

        points_in_segment: True or 1 where the point belongs to the object, False or 0 where not. Raises InvalidImage,
        InvalidClicks, or InvalidInput where the aggregator's attention cannot be used.
        """
        if len(points) != len(points_in_segment):
            raise InvalidClicks(f"{len(points)} points but {len(points_in_segment)} signs: give one sign a point")
        clicks = [
            Click(*_parse_point(point), positive=inside)
            for point, inside in zip(points, points_in_segment, strict=True)
        ]
        return self._engine.segment(img, clicks).mask.astype(np.uint8)


def adjust_temperature_and_ipf(attention: TensorT, **constants: Any) -> TensorT:
    """Attention ``(h, w, h, w)``, last two axes summing to 1 -> transition matrix of the same shape and kind."""
    matrix, shape = _flatten(attention)
    kernels = choose_kernels(str(matrix.device))
    transition = kernels.build_transition(matrix.clone(), MethodConfig().replace(**constants).chain)
    return _like(attention, kernels.to_probabilities(transition).reshape(shape))


def create_markov_map_from_point(image: Image, A_tensor: TensorT, point: Point, **constants: Any) -> TensorT:
    """The flood-filled Markov-map of a point, ``(H, W)`` in steps of the chain: 0 at the point, not divided by its
    maximum. A_tensor: transition matrix ``(h, w, h, w)``. Raises InvalidImage or InvalidClicks."""
    picture = Picture.of(image)
    x, y = _parse_point(point)
    height, width = picture.size
    check_clicks([Click(x, y)], width, height)
    method = MethodConfig().replace(**constants)
    matrix, shape = _flatten(A_tensor)
    start = build_start_state((x, y), (height, width), (shape[0], shape[1]))
    kernels = choose_kernels(str(matrix.device))
    coarse = kernels.build_coarse_maps(kernels.from_probabilities(matrix), start[None], method)[0]
    pixel = min(int(x), width - 1), min(int(y), height - 1)
    filled = flood_fill(upsample(coarse, picture.pixels, method), pixel)
    return _like(A_tensor, torch.from_numpy(filled))


def _flatten(tensor: TensorT) -> tuple[torch.Tensor, torch.Size]:
    """``(h, w, h, w)`` -> ``(n, n)`` float32, and the shape it had."""
    given = read_attention(tensor)
    cells = given.shape[0] * given.shape[1]
    return given.reshape(cells, cells).contiguous(), given.shape


def _like(given: TensorT, result: torch.Tensor) -> TensorT:
    return result.to(given.device) if isinstance(given, torch.Tensor) else result.cpu().numpy()


def _parse_point(point: Point) -> tuple[float, float]:
    try:
        x, y = (float(coordinate) for coordinate in point)
    except (TypeError, ValueError):
        raise InvalidClicks(f"a point must be two numbers (x, y), not {point!r}") from None
    return x, y
