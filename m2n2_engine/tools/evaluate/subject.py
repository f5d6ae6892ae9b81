"""What is evaluated: an engine of this process, or a server that runs."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from m2n2_engine.config import EngineConfig
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import ClickSegmenter

_ROOM_SHARE = 0.8
"""Of the space that is free, what features may take. Here: the rest is for results and for others."""

_FACTS = ("backbone", "preset", "grid", "device")


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """Something to click with. facts: backbone, preset, grid and device, to be shown. settings: everything about it
    that changes a figure, as far as it is known, as values of JSON."""

    segmenter: ClickSegmenter
    facts: Mapping[str, str]
    settings: Mapping[str, Any]

    @classmethod
    def load(cls, config: EngineConfig, features: Path | None = None) -> Self:
        """An engine without the configured disk cache. features: a folder where it looks for what the network found in
        an image, and keeps it; without one every image passes the network, so that its time is measured. Raises as
        ``load_engine``, and ConfigurationError where the folder cannot be used."""
        from m2n2_engine.engine import load_engine

        config = dataclasses.replace(config, disk_cache_bytes=0)
        if features is not None:
            budget = _measure_room(features)
            config = dataclasses.replace(config, disk_cache_folder=features, disk_cache_bytes=budget)
        engine = load_engine(config)
        facts = _read_facts(engine)
        return cls(engine, facts, {**facts, "fingerprint": engine.fingerprint})

    @classmethod
    def connect(cls, url: str, connect: Callable[[str], ClickSegmenter]) -> Self:
        """A server; it must not be given other settings while it is evaluated."""
        segmenter = connect(url)
        facts = _read_facts(segmenter)
        version = segmenter.status().model_version
        return cls(segmenter, facts, {**facts, "server": url, "model_version": version})


def _read_facts(segmenter: ClickSegmenter) -> dict[str, str]:
    status = segmenter.status()
    return {name: str(getattr(status, name)) for name in _FACTS}


def _measure_room(folder: Path) -> int:
    """Bytes that the features in a folder may take: what they take now, and most of what is free."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        return taken + int(shutil.disk_usage(folder).free * _ROOM_SHARE)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be used: {error.strerror}; choose another --features") from None
