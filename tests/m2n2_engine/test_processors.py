"""Threads by the processors that a process may run on, and by the time that its container has on them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from m2n2_engine import processors
from m2n2_engine.processors import count_processors, parse_cpu_max, read_quota


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("400000 100000\n", 4.0),
        ("150000 100000", 1.5),
        ("max 100000", None),
        ("-1 100000", None),
        ("0 100000", None),
        ("400000", None),
        ("", None),
        ("400000 0", None),
        ("four 100000", None),
    ],
)
def test_a_group_s_limit_is_its_quota_in_each_period(text: str, expected: float | None) -> None:
    assert parse_cpu_max(text) == expected


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    path = tmp_path / "cgroup"
    path.write_text("0::/\n")
    return path


def test_version_2_in_a_container_has_its_own_group_uppermost(tmp_path: Path, membership: Path) -> None:
    write(tmp_path / "mount", cpu__max="400000 100000")
    assert read_quota(membership, tmp_path / "mount") == 4


def test_version_2_with_a_path_as_systemd_s_has_what_groups_above_leave(tmp_path: Path, membership: Path) -> None:
    membership.write_text("0::/system.slice/m2n2.service\n")
    write(tmp_path / "mount" / "system.slice" / "m2n2.service", cpu__max="800000 100000")
    write(tmp_path / "mount" / "system.slice", cpu__max="250000 100000")
    assert read_quota(membership, tmp_path / "mount") == 2.5


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
def test_version_1_has_two_files_and_a_folder_for_each_controller(
    tmp_path: Path, membership: Path, folder: str
) -> None:
    # The path is the one outside of the container, which sees its own group uppermost.
    membership.write_text("5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n")
    write(tmp_path / "mount" / folder, cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    write(tmp_path / "mount" / "memory", cpu__cfs_quota_us="100", cpu__cfs_period_us="100")
    assert read_quota(membership, tmp_path / "mount") == 2


def test_no_quota_is_no_limit(tmp_path: Path, membership: Path) -> None:
    assert read_quota(membership, tmp_path / "mount") is None
    assert read_quota(tmp_path / "no such file", tmp_path / "mount") is None
    membership.write_text("3:cpu,cpuacct:/docker/1f\n")
    write(tmp_path / "mount" / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert read_quota(membership, tmp_path / "mount") is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 64), (4.0, 4), (1.5, 2), (0.2, 1), (100.0, 64)])
def test_threads_are_as_many_as_the_quota_keeps_busy(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.setattr(processors, "read_quota", lambda: quota)
    assert count_processors() == expected


def test_processors_are_counted_where_the_system_does_not_tell_whose_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "read_quota", lambda: None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert count_processors() == 10
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_processors() == 1
