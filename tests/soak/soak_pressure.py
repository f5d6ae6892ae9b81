"""The same clicks over and over on more images than any level of the attention cache has room for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from soak_load import find_differences
from soak_server import Server

from backend.load import Size, Work, draw_files, refine, run_load

LEVELS = ("device", "host", "disk")

MOST_GROWTH_BYTES = 48e6
"""Between the end of the first round and that of the last; what allocators keep varies by some tens of megabytes."""


@dataclasses.dataclass(frozen=True)
class Pressure:
    """clicks: answered in all. hits, evictions: by level. growth_bytes: of the server after its first round."""

    clicks: int
    differences: list[str]
    hits: dict[str, int]
    evictions: dict[str, int]
    growth_bytes: float

    def render(self) -> str:
        """One line."""
        levels = ", ".join(f"{level} {self.hits[level]} hits {self.evictions[level]} evictions" for level in LEVELS)
        return f"{self.clicks} clicks: {levels}; memory grew by {self.growth_bytes / 1e6:.1f} MB"


def press(environ: dict[str, str], folder: Path, annotators: int, clicks: int, rounds: int, size: Size) -> Pressure:
    """Rounds of load on one server, each compared with what it answered to one annotator after the other."""
    images = folder / "images"
    images.mkdir()
    work = Work(draw_files(images, annotators, size), size, clicks)
    differences = []
    used_bytes = []
    with Server({**environ, "M2N2_LOCAL_FILES_ROOT": str(images)}, folder / "server.log") as server:
        alone = [refine(server.url, annotator, work) for annotator in range(annotators)]
        for _ in range(rounds):
            load = run_load(server.url, annotators, work)
            differences += find_differences(load.answers, alone, size)
            used_bytes.append(server.read_metric("process_resident_memory_bytes"))
        hits, evictions = (
            {level: int(server.read_metric(f'm2n2_cache_{what}_total{{level="{level}"}}')) for level in LEVELS}
            for what in ("hits", "evictions")
        )
    return Pressure(rounds * annotators * clicks, differences, hits, evictions, used_bytes[-1] - used_bytes[0])
