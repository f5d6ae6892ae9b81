"""``m2n2 warm``: a folder and a project, twice, with an image that fails and a stop in the middle."""

from __future__ import annotations

import dataclasses
import json
import threading

import cv2
import numpy as np
import pytest
import requests
from typer.testing import CliRunner

from backend.cli.main import app, make_tool_settings
from backend.cli.warm import Source, fetch_ahead
from backend.settings import load_settings
from m2n2_engine.engine import load_engine
from m2n2_engine.errors import OutOfMemory
from m2n2_engine.types import Tier

CONFIG = '<View><Image name="image" value="$image"/></View>'
DEADLINE_SECONDS = 10


@pytest.fixture
def m2n2(monkeypatch, tmp_path):
    """Runs the command line with the tiny backbone and a disk cache of its own. adapt: engine -> another instead."""

    def run(*arguments, adapt=None, **environ):
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
        tools = make_tool_settings(load_settings())
        if adapt is not None:
            tools = dataclasses.replace(tools, load=lambda config: adapt(load_engine(config)))
        return CliRunner().invoke(app, ["warm", *map(str, arguments)], obj=tools)

    return run


class Adapted:
    """An engine but for what a subclass does in another way."""

    def __init__(self, engine):
        self._engine = engine

    def __getattr__(self, name):
        return getattr(self._engine, name)


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
    m2n2(folder)
    engine = load_engine(load_settings().engine_config())
    pixels = cv2.imread(str(folder / "a.png"))[:, :, ::-1]
    assert engine.prepare(np.ascontiguousarray(pixels)) is Tier.DISK


def test_a_broken_image_is_named_and_the_others_are_prepared(m2n2, folder):
    (folder / "b.PNG").write_bytes(b"no image")
    result = m2n2(folder)
    assert result.exit_code == 1
    assert f"failed: {folder / 'b.PNG'}: these 8 bytes are no image file" in result.output
    assert "2 new (" in result.output
    assert "1 failed" in result.output


def test_an_image_that_the_engine_cannot_take_is_named(m2n2, folder):
    class Full(Adapted):
        failed = False

        def prepare(self, image):
            if self.failed:
                return self._engine.prepare(image)
            self.failed = True
            raise OutOfMemory("no memory left")

    result = m2n2(folder, adapt=Full)
    assert result.exit_code == 1
    assert f"failed: {folder / 'a.png'}: no memory left" in result.output
    assert "2 new (" in result.output


def test_a_stop_tells_what_was_done_and_the_next_run_goes_on(m2n2, folder):
    class Stopped(Adapted):
        prepared = 0

        def prepare(self, image):
            if self.prepared:
                raise KeyboardInterrupt
            self.prepared += 1
            return self._engine.prepare(image)

    stopped = m2n2(folder, adapt=Stopped)
    assert stopped.exit_code == 130
    assert "stopped; run it again to go on" in stopped.output
    assert "1 new (" in stopped.output
    assert "2 new (" in m2n2(folder).output


def test_a_disk_that_is_too_small_is_named(m2n2, folder):
    class Small(Adapted):
        def status(self):
            status = self._engine.status()
            disk = dataclasses.replace(status.tiers[Tier.DISK], evictions=2)
            return dataclasses.replace(status, tiers={**status.tiers, Tier.DISK: disk}, disk_write_failures=1)

    result = m2n2(folder, adapt=Small)
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


def list_tasks(server, tasks, after):
    """Have the server list these tasks of project 5 behind that one."""
    filters = [{"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}]
    query = {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}
    params = {
        "project": 5,
        "page_size": 100,
        "query": json.dumps(query),
        "resolve_uri": "false",
        "review": "true",
    }
    path = requests.Request("GET", f"{server.url}/api/tasks", params=params).prepare().path_url
    server.answer(path, json.dumps({"tasks": tasks, "total": len(tasks)}).encode())


def test_a_project_is_prepared_image_by_image(m2n2, server, make_picture):
    tasks = [
        {"id": 1, "data": {"image": "/data/upload/5/one.png"}},
        {"id": 2, "data": {"image": "/data/upload/5/two.png"}},
        {"id": 4, "data": {"image": "/data/upload/5/lost.png"}},
        {"id": 5, "data": {"text": "no image"}},
        *({"id": number, "data": {"image": {"url": "/data/upload/5/one.png"}}} for number in range(6, 12)),
    ]
    list_tasks(server, tasks, after=0)
    list_tasks(server, [], after=11)
    server.answer("/api/projects/5/", json.dumps({"label_config": CONFIG}).encode())
    for seed, name in enumerate(["one", "two"]):
        server.answer(f"/data/upload/5/{name}.png", make_picture(seed))
    result = m2n2("--project", "5", "--url", server.url, "--token", "0123abcd")
    assert result.exit_code == 1
    assert "failed: image /data/upload/5/lost.png" in result.output
    assert "3 images in " in result.output
    said = " ".join(result.output.split())
    assert "task 5: the task's data has no image under '$image', the value of Image 'image': the fields" in said
    assert "task 9: the task's data has no image under '$image', the value of Image 'image': there is an obj" in said
    assert "task 10" not in said
    assert "7 tasks in all show no image" in said
    assert "2 new (" in result.output
    assert {authorization for *_, authorization, _ in server.seen} == {"Token 0123abcd"}


def test_the_images_of_a_project_are_found_where_the_page_finds_them(m2n2, server, make_picture):
    tasks = [
        {"id": 1, "data": {"pages": [{"url": " /data/upload/5/0.png "}, {"url": "/data/upload/5/1.png"}]}},
        {"id": 2, "data": {"pages": []}},
    ]
    list_tasks(server, tasks, after=0)
    list_tasks(server, [], after=2)
    config = (
        '<View><Repeater on="$pages"><image name="p_{{idx}}" value="$pages[{{idx}}].url"/></Repeater>'
        '<Image name="first" value="$pages[0].url"/></View>'
    )
    server.answer("/api/projects/5/", json.dumps({"label_config": config}).encode())
    for seed in range(2):
        server.answer(f"/data/upload/5/{seed}.png", make_picture(seed))
    result = m2n2("--project", "5", "--url", server.url, "--token", "0123abcd")
    assert result.exit_code == 0, result.output
    assert "2 new (" in result.output
    assert "task 2: the task's data has no image under '$pages[0].url'" in " ".join(result.output.split())


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
