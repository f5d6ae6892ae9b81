"""The order of clicks outlasts a process, is the same in all, and takes little room."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from backend.cvat import order_store
from backend.cvat.order_store import OrderStore
from m2n2_engine.types import Click, Picture

FIRST, SECOND = Click(1.25, 1), Click(2, 2)
CORRECTION = Click(1, 9.5, False)
MADE = (FIRST, CORRECTION, SECOND)
SENT = [FIRST, SECOND, CORRECTION]
"""As CVAT sends them."""


def draw(shade: int = 0) -> Picture:
    return Picture.of(np.full((20, 30, 3), shade, np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "attention" / "cvat-clicks"


def make_clicks(store: OrderStore, picture: Picture) -> tuple[Click, ...]:
    """The clicks one after the other."""
    store.restore(picture, [FIRST])
    store.restore(picture, [FIRST, CORRECTION])
    return store.restore(picture, SENT)


def test_the_next_process_and_the_one_beside_it_know_the_order(folder: Path) -> None:
    beside = OrderStore(folder)
    assert beside.restore(draw(), SENT[:1]) == (FIRST,)
    assert make_clicks(OrderStore(folder), draw()) == MADE
    assert OrderStore(folder).restore(draw(), SENT) == MADE
    assert beside.restore(draw(), SENT) == MADE


def test_without_a_folder_the_order_is_kept_in_memory() -> None:
    store = OrderStore(None)
    assert make_clicks(store, draw()) == MADE
    assert store.restore(draw(), SENT) == MADE
    for shade in range(1, 257):
        make_clicks(store, draw(shade % 256) if shade < 256 else Picture.of(np.zeros((5, 5, 3), np.uint8)))
    assert store.restore(draw(), SENT) == tuple(SENT)


def test_pictures_do_not_mix(folder: Path) -> None:
    store = OrderStore(folder)
    make_clicks(store, draw(1))
    assert store.restore(draw(2), SENT) == tuple(SENT)


def test_positive_clicks_alone_write_nothing(folder: Path) -> None:
    OrderStore(folder).restore(draw(), [FIRST, SECOND])
    assert not folder.exists()


def test_the_folders_are_private_and_nothing_else_is_left_there(folder: Path) -> None:
    make_clicks(OrderStore(folder), draw())
    for each in (folder, folder.parent):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700
    (file,) = folder.iterdir()
    assert file.name == f"{draw().digest}.json"
    assert json.loads(file.read_text()) == [[[1.25, 1, True], [1, 9.5, False], [2, 2, True]]]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[[[1]]]", b"[1]", b"null", b'{"a": 1}', b'[[["x", 1, true]]]', b"\xff", b" " * (5 << 20)]
)
def test_a_file_that_is_none_of_ours_counts_as_none(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / f"{draw().digest}.json").write_bytes(content)
    store = OrderStore(folder)
    assert store.restore(draw(), SENT) == tuple(SENT)
    assert store.restore(draw(), SENT) == tuple(SENT)


def test_a_folder_that_cannot_be_written_fails_no_click_and_is_named_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in its place")
    store = OrderStore(folder)
    assert make_clicks(store, draw()) == MADE
    assert store.restore(draw(), SENT) == MADE
    (message,) = caplog.messages
    assert f"the order of clicks cannot be written to {folder}: " in message


@pytest.mark.parametrize("kind", ["open", "link"])
def test_a_folder_that_others_may_change_is_not_written_to(
    folder: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.mkdir(parents=True)
    if kind == "open":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        (tmp_path / "elsewhere").mkdir(0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    assert make_clicks(OrderStore(folder), draw()) == MADE
    assert "it must be a folder of this user that nobody else may write to" in caplog.text
    assert not list(folder.iterdir())


def test_the_oldest_files_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_store, "_MOST_FILES", 3)
    store = OrderStore(folder)
    (folder).mkdir(parents=True)
    (folder / "of somebody else.json").write_text("[]")
    for shade in range(5):
        make_clicks(store, draw(shade))
        os.utime(folder / f"{draw(shade).digest}.json", (shade, shade))
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"of somebody else.json", *(f"{draw(shade).digest}.json" for shade in (2, 3, 4))}


def test_all_files_together_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = OrderStore(folder)
    make_clicks(store, draw(0))
    nbytes = (folder / f"{draw(0).digest}.json").stat().st_size
    monkeypatch.setattr(order_store, "_MOST_FILES_BYTES", 2 * nbytes)
    for shade in range(1, 5):
        make_clicks(store, draw(shade))
    assert len(list(folder.iterdir())) == 2


def test_threads_beside_each_other_leave_a_whole_file(folder: Path) -> None:
    store = OrderStore(folder)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: make_clicks(store, draw()), range(40)))
    assert OrderStore(folder).restore(draw(), SENT) in (MADE, tuple(SENT))
    (file,) = folder.iterdir()
    json.loads(file.read_text())
