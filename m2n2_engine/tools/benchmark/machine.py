"""What the figures were made on: without it they mean nothing."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import shlex
import sys
from pathlib import Path


def describe_run(threads: int | None) -> dict[str, str | int | None]:
    """Date, command and machine. threads: of the computation, where known. Imports no torch."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["m2n2", *sys.argv[1:]]),
        "processor": _processor_name(),
        "threads": threads,
        "torch": importlib.metadata.version("torch"),
        "python": platform.python_version(),
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
