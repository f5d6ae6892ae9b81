"""The disk store alone: one folder, files that others spoil, processes that die."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
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

from m2n2_engine.cache import stored_image
from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.cache.stored_image import UnusableFile
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


def start(folder: Path, code: str, stderr: int | None = None) -> subprocess.Popen[str]:
    """A second process that uses the folder."""
    command = [sys.executable, "-c", CHILD + code, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def key(name: str = "a") -> AttentionKey:
    return AttentionKey(name, "fingerprint")


def names(folder: Path) -> list[str]:
    """Of the files there, but for the lock of those who write and the key."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("attention.lock", "attention.key"))


def count_bytes(folder: Path) -> int:
    """Of the files there, but for the key."""
    return sum((folder / name).stat().st_size for name in names(folder))


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
    monkeypatch.setattr(stored_image, "FORMAT", "next")
    assert store.load(key()) is None
    with pytest.raises(UnusableFile, match="it is of format 2, not next"):
        store.read_image(only_file(folder))


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
        sizes.append(count_bytes(folder))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    store.save(key("c"), make_balanced())
    assert sizes == [2 * file_bytes]


def test_all_users_of_a_folder_keep_one_budget(folder: Path, make_balanced: MakeBalanced, file_bytes: int) -> None:
    stores = [DiskStore(folder, 2 * file_bytes) for _ in range(2)]
    for i in range(5):
        stores[i % 2].save(key(str(i)), make_balanced(i))
        assert count_bytes(folder) <= 2 * file_bytes
    assert [i for i in range(5) if stores[0].load(key(str(i))) is not None] == [3, 4]


def test_writers_beside_each_other_keep_the_budget(
    folder: Path, make_balanced: MakeBalanced, file_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [DiskStore(folder, 2 * file_bytes) for _ in range(6)]
    start = threading.Barrier(len(stores))
    sizes = []
    replace = os.replace

    def look(source: Path, target: Path) -> None:
        if target.suffix == ".safetensors":
            sizes.append(count_bytes(folder))
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
        store.read_image(second)
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


def sign_anew(folder: Path, content: bytes) -> bytes:
    """As this installation itself would sign it."""
    return content + stored_image.sign(content, (folder / "attention.key").read_bytes())


SIGNED = {
    "without the key image": {"format": "2", "fingerprint": "fingerprint"},
    "without any key": {},
    "of another format": {"format": "1", "image": "a", "fingerprint": "fingerprint"},
    "with no tensors": {"format": "2", "image": "a", "fingerprint": "fingerprint", "layers": "[]", "grid": "[2, 3]"},
    "with a damaged list": {"format": "2", "image": "a", "fingerprint": "fingerprint", "layers": "[", "grid": "7"},
}


@pytest.mark.parametrize("metadata", SIGNED.values(), ids=SIGNED.keys())
def test_a_signed_file_that_is_no_image_is_deleted(
    store: DiskStore, folder: Path, make_balanced: MakeBalanced, metadata: dict[str, str]
) -> None:
    store.save(key(), make_balanced())
    path = only_file(folder)
    path.write_bytes(sign_anew(folder, safetensors.torch.save({"weight": torch.ones(3)}, metadata)))
    assert store.load(key()) is None
    assert not path.exists()


def test_what_another_installation_signed_is_not_taken(
    store: DiskStore, folder: Path, tmp_path: Path, make_balanced: MakeBalanced
) -> None:
    store.save(key(), make_balanced(1))
    other = DiskStore(tmp_path / "other", LARGE)
    other.save(key(), make_balanced(2))
    path = only_file(folder)
    path.write_bytes(only_file(tmp_path / "other").read_bytes())
    with pytest.raises(UnusableFile, match="signature is not of this installation's key"):
        store.read_image(path)
    assert store.load(key()) is None


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(b"content")
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("put", [make_pipe, make_link])
def test_nothing_but_a_regular_file_is_read(
    store: DiskStore, folder: Path, make_balanced: MakeBalanced, put: Callable[[Path], None]
) -> None:
    store.save(key(), make_balanced())
    path = only_file(folder)
    path.unlink()
    put(path)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(store.load, key()).result(LONG_SECONDS) is None
    assert not os.path.lexists(path)
    store.save(key(), make_balanced())
    assert store.load(key()) is not None


@pytest.mark.parametrize("put", [make_pipe, make_link])
def test_nothing_in_the_place_of_a_file_is_written_to(
    store: DiskStore, folder: Path, make_balanced: MakeBalanced, put: Callable[[Path], None]
) -> None:
    store.save(key(), make_balanced())
    partial = only_file(folder).with_suffix(".partial")
    put(partial)
    store.save(key(), make_balanced(1))
    assert store.write_failures == 0
    assert [path.suffix for path in folder.iterdir() if path.stem == partial.stem] == [".safetensors"]


# --- folders that others may write to


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_may_write_to_is_not_used(
    store: DiskStore, folder: Path, make_balanced: MakeBalanced, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    store.save(key(), make_balanced())
    folder.chmod(mode)
    before = sorted(folder.iterdir())
    again = DiskStore(folder, LARGE)
    again.tidy()
    with again.building(key()):
        assert again.load(key()) is None
        again.save(key("b"), make_balanced())
    assert sorted(folder.iterdir()) == before
    assert again.write_failures == 2
    assert f"{folder} is open to other users (mode {mode:o}): run chmod -R go-rwx {folder}" in caplog.text
    assert len(caplog.records) == 1
    folder.chmod(0o700)
    assert again.load(key()) is not None


def test_the_folder_is_looked_at_before_every_use(store: DiskStore, folder: Path, make_balanced: MakeBalanced) -> None:
    store.save(key(), make_balanced())
    assert store.load(key()) is not None
    folder.chmod(0o777)
    assert store.load(key()) is None
    with pytest.raises(PermissionError, match="open to other users"):
        store.clear()


def test_the_key_is_its_owner_s_alone(store: DiskStore, folder: Path, make_balanced: MakeBalanced) -> None:
    store.save(key(), make_balanced())
    secret = folder / "attention.key"
    assert secret.stat().st_mode & 0o777 == 0o600
    secret.chmod(0o640)
    assert store.load(key()) is None
    store.save(key("b"), make_balanced())
    assert store.write_failures == 1
    with pytest.raises(PermissionError, match=r"attention.key is open to other users \(mode 640\)"):
        store.check_folder()
    secret.chmod(0o600)
    store.check_folder()
    assert store.load(key()) is not None


def test_users_of_a_folder_share_its_key(folder: Path, make_balanced: MakeBalanced) -> None:
    begin = threading.Barrier(6)

    def write(i: int) -> None:
        begin.wait(LONG_SECONDS)
        DiskStore(folder, LARGE).save(key(str(i)), make_balanced(i))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert all(DiskStore(folder, LARGE).load(key(str(i))) is not None for i in range(6))


@pytest.mark.parametrize("damage", [lambda key: key.write_bytes(b"short"), Path.unlink])
def test_without_its_key_an_image_is_prepared_anew(
    store: DiskStore, folder: Path, make_balanced: MakeBalanced, damage: Callable[[Path], object]
) -> None:
    store.save(key(), make_balanced())
    damage(folder / "attention.key")
    assert store.load(key()) is None
    assert not list(folder.glob("*.safetensors"))
    store.save(key(), make_balanced())
    assert store.load(key()) is not None


def test_the_folder_may_be_reached_through_a_link(
    store: DiskStore, folder: Path, tmp_path: Path, make_balanced: MakeBalanced
) -> None:
    store.save(key(), make_balanced())
    (tmp_path / "link").symlink_to(folder)
    assert DiskStore(tmp_path / "link", LARGE).load(key()) is not None


FOREIGN = """
import os
store.save(key, balanced)
if os.geteuid() == 0:
    os.chown(sys.argv[1], 65534, -1)
else:  # only root gives folders away
    os.geteuid = lambda: 65534
print(store.load(key))
store.save(key, balanced)
print(store.write_failures)
"""


def test_a_folder_of_another_user_is_not_used(folder: Path) -> None:
    process = start(folder, FOREIGN, stderr=subprocess.PIPE)
    printed, told = process.communicate(timeout=LONG_SECONDS)
    assert printed.splitlines() == ["None", "1"]
    assert re.search(rf"{folder} belongs to user \d+, not to this process's user \d+: use a folder of its own", told)


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
    assert f"the attention cache in {tmp_path / 'file' / 'cache'} cannot be used: " in caplog.text
    assert "set M2N2_DISK_CACHE_FOLDER to a folder that can, or M2N2_DISK_CACHE_MIB=0" in caplog.text


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
    assert printed.splitlines() == ["1 None", "['attention.key', 'attention.lock']", "1 True"]


def test_a_read_only_folder_is_read(folder: Path) -> None:
    # Root may write everywhere, so that it has to become somebody else.
    read_only = """
import os
store.save(key, balanced)
os.chdir(sys.argv[1])
os.chmod(".", 0o555)
if os.geteuid() == 0:
    for name in (".", *os.listdir(".")):
        os.chown(name, 65534, -1)
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
import os

def wait_for_ever(source, target):
    print("all is written under another name", flush=True)
    sys.stdin.read()

store.save(AttentionKey("b", "fingerprint"), balanced)  # makes the key
store.clear()
os.replace = wait_for_ever
with store.building(key):
    store.save(key, balanced)
"""
    with start(folder, stuck) as process:
        assert read_line(process) == "all is written under another name"
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
