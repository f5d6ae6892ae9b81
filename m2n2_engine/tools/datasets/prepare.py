"""From a release file, or from what is on disk, to ``<folder>/coco/<Name>``. What is finished is not done again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from rich.progress import Progress

from m2n2_engine.errors import DatasetError
from m2n2_engine.tools.datasets.archives import check, check_recorded, record, unpack
from m2n2_engine.tools.datasets.catalogue import Dataset
from m2n2_engine.tools.datasets.coco import Counts, is_dataset, write_dataset
from m2n2_engine.tools.datasets.download import download
from m2n2_engine.tools.datasets.ground_truth import GroundTruth
from m2n2_engine.tools.datasets.layouts import LabelledImage, find_labelled_images


def prepare(dataset: Dataset, folder: Path, progress: Progress, *, offline: bool) -> Counts | None:
    """Download, unpack and convert a data set, as far as that is still to do; None where nothing is.

    folder: gets ``raw/`` and ``coco/``. offline: never open a connection. Raises DatasetError or InvalidImage.
    """
    target = _target(dataset, folder)
    with _alone_in(folder):
        if is_dataset(target):
            return None
        raw = folder / "raw" / dataset.name
        if not raw.is_dir():
            archive = _obtain(dataset, raw, progress, offline)
            unpack(archive, raw, progress)
            # Not before: one that breaks off would be held to be the right one.
            record(archive)
        return _convert(dataset, raw, target, progress)


def convert(dataset: Dataset, source: Path, folder: Path, progress: Progress) -> Counts:
    """Convert a data set from a folder on disk, also where it was prepared before. Opens no connection.

    source: holds a known layout. folder: gets ``coco/``. Raises DatasetError or InvalidImage.
    """
    target = _target(dataset, folder)
    if source.resolve().is_relative_to(target.resolve()):
        raise DatasetError(f"{source} lies where the converted data set goes, {target}: move it elsewhere")
    with _alone_in(folder):
        return _convert(dataset, source, target, progress)


def convert_coco(name: str, annotations: Path, images: Path, folder: Path, progress: Progress) -> Counts:
    """Convert COCO's JSON of instances and the folder of its images, also where it was prepared before.

    folder: gets ``coco/``. Raises DatasetError or InvalidImage.
    """
    # Imported here: only this needs pycocotools' reader of polygons.
    from m2n2_engine.tools.datasets.coco_import import read_coco

    target = _target(Dataset(name), folder)
    for given in (annotations, images):
        if given.resolve().is_relative_to(target.resolve()):
            raise DatasetError(f"{given} lies where the converted data set goes, {target}: give it another --name")
    with _alone_in(folder):
        return write_dataset(target, read_coco(annotations, images, progress))


def _target(dataset: Dataset, folder: Path) -> Path:
    return folder / "coco" / dataset.name


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two runs would write the same files; and what the file system refuses is one clear error."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise DatasetError(f"another run is preparing data sets in {folder}: wait for its end") from None
    except OSError as error:
        reason = error.strerror or error
        raise DatasetError(
            f"{error.filename or folder} cannot be used ({reason}): make it usable, or give another --folder"
        ) from None


def _obtain(dataset: Dataset, raw: Path, progress: Progress, offline: bool) -> Path:
    """The archive of a data set, downloaded where it is not there yet, and checked."""
    archive = dataset.archive
    if archive is None:
        raise DatasetError(f"it is unpacked by hand: fetch {dataset.by_hand}, unpack it into {raw} and run this again")
    path = raw.with_name(archive.file_name)
    if not path.is_file():
        if offline:
            raise DatasetError(
                f"offline mode forbids downloading {archive.url}: unset M2N2_OFFLINE, put the file at {path}, "
                "or give --source"
            )
        download(archive.url, path, progress)
    if archive.checksum is not None:
        check(path, archive.checksum)
    check_recorded(path)
    return path


def _convert(dataset: Dataset, source: Path, target: Path, progress: Progress) -> Counts:
    found = find_labelled_images(source, dataset.split)

    def read(labelled: LabelledImage) -> tuple[Path, Sequence[GroundTruth]]:
        return labelled.image, dataset.read_objects(labelled.truth)

    return write_dataset(target, map(read, progress.track(found, description=f"converting {dataset.name}")))
