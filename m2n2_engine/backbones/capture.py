"""Read the queries and keys of any transformer: one hook for every backbone.

Forward hooks on the query and key projections see what attention is computed from, whichever fast kernel the library
then uses for it; and the network stops once the last of them has run, because nothing after it is wanted.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import torch
from torch import nn

from m2n2_engine.method.chain import AttentionFactors, LayerFactors
from m2n2_engine.types import Image


class _AllCaptured(Exception):
    """Raised from the last hook to stop the network; never leaves this module."""


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionLayer:
    """Where one self-attention layer is read.

    name: its path inside the network. query, key: the modules that give ``(1, tokens, heads * d)``. weight: its share
    of the attention. special_tokens: how many leading tokens are no cells of the grid.
    """

    name: str
    query: nn.Module
    key: nn.Module
    heads: int
    weight: float = 1.0
    special_tokens: int = 0


def capture_factors(
    layers: Sequence[AttentionLayer], run: Callable[[], object], key_sharpness: float | None = None
) -> tuple[LayerFactors, ...]:
    """Call ``run`` and return the queries and keys that pass through ``layers``, each ``(heads, tokens, d)``.

    The modules carry hooks only meanwhile, so two calls on the same modules must not overlap.

    Args:
        layers: where to read.
        run: takes an image through the network; it is left as soon as every layer was seen.
        key_sharpness: where given, keys take the place of queries, for attention ``softmax(key_sharpness * cosine)``.

    Raises:
        RuntimeError: ``run`` ended without passing all layers.
    """
    if key_sharpness is not None:
        layers = [dataclasses.replace(layer, query=layer.key) for layer in layers]
    wanted = {module for layer in layers for module in (layer.query, layer.key)}
    outputs: dict[nn.Module, torch.Tensor] = {}

    def keep(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        outputs[module] = output
        if len(outputs) == len(wanted):
            raise _AllCaptured

    with ExitStack() as hooks:
        for module in wanted:
            hooks.callback(module.register_forward_hook(keep).remove)
        try:
            run()
        except _AllCaptured:
            factors = tuple(_layer_factors(layer, outputs) for layer in layers)
            return factors if key_sharpness is None else tuple(_attend_to_keys(each, key_sharpness) for each in factors)
    raise RuntimeError(f"the network ended without passing all of {', '.join(layer.name for layer in layers)}")


def _layer_factors(layer: AttentionLayer, outputs: dict[nn.Module, torch.Tensor]) -> LayerFactors:
    return LayerFactors(
        query=_split_heads(outputs[layer.query], layer.heads),
        key=_split_heads(outputs[layer.key], layer.heads),
        weight=layer.weight,
        special_tokens=layer.special_tokens,
    )


def _attend_to_keys(layer: LayerFactors, sharpness: float) -> LayerFactors:
    """The layer with its keys, of length 1, as both query and key, in the same memory."""
    key = torch.nn.functional.normalize(layer.key, dim=-1)
    return dataclasses.replace(layer, query=key, key=key, scale=sharpness * math.sqrt(key.shape[-1]))


def _split_heads(projected: torch.Tensor, heads: int) -> torch.Tensor:
    """``(1, tokens, heads * d)`` -> ``(heads, tokens, d)``."""
    _, tokens, size = projected.shape
    parts = projected.reshape(tokens, heads, size // heads).transpose(0, 1).contiguous()
    # No kernel reads bfloat16, and what follows would lose by it.
    return parts.float() if parts.dtype is torch.bfloat16 else parts


class HookedBackbone:
    """A frozen network with the attention layers at which it is read; implements ``backbones.Backbone``.

    One image at a time passes the network, on a thread of the network's own; the caller waits.
    """

    def __init__(
        self,
        *,
        name: str,
        grid: tuple[int, int],
        device: str,
        dtype: torch.dtype,
        weights: str,
        layers: Sequence[AttentionLayer],
        run: Callable[[Image], object],
        is_compact: bool = False,
        key_sharpness: float | None = None,
    ) -> None:
        """Read a network that is loaded.

        Args:
            name: of the backbone in the registry.
            grid: ``(h, w)`` cells of its attention.
            device: torch's name of where it runs.
            dtype: of the forward pass.
            weights: what identifies them.
            layers: where it is read.
            run: takes an RGB uint8 ``(H, W, 3)`` image through the network.
            is_compact: float32 queries and keys are kept in 16 bits.
            key_sharpness: see ``ChainConfig``.
        """
        self.name = name
        self.grid = grid
        self.device = device
        named = [(layer.name, layer.weight) for layer in layers]
        self.fingerprint = name_factors(name, weights, grid, dtype, named, is_compact, key_sharpness)
        self._is_compact = is_compact
        self._key_sharpness = key_sharpness
        self._layers = tuple(layers)
        self._run = run

    def extract(self, image: Image) -> AttentionFactors:
        """Query and key projections of an RGB uint8 ``(H, W, 3)`` image of any size, on ``device``.

        Raises torch.OutOfMemoryError where the device has no room for the forward pass.
        """
        return _network_thread(os.getpid()).submit(self._extract, image).result()

    def _extract(self, image: Image) -> AttentionFactors:
        with torch.inference_mode():
            layers = capture_factors(self._layers, lambda: self._run(image), self._key_sharpness)
            if self._is_compact:
                layers = tuple(_compact(layer) for layer in layers)
        return AttentionFactors(layers=layers, grid=self.grid)


@functools.lru_cache(maxsize=1)
def _network_thread(process: int) -> ThreadPoolExecutor:
    """The one thread on which all networks of a process run.

    What a thread pays for its first image, every request thread would pay for its own: OpenMP makes a team, and on CUDA
    sixteen first images on as many threads took 14.5 s, on one thread 6.6 with clicks between them (Stable Diffusion 2
    on an H200); cuDNN, it seems, makes its plans anew for each thread.
    """
    del process  # a forked child inherits the object but not its thread
    return ThreadPoolExecutor(1, thread_name_prefix="m2n2-network")


def _compact(layer: LayerFactors) -> LayerFactors:
    """The layer with int16 queries and keys.

    Evenly spaced values, not float16: those spend their bits on small values, while the error of the attention comes
    from the large ones. On the reference attentions it is 2e-4 of the maximum here, 2e-3 with float16.
    """
    key, key_step = _to_integers(layer.key)
    query, query_step = (key, key_step) if layer.query is layer.key else _to_integers(layer.query)
    return dataclasses.replace(layer, query=query, key=key, scale=layer.scale * query_step * key_step)


def _to_integers(values: torch.Tensor) -> tuple[torch.Tensor, float]:
    """(int16 values, step between them)."""
    step = max(float(values.abs().max()), torch.finfo(values.dtype).tiny) / torch.iinfo(torch.int16).max
    return (values / step).round().to(torch.int16), step


def name_factors(
    name: str,
    weights: str,
    grid: tuple[int, int],
    dtype: torch.dtype,
    layers: Sequence[tuple[str, float]],
    is_compact: bool,
    key_sharpness: float | None,
) -> str:
    """The fingerprint of a backbone, by all that its factors depend on. layers: name and weight of each; the rest as of
    ``HookedBackbone``."""
    names = ",".join(f"{layer}*{weight:g}" for layer, weight in layers)
    kept = (" compact" if is_compact else "") + ("" if key_sharpness is None else f" keys*{key_sharpness:g}")
    return f"{name} weights={weights} grid={grid[0]}x{grid[1]} {dtype} layers={names}{kept}"
