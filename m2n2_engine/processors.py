"""The processors that this process may run on, and how much of them it may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")
_CONTROLLER = "cpu"


def count_processors() -> int:
    """How many threads can work at the same time; at least 1.

    The processors that the system leaves to this process (`taskset`, a container's cpuset), and no more than its quota
    of time comes to, as a container's ``cpus: 4`` on 64 processors: 64 threads would use the quota up in a sixteenth of
    each period, and all stand still for the rest. macOS and Windows tell of neither, and there it is all processors.
    """
    quota = read_quota()
    allowed = count_allowed_processors()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def count_allowed_processors() -> int:
    """The processors that this process may run on, whatever its quota."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_quota(membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> float | None:
    """The processors' time that control groups leave to this process, in processors; None where it is not limited.

    A group has what is left to it by those above it, so the smallest quota of all of them counts.

    Args:
        membership: Linux's list of the process's groups, of either version of control groups.
        mount: Where the groups are mounted. A container sees its own group there, under the path that it has outside or
            as the uppermost.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for folder in _list_folders(controllers, path, mount):
            quotas.append(parse_cpu_max(_read(folder / "cpu.max")))
            period = _read(folder / "cpu.cfs_period_us")
            quotas.append(parse_cpu_max(f"{_read(folder / 'cpu.cfs_quota_us')} {period}"))
    return min((quota for quota in quotas if quota is not None), default=None)


def parse_cpu_max(text: str) -> float | None:
    """``cpu.max`` of a control group, ``QUOTA PERIOD`` in microseconds -> processors; None without a limit.

    A quota of ``max`` is none, and so is version 1's ``-1``.
    """
    quota, _, period = text.strip().partition(" ")
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)


def _list_folders(controllers: str, path: str, mount: Path) -> Iterator[Path]:
    """Of a line of the membership: the group's folder and those above it, wherever distributions mount them."""
    names = controllers.split(",")
    if controllers and _CONTROLLER not in names:
        return
    roots = [mount / controllers, mount / _CONTROLLER] if controllers else [mount, mount / "unified"]
    group = Path(path.lstrip("/"))
    for root in roots:
        yield from (root / above for above in (group, *group.parents))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
