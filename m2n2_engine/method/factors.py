"""What a network says of an image: the queries and keys that its attention is rebuilt from."""

from __future__ import annotations

import dataclasses

import torch


@dataclasses.dataclass(frozen=True, slots=True)
class LayerFactors:
    """Query and key of one self-attention layer, from which its attention can be rebuilt.

    query, key: ``(heads, tokens, d)``, special tokens (CLS, registers) first. weight: this layer's share of the sum.
    special_tokens: how many leading tokens are no cells of the grid. scale: what products of query and key are
    multiplied with, beside ``1 / sqrt(d)``: 1 unless they are kept as integers.
    """

    query: torch.Tensor
    key: torch.Tensor
    weight: float
    special_tokens: int = 0
    scale: float = 1.0

    @property
    def nbytes(self) -> int:
        """Memory of both, in bytes; keys that attend to keys take it once."""
        return self.key.nbytes + (0 if self.query is self.key else self.query.nbytes)

    def to(self, device: str) -> LayerFactors:
        """The same on a torch device; no copy where it is there already."""
        key = self.key.to(device)
        return dataclasses.replace(self, query=key if self.query is self.key else self.query.to(device), key=key)


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionFactors:
    """All that a backbone says of an image. grid: ``(h, w)`` cells, row-major."""

    layers: tuple[LayerFactors, ...]
    grid: tuple[int, int]

    def to(self, device: str) -> AttentionFactors:
        """The same on a torch device; no copy where it is there already."""
        return AttentionFactors(tuple(layer.to(device) for layer in self.layers), self.grid)


@dataclasses.dataclass(frozen=True, slots=True)
class BalancedFactors:
    """What is kept of an image beside its session: rebuilds the transition matrix without network and balancing.

    rows, columns: ``(n,)`` float32, ``n = h * w``; the transition matrix is ``diag(rows) K diag(columns)`` with ``K``
    the tempered attention of ``factors``. nbytes: memory of all tensors, in bytes; added up once, for caches ask often.
    """

    factors: AttentionFactors
    rows: torch.Tensor
    columns: torch.Tensor
    nbytes: int = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        layers_bytes = sum(layer.nbytes for layer in self.factors.layers)
        object.__setattr__(self, "nbytes", layers_bytes + self.rows.nbytes + self.columns.nbytes)

    def to(self, device: str) -> BalancedFactors:
        """The same on a torch device; no copy where it is there already."""
        return BalancedFactors(self.factors.to(device), self.rows.to(device), self.columns.to(device))
