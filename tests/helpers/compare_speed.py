"""This checkout against another one, in turn: ``python -m tests.helpers.compare_speed OTHER [--rounds N]``.

Each turn is a process of its own, with the code of one checkout and the same pictures and clicks. It times preparing a
new picture, a further click on it, and restoring it from what host memory keeps. Printed are the medians over the turns
and their ratio, this checkout by the other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

CLICKS = 6
HERE = Path(__file__).resolve()

Medians = Mapping[str, float]
"""What was timed -> its median in seconds."""


def time_engine(backbone: str, device: str, preset: str, size: tuple[int, int], pictures: int) -> Medians:
    """Of the checkout that this process imports from. size: (H, W) in pixels."""
    import numpy as np

    from m2n2_engine.config import EngineConfig, WeightsConfig
    from m2n2_engine.engine import load_engine
    from m2n2_engine.types import Click

    height, width = size
    rng = np.random.default_rng(0)

    def draw() -> np.ndarray:
        picture = rng.integers(60, 90, (height, width, 3), np.uint8)
        rows, columns = np.mgrid[:height, :width]
        disc = (columns - width / 2) ** 2 + (rows - height / 2) ** 2 < (height / 4) ** 2
        picture[disc] = rng.integers(150, 250, 3)
        return picture

    def choose_clicks(count: int) -> list[Click]:
        """The middle of the disc, and then anywhere, negative and positive in turn."""
        places = rng.random((count - 1, 2)) * (width, height)
        return [Click(width / 2, height / 2), *(Click(x, y, bool(i % 2)) for i, (x, y) in enumerate(places.tolist()))]

    folder = os.environ.get("M2N2_WEIGHTS_FOLDER")
    weights = WeightsConfig(folder=Path(folder)) if folder else WeightsConfig()
    # One resident picture, so that every other one is restored.
    engine = load_engine(
        EngineConfig(weights=weights, backbone=backbone, device=device, preset=preset, session_cache_bytes=1)
    )
    warm = [draw() for _ in range(2)]
    for picture in [*warm, warm[0]]:
        engine.segment(picture, choose_clicks(3))
    found: dict[str, list[float]] = {"prepare": [], "click": [], "restore": []}

    def measure(name: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        found[name].append(time.perf_counter() - started)

    drawn = [draw() for _ in range(pictures)]
    for picture in drawn:
        measure("prepare", lambda picture=picture: engine.prepare(picture))
        clicks = choose_clicks(CLICKS + 1)
        engine.segment(picture, clicks[:1])
        for count in range(2, len(clicks) + 1):
            measure("click", lambda picture=picture, some=clicks[:count]: engine.segment(picture, some))
    for picture in drawn:
        measure("restore", lambda picture=picture: engine.prepare(picture))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def run_turn(checkout: Path, options: Sequence[str]) -> Medians:
    """Time the code of a checkout, in a process of its own."""
    path = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, str(HERE), "--turn", *options]
    done = subprocess.run(
        command, cwd=checkout, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr[-2000:]}")
    medians: Medians = json.loads(done.stdout.splitlines()[-1])
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turn", action="store_true", help="time the engine that is imported, once")
    parser.add_argument("--backbone", default="dinov2-small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--preset", default="consensus")
    parser.add_argument("--size", default="640x480", help="width x height in pixels")
    parser.add_argument("--pictures", type=int, default=5)
    options = parser.parse_args()
    if options.turn:
        width, height = map(int, options.size.split("x"))
        found = time_engine(options.backbone, options.device, options.preset, (height, width), options.pictures)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    if options.other is None:
        parser.error("name another checkout")
    passed = [f"--{name}={getattr(options, name)}" for name in ("backbone", "device", "preset", "size", "pictures")]
    turns = [
        [run_turn(checkout, passed) for checkout in (options.other.resolve(), HERE.parents[2])]
        for _ in range(options.rounds)
    ]
    for name in turns[0][0]:
        other, here = (statistics.median(turn[side][name] for turn in turns) for side in range(2))
        sys.stdout.write(f"{name}: other {other * 1000:.1f} ms, here {here * 1000:.1f} ms, ratio {here / other:.3f}\n")


if __name__ == "__main__":
    main()
