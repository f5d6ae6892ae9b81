"""The same clicks over and over on more images than any level of the attention cache has room for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from backend.tools.load import Size, Work, draw_files, refine, run_load
from tests.helpers.soak.load import find_differences
from tests.helpers.soak.server import Server

LEVELS = ("device", "host", "disk")

MOST_GROWTH_BYTES = 48e6
"""Between the end of the first round and that of the last; what allocators keep varies by some tens of megabytes."""


@dataclasses.dataclass(frozen=True)
class Pressure:
    """clicks: answered in all. hits, evictions: by level. used_bytes: of the server's memory, after each round."""

    clicks: int
    differences: list[str]
    hits: dict[str, int]
    evictions: dict[str, int]
    used_bytes: list[float]

    @property
    def growth_bytes(self) -> float:
        """From the end of the first round to that of the last."""
        return self.used_bytes[-1] - self.used_bytes[0]

    def render(self) -> str:
        """One line."""
        levels = ", ".join(f"{level} {self.hits[level]} hits {self.evictions[level]} evictions" for level in LEVELS)
        used = ", ".join(f"{used / 1e6:.0f}" for used in self.used_bytes)
        return f"{self.clicks} clicks: {levels}; MB of memory after each round: {used}"


def press(
    environ: dict[str, str], folder: Path, annotators: int, at_once: int, clicks: int, rounds: int, size: Size
) -> Pressure:
    """Rounds of load on one server, each compared with what it answered to one annotator after the other. Every
    annotator has an image of their own, and ``at_once`` of them work at the same time."""
    images = folder / "images"
    images.mkdir()
    work = Work(draw_files(images, annotators, size), size, clicks)
    differences = []
    used_bytes = []
    with Server({**environ, "M2N2_LOCAL_FILES_ROOT": str(images)}, folder / "server.log") as server:
        alone = [refine(server.url, annotator, work) for annotator in range(annotators)]
        for _ in range(rounds):
            load = run_load(server.url, annotators, work, at_once)
            differences += find_differences(load.answers, alone, size)
            used_bytes.append(server.read_metric("process_resident_memory_bytes"))
        hits, evictions = (
            {level: int(server.read_metric(f'm2n2_cache_{what}_total{{level="{level}"}}')) for level in LEVELS}
            for what in ("hits", "evictions")
        )
    return Pressure(rounds * annotators * clicks, differences, hits, evictions, used_bytes)
