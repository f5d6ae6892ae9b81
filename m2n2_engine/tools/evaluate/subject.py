"""What is evaluated: an engine of this process, or a server that runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

from m2n2_engine.config import EngineConfig
from m2n2_engine.types import ClickSegmenter

_FACTS = ("backbone", "preset", "grid", "device")


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """Something to click with. facts: backbone, preset, grid and device, to be shown. settings: everything about it
    that changes a figure, as far as it is known, as values of JSON."""

    segmenter: ClickSegmenter
    facts: Mapping[str, str]
    settings: Mapping[str, Any]

    @classmethod
    def load(cls, config: EngineConfig) -> Self:
        """An engine without its disk cache: figures are of images that were never seen before."""
        from m2n2_engine.engine import load_engine

        engine = load_engine(dataclasses.replace(config, disk_cache_bytes=0))
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
