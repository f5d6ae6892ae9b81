"""The disk store alone: one folder, files that others spoil, processes that die."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torch
from filelock import FileLock

from m2n2_engine.cache import disk
from m2n2_engine.cache.disk import DiskStore, UnusableFile, read_image
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors
from m2n2_engine.types import Deadline

MakeBalanced = Callable[..., BalancedFactors]
Equal = Callable[[BalancedFactors, BalancedFactors], bool]

LARGE = 2**20
LONG_SECONDS = 60
"""Nothing waits this long unless it would wait forever."""

CHILD = """
import sys, torch
from pathlib import Path
from m2n2_engine.cache import disk
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors, LayerFactors

store = disk.DiskStore(Path(sys.argv[1]), 2**20)
key = AttentionKey("a", "fingerprint")
half = torch.ones(2, 6, 100)
balanced = BalancedFactors(AttentionFactors((LayerFactors(half, half, 1.0),), (2, 3)), torch.ones(6), torch.ones(6))
"""
"""How a second process begins; it goes on with what a test adds."""


def start(folder: Path, code: str) -> subprocess.Popen[str]:
    """A second process that uses the folder."""
    command = [sys.executable, "-c", CHILD + code, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def key(name: str = "a") -> AttentionKey:
    return AttentionKey(name, "fingerprint")


def names(folder: Path) -> list[str]:
    """Of the files there, but for the lock of those who write."""
    return sorted(path.name for path in folder.iterdir() if path.name != "attention.lock")


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.safetensors")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "by the first write"


@pytest.fixture
def store(folder: Path) -> DiskStore:
    return DiskStore(folder, LARGE)


@pytest.fixture
def file_bytes(tmp_path: Path, make_balanced: MakeBalanced) -> int:
    """Size of the file of one image; all of this test's are equal."""
    store = DiskStore(tmp_path / "measure", LARGE)
    store.save(key(), make_balanced())
    return store.status.bytes


# --- what is kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_was_saved_is_loaded_to_the_last_bit(
    store: DiskStore, folder: Path, make_balanced: MakeBalanced, equal: Equal, dtype: torch.dtype
) -> None:
    store.save(key(), make_balanced(dtype=dtype))
    found = DiskStore(folder, LARGE).load(key())
    assert found is not None
    assert equal(found, make_balanced(dtype=dtype))
    assert not equal(found, make_balanced(seed=1, dtype=dtype))


def test_the_folder_is_its_owner_s_alone(store: DiskStore, folder: Path, make_balanced: MakeBalanced) -> None:
    store.save(key(), make_balanced())
    assert folder.stat().st_mode & 0o077 == 0


def test_a_layer_may_attend_by_its_keys_alone(store: DiskStore, make_balanced: MakeBalanced, equal: Equal) -> None:
    balanced = make_balanced()
    layer = balanced.factors.layers[0]
    same = dataclasses.replace(layer, query=layer.key)
    balanced = dataclasses.replace(balanced, factors=AttentionFactors((same,), (3, 4)))
    store.save(key(), balanced)
    found = store.load(key())
    assert found is not None
    assert equal(found, balanced)
    (kept,) = found.factors.layers
    assert kept.query is kept.key  # on the disk once, and in memory


def test_every_part_of_a_key_counts(store: DiskStore, make_balanced: MakeBalanced) -> None:
    store.save(key(), make_balanced())
    assert store.load(AttentionKey("b", "fingerprint")) is None
    assert store.load(AttentionKey("a", "another fingerprint")) is None
    assert store.load(key()) is not None
    assert (store.status.hits, store.status.misses) == (1, 2)


def test_another_format_is_another_file(
    store: DiskStore, make_balanced: MakeBalanced, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    store.save(key(), make_balanced())
    monkeypatch.setattr(disk, "FORMAT", "next")
    assert store.load(key()) is None
    with pytest.raises(UnusableFile, match="it is of format 1, not next"):
        read_image(only_file(folder))


# --- the budget


def test_the_least_recently_used_makes_room(folder: Path, make_balanced: MakeBalanced, file_bytes: int) -> None:
    store = DiskStore(folder, 3 * file_bytes)
    for name in ("a", "b", "c"):
        store.save(key(name), make_balanced())
    assert store.status.evictions == 0
    assert store.load(key("a")) is not None
    store.save(key("d"), make_balanced())
    assert [name for name in "abcd" if store.load(key(name)) is not None] == ["a", "c", "d"]
    assert (store.status.evictions, store.status.images) == (1, 3)
    assert store.status.bytes == 3 * file_bytes


def test_room_is_made_before_a_file_is_written(
    folder: Path, make_balanced: MakeBalanced, file_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DiskStore(folder, 2 * file_bytes)
    for name in ("a", "b"):
        store.save(key(name), make_balanced())
    sizes = []
    replace = os.replace

    def look(source: Path, target: Path) -> None:
        sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    store.save(key("c"), make_balanced())
    assert sizes == [2 * file_bytes]


def test_all_users_of_a_folder_keep_one_budget(folder: Path, make_balanced: MakeBalanced, file_bytes: int) -> None:
    stores = [DiskStore(folder, 2 * file_bytes) for _ in range(2)]
    for i in range(5):
        stores[i % 2].save(key(str(i)), make_balanced(i))
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 2 * file_bytes
    assert [i for i in range(5) if stores[0].load(key(str(i))) is not None] == [3, 4]


def test_writers_beside_each_other_keep_the_budget(
    folder: Path, make_balanced: MakeBalanced, file_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [DiskStore(folder, 2 * file_bytes) for _ in range(6)]
    start = threading.Barrier(len(stores))
    sizes = []
    replace = os.replace

    def look(source: Path, target: Path) -> None:
        sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
        replace(source, target)

    def write(i: int) -> None:
        start.wait(LONG_SECONDS)
        for j in range(3):
            stores[i].save(key(f"{i} {j}"), make_balanced())

    monkeypatch.setattr(os, "replace", look)
    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(write, range(len(stores))))
    assert len(sizes) == 18
    assert max(sizes) <= 2 * file_bytes
    assert [store.write_failures for store in stores] == [0] * 6


def test_an_image_larger_than_the_budget_drives_no_other_out(
    folder: Path, make_balanced: MakeBalanced, file_bytes: int
) -> None:
    DiskStore(folder, LARGE).save(key("a"), make_balanced())
    small = DiskStore(folder, file_bytes - 1)
    small.save(key("b"), make_balanced())
    assert len(names(folder)) == 1
    assert (small.status.evictions, small.write_failures) == (0, 0)


def test_a_smaller_budget_is_kept_from_the_start(folder: Path, make_balanced: MakeBalanced, file_bytes: int) -> None:
    store = DiskStore(folder, LARGE)
    for name in ("a", "b", "c"):
        store.save(key(name), make_balanced())
    smaller = DiskStore(folder, 2 * file_bytes)
    smaller.tidy()
    assert (smaller.status.images, smaller.status.bytes) == (2, 2 * file_bytes)
    assert smaller.load(key("a")) is None


# --- files that are not what they should be


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_a_bit(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


SPOILED = {
    "cut": cut,
    "cut in its header": lambda content: content[:20],
    "without its last byte": lambda content: content[:-1],
    "longer": lambda content: content + b"more",
    "empty": lambda content: b"",
    "zeros of the same length": lambda content: bytes(len(content)),
    "one bit": flip_a_bit,
    "text": lambda content: b"this is no tensor" * 100,
    "another network's": lambda content: safetensors.torch.save({"weight": torch.ones(3)}),
    "of another version": lambda content: safetensors.torch.save({"rows": torch.ones(3)}, {"format": "0"}),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_an_unusable_file_is_deleted_and_counts_as_a_miss(
    store: DiskStore,
    folder: Path,
    make_balanced: MakeBalanced,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[bytes], bytes],
) -> None:
    store.save(key(), make_balanced())
    path = only_file(folder)
    path.write_bytes(spoil(path.read_bytes()))
    assert store.load(key()) is None
    assert not path.exists()
    assert f"{path} cannot be used and is deleted: it" in caplog.text
    assert (store.status.hits, store.status.misses) == (0, 1)
    store.save(key(), make_balanced())
    assert store.load(key()) is not None


def test_another_image_s_file_is_not_taken(store: DiskStore, folder: Path, make_balanced: MakeBalanced) -> None:
    store.save(key("a"), make_balanced(1))
    first = only_file(folder)
    content = first.read_bytes()
    first.unlink()
    store.save(key("b"), make_balanced(2))
    second = only_file(folder)
    second.write_bytes(content)
    with pytest.raises(UnusableFile, match="it is another image's"):
        read_image(second)
    assert store.load(key("b")) is None


def test_files_of_others_stay(folder: Path, make_balanced: MakeBalanced, file_bytes: int) -> None:
    folder.mkdir(parents=True)
    others = ["model.safetensors", "attention-notes.txt", "attention-1.safetensors", "x.partial", "other.lock"]
    for name in others:
        (folder / name).write_bytes(b"x" * file_bytes)
    store = DiskStore(folder, file_bytes)
    for name in ("a", "b"):
        store.save(key(name), make_balanced())
    assert store.status.bytes == file_bytes
    store.tidy()
    store.clear()
    assert names(folder) == sorted(others)


# --- folders that cannot be written to


def test_a_folder_that_cannot_be_made_fails_nothing_and_is_named_once(
    tmp_path: Path, make_balanced: MakeBalanced, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    store = DiskStore(tmp_path / "file" / "cache", LARGE)
    for _ in range(3):
        with store.building(key()):
            assert store.load(key()) is None
            store.save(key(), make_balanced())
    store.tidy()
    assert store.write_failures == 3
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1
    assert f"the attention cache in {tmp_path / 'file' / 'cache'} cannot be written: " in caplog.text


def test_a_full_disk_fails_nothing_and_leaves_nothing(folder: Path) -> None:
    # The kernel then refuses what exceeds the limit in the middle of a file, as it does where the disk is full.
    limited = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
store.save(key, balanced)
print(store.write_failures, store.load(key))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()), flush=True)
store.save(key, balanced)
print(store.write_failures, store.load(key) is not None)
"""
    printed, _ = start(folder, limited).communicate(timeout=LONG_SECONDS)
    assert printed.splitlines() == ["1 None", "['attention.lock']", "1 True"]


def test_a_read_only_folder_is_read(folder: Path) -> None:
    # Root may write everywhere, so that it has to become somebody else.
    read_only = """
import os
store.save(key, balanced)
os.chdir(sys.argv[1])
os.chmod(".", 0o555)
if os.geteuid() == 0:
    os.setuid(65534)
store = disk.DiskStore(Path("."), 2**20)
with store.building(key):
    print(store.load(key) is not None)
with store.building(AttentionKey("b", "fingerprint")):
    print(store.load(AttentionKey("b", "fingerprint")))
    store.save(AttentionKey("b", "fingerprint"), balanced)
print(store.write_failures, store.status.hits)
"""
    try:
        printed, _ = start(folder, read_only).communicate(timeout=LONG_SECONDS)
    finally:
        folder.chmod(0o700)
    assert printed.splitlines() == ["True", "None", "1 1"]


# --- processes


def test_a_process_killed_while_it_writes_blocks_nobody_and_leaves_nothing(
    store: DiskStore, folder: Path, make_balanced: MakeBalanced
) -> None:
    stuck = """
def write_half(path, content):
    with path.open("wb") as file:
        file.write(content[:len(content) // 2])
        file.flush()
        print("half is written", flush=True)
        sys.stdin.read()

Path.write_bytes = write_half
with store.building(key):
    store.save(key, balanced)
"""
    with start(folder, stuck) as process:
        assert read_line(process) == "half is written"
        process.send_signal(signal.SIGKILL)
    stem = next(folder.glob("*.partial")).stem
    assert names(folder) == [f"{stem}.lock", f"{stem}.partial"]
    with store.building(key("b")):
        assert store.load(key()) is None
        store.save(key("b"), make_balanced())
    assert [path.suffix for path in folder.iterdir() if path.stem.startswith(stem)] == []
    with store.building(key()):
        store.save(key(), make_balanced())
    assert store.load(key()) is not None
    assert len(names(folder)) == 2


def test_another_process_waits_for_who_builds_and_takes_its_file(
    store: DiskStore, folder: Path, make_balanced: MakeBalanced
) -> None:
    waiting = """
import logging

class Tell(logging.Handler):
    def emit(self, record):
        if "waiting" in record.getMessage():
            print("waiting", flush=True)

logging.getLogger("filelock").setLevel(logging.DEBUG)
logging.getLogger("filelock").addHandler(Tell())
with store.building(key):
    found = store.load(key)
    print("nothing there" if found is None else found.rows.tolist(), flush=True)
"""
    with store.building(key()):
        process = start(folder, waiting)
        assert read_line(process) == "waiting"
        store.save(key(), make_balanced())
    printed, _ = process.communicate(timeout=LONG_SECONDS)
    assert printed.splitlines()[-1] == str(make_balanced().rows.tolist())
    assert len(names(folder)) == 1


def test_who_takes_too_long_is_not_waited_for(store: DiskStore, make_balanced: MakeBalanced) -> None:
    with store.building(key()), store.building(key(), Deadline.after(0.01)):
        store.save(key(), make_balanced())
    assert store.load(key()) is not None


def test_the_lock_of_a_living_builder_is_not_swept(store: DiskStore, folder: Path, make_balanced: MakeBalanced) -> None:
    with store.building(key()):
        store.save(key("b"), make_balanced())
        (lock,) = folder.glob("attention-*.lock")
        with pytest.raises(TimeoutError):
            FileLock(lock).acquire(timeout=0)
    assert not list(folder.glob("attention-*.lock"))


def test_one_thread_at_a_time_builds_an_image(store: DiskStore) -> None:
    at_work, most = 0, 0
    counting = threading.Lock()

    def build() -> None:
        nonlocal at_work, most
        with store.building(key()):
            with counting:
                at_work += 1
                most = max(most, at_work)
            with counting:
                at_work -= 1

    threads = [threading.Thread(target=build) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_SECONDS)
    assert most == 1


# --- clearing


def test_clear_deletes_the_images(store: DiskStore, folder: Path, make_balanced: MakeBalanced) -> None:
    assert store.clear() == []
    assert not folder.exists()
    for name in ("a", "b"):
        store.save(key(name), make_balanced())
    assert len(store.clear()) == 2
    assert names(folder) == []
    assert store.load(key("a")) is None
