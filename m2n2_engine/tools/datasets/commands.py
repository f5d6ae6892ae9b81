"""``m2n2 datasets``: the images that segmentation is measured on. Imports what it needs when it runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m2n2_engine.errors import M2N2Error
from m2n2_engine.tools.context import engine_config, messages, output
from m2n2_engine.tools.optional_packages import PYCOCOTOOLS

if TYPE_CHECKING:
    from rich.progress import Progress

    from m2n2_engine.tools.datasets.catalogue import Dataset
    from m2n2_engine.tools.datasets.coco import Counts

app = typer.Typer(help="The data sets of the paper's evaluation, and your own: prepare.", no_args_is_help=True)

_NAME = re.compile(r"\w[\w.-]*")


@app.command()
def prepare(
    context: typer.Context,
    grabcut: Annotated[bool, typer.Option("--grabcut", help="50 images, 11 MB.")] = False,
    berkeley: Annotated[bool, typer.Option("--berkeley", help="100 objects, 7 MB.")] = False,
    sbd: Annotated[bool, typer.Option("--sbd", help="The 2857 images of its validation, 1.4 GB.")] = False,
    davis: Annotated[bool, typer.Option("--davis", help="345 frames of videos, 43 MB.")] = False,
    brats: Annotated[bool, typer.Option("--brats", help="369 slices of brains, 4 MB.")] = False,
    oaizib: Annotated[bool, typer.Option("--oaizib", help="150 slices of knees, unpacked by hand.")] = False,
    name: Annotated[str | None, typer.Option(help="What to call a data set of your own; with --source.")] = None,
    source: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Convert this folder, with images/ and masks/, offline."),
    ] = None,
    coco: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Convert this JSON file of COCO instances, with --images."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder that the file names of --coco start from."),
    ] = None,
    folder: Annotated[Path, typer.Option(file_okay=False, help="Where raw/ and coco/ are kept.")] = Path("datasets"),
) -> None:
    """Download data sets and convert them to COCO's format, coco/NAME in the folder; run again, it goes on."""
    flags = {"grabcut": grabcut, "berkeley": berkeley, "davis": davis, "sbd": sbd, "brats": brats, "oaizib": oaizib}
    chosen = [flag for flag, is_set in flags.items() if is_set]
    PYCOCOTOOLS.require("a data set")
    works: list[_Work]
    if coco is not None or images is not None:
        works = [_import_coco(coco, images, name, bool(chosen) or source is not None, folder)]
    else:
        offline = engine_config(context).weights.offline
        works = [_work(dataset, source, folder, offline) for dataset in _select(chosen, name, source)]
    failures = [work for work in works if not _do(work, folder)]
    if failures:
        raise typer.Exit(1)


@dataclasses.dataclass(frozen=True, slots=True)
class _Work:
    """A data set to make. run: makes it; None where there is nothing to do."""

    name: str
    run: Callable[[Progress], Counts | None]


def _import_coco(coco: Path | None, images: Path | None, name: str | None, has_others: bool, folder: Path) -> _Work:
    from m2n2_engine.tools.datasets.prepare import convert_coco

    if coco is None or images is None:
        raise typer.BadParameter("--coco FILE and --images FOLDER belong together: give both")
    if has_others:
        raise typer.BadParameter("--coco is a data set of your own: leave the published ones and --source away")
    own = _check_name(name or coco.stem)
    return _Work(own, lambda progress: convert_coco(own, coco, images, folder, progress))


def _work(dataset: Dataset, source: Path | None, folder: Path, offline: bool) -> _Work:
    from m2n2_engine.tools.datasets import prepare

    if source is None:
        return _Work(dataset.name, lambda progress: prepare.prepare(dataset, folder, progress, offline=offline))
    return _Work(dataset.name, lambda progress: prepare.convert(dataset, source, folder, progress))


def _select(flags: list[str], name: str | None, source: Path | None) -> list[Dataset]:
    """The data sets that the options ask for; BadParameter where these do not go together."""
    from m2n2_engine.tools.datasets.catalogue import DATASETS, Dataset
    from m2n2_engine.tools.datasets.ground_truth import read_own_objects

    options = ", ".join(f"--{flag}" for flag in DATASETS)
    if source is not None and len(flags) + (name is not None) != 1:
        raise typer.BadParameter(f"--source holds one data set: give one of {options} or --name NAME with it")
    if name is None:
        if not flags:
            raise typer.BadParameter(
                f"say which data sets: {options}, or --name NAME and --source FOLDER, "
                "or --coco FILE and --images FOLDER"
            )
        return [DATASETS[flag] for flag in flags]
    if source is None:
        raise typer.BadParameter("--name NAME is of a data set of your own: give the --source that it is made from")
    return [Dataset(_check_name(name), read_own_objects)]


def _check_name(name: str) -> str:
    """The name of a data set of somebody's own. Raises BadParameter where it cannot be one."""
    from m2n2_engine.tools.datasets.catalogue import DATASETS

    if name.lower() in DATASETS:
        raise typer.BadParameter(f"{name} is a published data set: give --{name.lower()} instead of --name")
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is no name of a folder: use letters, digits, '-', '_' and '.'")
    return name


def _do(work: _Work, folder: Path) -> bool:
    """Say what there is now, or what went wrong: the other data sets can be had all the same."""
    from rich.progress import Progress

    try:
        with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
            counts = work.run(progress)
    except M2N2Error as error:
        messages.print(f"{work.name}: {error}", markup=False, highlight=False)
        return False
    output.print(f"{work.name}: {_describe(counts)}, in {folder / 'coco' / work.name}", highlight=False)
    return True


def _describe(counts: Counts | None) -> str:
    if counts is None:
        return "ready since an earlier run"
    text = f"{counts.images} images, {counts.objects} objects"
    text += f", {counts.bands} with an unknown band" if counts.bands else ""
    return text + (f", {counts.empty} images without an object" if counts.empty else "")
