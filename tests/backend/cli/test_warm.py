"""``m2n2 warm``: a folder and a project, twice, with an image that fails and a stop in the middle."""

from __future__ import annotations

import json
import threading

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli import warm
from backend.cli.main import app
from backend.cli.warm import Source, fetch_ahead
from backend.label_studio.payload import Task
from m2n2_engine import engine as engine_module
from m2n2_engine.errors import OutOfMemory
from m2n2_engine.types import Level

CONFIG = '<View><Image name="image" value="$image"/></View>'
DEADLINE_SECONDS = 10


@pytest.fixture
def m2n2(monkeypatch, tmp_path):
    """Runs the command line with the tiny backbone and a disk cache of its own."""

    def run(*arguments, **environ):
        settings = {
            "M2N2_BACKBONE": "tiny",
            "M2N2_OFFLINE": "true",
            "M2N2_THREADS": "1",
            "M2N2_DISK_CACHE_FOLDER": str(tmp_path / "attention"),
            "LABEL_STUDIO_URL": "",
            "LABEL_STUDIO_API_KEY": "",
            **environ,
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, ["warm", *map(str, arguments)])

    return run


@pytest.fixture
def make_picture():
    def make(seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
        return cv2.imencode(".png", pixels)[1].tobytes()

    return make


@pytest.fixture
def folder(tmp_path, make_picture):
    """Three images, one of them in a folder below, and a text."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for seed, name in enumerate(["a.png", "b.PNG", "more/c.png"]):
        (folder / name).write_bytes(make_picture(seed))
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_folder_is_prepared_once_and_found_on_disk_from_then_on(m2n2, folder, make_picture):
    first = m2n2(folder)
    assert first.exit_code == 0, first.output
    assert "3 images in " in first.output
    assert "3 new (" in first.output
    assert "0 on disk already, 0 failed" in first.output
    assert f"{folder.parent / 'attention'}: 3 images, 0." in first.output
    (folder / "d.png").write_bytes(make_picture(9))
    second = m2n2(folder)
    assert "1 new (" in second.output
    assert "3 on disk already, 0 failed" in second.output


def test_what_was_prepared_is_found_by_an_engine_with_the_same_settings(m2n2, folder, tmp_path):
    from backend.settings import load_settings

    m2n2(folder)
    engine = engine_module.load_engine(load_settings().engine_config())
    pixels = cv2.imread(str(folder / "a.png"))[:, :, ::-1]
    assert engine.prepare(np.ascontiguousarray(pixels)) is Level.DISK


def test_a_broken_image_is_named_and_the_others_are_prepared(m2n2, folder):
    (folder / "b.PNG").write_bytes(b"no image")
    result = m2n2(folder)
    assert result.exit_code == 1
    assert f"failed: {folder / 'b.PNG'}: these 8 bytes are no image file" in result.output
    assert "2 new (" in result.output
    assert "1 failed" in result.output


def test_an_image_that_the_engine_cannot_take_is_named(m2n2, folder, monkeypatch):
    prepare = engine_module.Engine.prepare

    def fail_once(self, image):
        monkeypatch.setattr(engine_module.Engine, "prepare", prepare)
        raise OutOfMemory("no memory left")

    monkeypatch.setattr(engine_module.Engine, "prepare", fail_once)
    result = m2n2(folder)
    assert result.exit_code == 1
    assert f"failed: {folder / 'a.png'}: no memory left" in result.output
    assert "2 new (" in result.output


def test_a_stop_tells_what_was_done_and_the_next_run_goes_on(m2n2, folder, monkeypatch):
    prepare = engine_module.Engine.prepare
    left = [1]

    def stop(self, image):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return prepare(self, image)

    monkeypatch.setattr(engine_module.Engine, "prepare", stop)
    stopped = m2n2(folder)
    assert stopped.exit_code == 130
    assert "stopped; run it again to go on" in stopped.output
    assert "1 new (" in stopped.output
    monkeypatch.setattr(engine_module.Engine, "prepare", prepare)
    assert "2 new (" in m2n2(folder).output


def test_a_disk_that_is_too_small_is_named(m2n2, folder, monkeypatch):
    describe = engine_module.Engine.describe
    facts = {"disk_evictions": 2, "disk_write_failures": 1}
    monkeypatch.setattr(engine_module.Engine, "describe", lambda self: {**describe(self), **facts})
    result = m2n2(folder)
    assert result.exit_code == 1
    assert "1 could not be written: make room there" in result.output
    assert "2 made room for others: raise M2N2_DISK_CACHE_MIB" in result.output


def test_without_a_disk_cache_it_is_refused(m2n2, folder):
    result = m2n2(folder, M2N2_DISK_CACHE_MIB="0")
    assert result.exit_code == 1
    assert "the disk cache is off" in str(result.exception)
    assert "set M2N2_DISK_CACHE_MIB" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "give a FOLDER or --project"), (["--project", "3"], "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY")],
)
def test_what_is_missing_is_named(m2n2, arguments, message):
    result = m2n2(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_a_project_is_prepared_image_by_image(m2n2, server, make_picture, monkeypatch):
    tasks = [
        {"id": 1, "data": {"image": "/data/upload/5/one.png"}},
        {"id": 2, "data": {"image": "/data/upload/5/two.png"}},
        {"id": 4, "data": {"image": "/data/upload/5/lost.png"}},
        {"id": 5, "data": {"text": "no image"}},
    ]
    monkeypatch.setattr(warm, "fetch_all_tasks", lambda client, project: map(Task.model_validate, tasks))
    server.answer("/api/projects/5/", json.dumps({"label_config": CONFIG}).encode())
    for seed, name in enumerate(["one", "two"]):
        server.answer(f"/data/upload/5/{name}.png", make_picture(seed))
    result = m2n2("--project", "5", "--url", server.url, "--token", "0123abcd")
    assert result.exit_code == 1
    assert "failed: image /data/upload/5/lost.png" in result.output
    assert "3 images in " in result.output
    assert "2 new (" in result.output
    assert {authorization for *_, authorization, _ in server.seen} == {"Token 0123abcd"}


def test_images_are_fetched_ahead_so_many_at_a_time_and_in_order():
    begun = threading.Semaphore(0)
    go = threading.Event()
    drawn = []

    def fetch():
        begun.release()
        assert go.wait(DEADLINE_SECONDS)

    def draw_sources():
        for number in range(9):
            drawn.append(number)
            yield Source(str(number), fetch)

    fetched = fetch_ahead(draw_sources(), threads=3)
    assert next(fetched)[0] == "0"
    for _ in range(3):
        assert begun.acquire(timeout=DEADLINE_SECONDS)
    assert drawn == [0, 1, 2, 3]
    go.set()
    assert [name for name, _ in fetched] == ["1", "2", "3", "4", "5", "6", "7", "8"]
