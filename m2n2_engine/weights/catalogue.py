"""The catalogue of weights: names, licences, where each comes from, which files it needs, and recorded hashes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from m2n2_engine.config import WeightsConfig
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.weights import embedded_dinov2

Family = Literal["dinov2", "stable-diffusion"]

HALF = ".fp16"
"""What the hub puts before ``.safetensors`` in the name of a half-precision file."""

FILES: Mapping[Family, tuple[str, ...]] = {
    "dinov2": ("config.json", "model.safetensors"),
    "stable-diffusion": (
        "unet/config.json",
        "unet/diffusion_pytorch_model{half}.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model{half}.safetensors",
        "text_encoder/config.json",
        "text_encoder/model{half}.safetensors",
        "tokenizer/tokenizer_config.json",
    ),
}
"""What a folder must hold; ``{half}`` is HALF or nothing, the same throughout a folder."""

_VAE_HALF = "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a"
_TEXT_ENCODER_HALF = "681c555376658c81dc273f2d737a2aeb23ddb6d1d8e5b3a7064636d359a22668"
"""The same in Stable Diffusion 2.1 and its base."""

TOKENIZER_FILES = ("tokenizer/*.json", "tokenizer/merges.txt")
"""Fetched where a repository has them: which ones depends on the library that wrote it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """One entry of the catalogue.

    source: where the network comes from, for people. repository: on the hub; None takes the registry package of
    ``embedded_dinov2``. download_megabytes: about, in full precision. revision: a commit, where one is known; a branch
    stays at the commit of the first fetch. sha256: recorded hex digests by path.
    """

    name: str
    family: Family
    licence: str
    source: str
    download_megabytes: int
    repository: str | None
    revision: str = "main"
    sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def list_files(self, half: bool) -> list[str]:
        """Paths of the files that a folder must hold to be loadable in this precision."""
        return [path.format(half=HALF if half else "") for path in FILES[self.family]]

    def list_missing(self, folder: Path) -> list[str]:
        """Files that ``folder`` lacks to be loadable, in the precision that lacks fewer."""
        lacking = [[path for path in self.list_files(half) if not (folder / path).is_file()] for half in (False, True)]
        return min(lacking, key=len)


def _stable_diffusion_2(name: str, revision: str = "main", sha256: Mapping[str, str] | None = None) -> Weights:
    """The community's copies: Stability AI's own repositories left the hub in November 2025."""
    return Weights(
        name=name,
        family="stable-diffusion",
        licence="CreativeML Open RAIL++-M (openrail++)",
        source=f"Stability AI's {name}, copy of sd2-community",
        download_megabytes=5200,
        repository=f"sd2-community/{name}",
        revision=revision,
        sha256=sha256 or {},
    )


_ENTRIES = (
    Weights(
        name="dinov2-small",
        family="dinov2",
        licence="Apache-2.0 (package: MIT)",
        source=f"Meta's DINOv2 ViT-S/14 in the registry package {embedded_dinov2.REQUIREMENT}",
        download_megabytes=90,
        repository=None,
    ),
    Weights(
        name="dinov2-small-hub",
        family="dinov2",
        licence="Apache-2.0",
        source="Meta's DINOv2 ViT-S/14",
        download_megabytes=88,
        repository="facebook/dinov2-small",
        revision="ed25f3a31f01632728cabb09d1542f84ab7b0056",
        sha256={
            "config.json": "1809f83e3bdb1609a501a610ad4a742f4fd8ae44d72ca4aa0df52d1f2ac8628d",
            "model.safetensors": "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
        },
    ),
    Weights(
        name="dinov2-base",
        family="dinov2",
        licence="Apache-2.0",
        source="Meta's DINOv2 ViT-B/14",
        download_megabytes=346,
        repository="facebook/dinov2-base",
        revision="f9e44c814b77203eaa57a6bdbbd535f21ede1415",
    ),
    _stable_diffusion_2("stable-diffusion-2"),  # no commit of it is known
    _stable_diffusion_2("stable-diffusion-2-base", "f5bc1bd97485577aa0b946fa8a9004e2ec147402"),
    _stable_diffusion_2(
        "stable-diffusion-2-1",
        "bb2154823665391b4fb29b0b9cf82a198964ee05",
        {
            "unet/diffusion_pytorch_model.fp16.safetensors": (
                "8a3a4d7978884c5e4ef00b62641b1b544b257be2f6715d984188610ad6475ad2"
            ),
            "vae/diffusion_pytorch_model.fp16.safetensors": _VAE_HALF,
            "text_encoder/model.fp16.safetensors": _TEXT_ENCODER_HALF,
        },
    ),
    _stable_diffusion_2(
        "stable-diffusion-2-1-base",
        "4e63672c03103b6c636b8fb4119ba982469b2955",
        {
            "unet/diffusion_pytorch_model.safetensors": (
                "6dfae3e5f7d459b50f4b0850ead945972c75bb0e1897628933e169eb43974214"
            ),
            "unet/diffusion_pytorch_model.fp16.safetensors": (
                "28ec9cf3b239c0751c201b1f6fb46b551df5862731b30a37aa1360101cb3fbab"
            ),
            "vae/diffusion_pytorch_model.safetensors": (
                "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815"
            ),
            "vae/diffusion_pytorch_model.fp16.safetensors": _VAE_HALF,
            "text_encoder/model.fp16.safetensors": _TEXT_ENCODER_HALF,
        },
    ),
    Weights(
        name="stable-diffusion-1-5",
        family="stable-diffusion",
        licence="CreativeML Open RAIL-M",
        source="Runway's Stable Diffusion 1.5, copy of stable-diffusion-v1-5",
        download_megabytes=4300,
        repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
        revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    ),
)

WEIGHTS: Mapping[str, Weights] = {entry.name: entry for entry in _ENTRIES}


def find_entry(name: str, config: WeightsConfig) -> Weights:
    """The entry of this name, with the repository and revision that the configuration asks for instead.

    Raises:
        ConfigurationError: The catalogue has no such name.
    """
    if name not in WEIGHTS:
        raise ConfigurationError(f"unknown weights {name!r}: use one of {', '.join(WEIGHTS)}")
    entry = WEIGHTS[name]
    repository = config.model_id or entry.repository
    revision = config.revision or (entry.revision if repository == entry.repository else "main")
    if repository is None or (repository, revision) == (entry.repository, entry.revision):
        return entry
    return dataclasses.replace(
        entry, repository=repository, revision=revision, source=f"{repository} at {revision}", sha256={}
    )
