"""The command ``m2n2 evaluate``. Imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.tools.context import (
    INTERRUPTED,
    ConstantsOption,
    PresetOption,
    ToolSettings,
    engine_config,
    messages,
    output,
    working_on,
)
from m2n2_engine.tools.evaluate.options import Band, Flip, Options, Rule
from m2n2_engine.tools.optional_packages import MATPLOTLIB, PYCOCOTOOLS

if TYPE_CHECKING:
    from m2n2_engine.tools.evaluate.subject import Subject


def evaluate(
    context: typer.Context,
    grabcut: Annotated[bool, typer.Option("--grabcut", help="GrabCut, as `datasets prepare` left it.")] = False,
    berkeley: Annotated[bool, typer.Option("--berkeley", help="The same of Berkeley.")] = False,
    sbd: Annotated[bool, typer.Option("--sbd", help="The same of SBD.")] = False,
    davis: Annotated[bool, typer.Option("--davis", help="The same of DAVIS.")] = False,
    brats: Annotated[bool, typer.Option("--brats", help="The same of BraTS.")] = False,
    oaizib: Annotated[bool, typer.Option("--oaizib", help="The same of OAI-ZIB.")] = False,
    dataset: Annotated[
        list[Path] | None, typer.Option(file_okay=False, help="Folder of any prepared dataset; may be repeated.")
    ] = None,
    folder: Annotated[Path, typer.Option(file_okay=False, help="Where the named ones are kept.")] = Path("datasets"),
    backbone: Annotated[str | None, typer.Option(help="Network to use instead of the configured one.")] = None,
    grid: Annotated[int | None, typer.Option(min=2, help="Cells along each side of the attention grid.")] = None,
    preset: PresetOption = None,
    constants: ConstantsOption = None,
    server: Annotated[str | None, typer.Option(metavar="URL", help="Click at a server that runs instead.")] = None,
    clicks: Annotated[int, typer.Option(min=1, help="Clicks of each object.")] = 20,
    rule: Annotated[Rule, typer.Option(help="Where the next click goes.")] = Rule.M2N2,
    band: Annotated[
        list[Band] | None, typer.Option(help="What the unknown band is; may be repeated; without it both.")
    ] = None,
    flips: Annotated[bool, typer.Option("--flips", help="Mean over the four flips of image and truth.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many objects, from the first.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Images in flight; the figures are the same for any number.")] = 2,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for figures and pictures.")] = Path("out"),
    restart: Annotated[bool, typer.Option("--restart", help="Make again what was made before.")] = False,
) -> None:
    """Simulate annotators on a dataset: number of clicks (NoC), mean IoU of each click; run again, it goes on."""
    named = {"grabcut": grabcut, "berkeley": berkeley, "sbd": sbd, "davis": davis, "brats": brats, "oaizib": oaizib}
    folders = [*_find_folders([name for name, wanted in named.items() if wanted], folder), *(dataset or ())]
    own = (backbone, grid, preset, constants)
    _check(folders, server, own)
    PYCOCOTOOLS.require("a data set")
    from m2n2_engine.tools.evaluate.evaluation import Job, PreparedDataset, evaluate_dataset
    from m2n2_engine.tools.evaluate.report import print_table

    datasets = [PreparedDataset.read(each, limit) for each in folders]
    bands = tuple(dict.fromkeys(band or Band))
    options = Options(rule, bands, tuple(Flip) if flips else (Flip.NONE,), clicks)
    job = Job(options, jobs, out, restart, pictures=_can_draw())
    subject = _open_subject(context, server, own)
    try:
        reports = [evaluate_dataset(each, subject, job) for each in datasets]
    except KeyboardInterrupt:
        output.print("stopped; run it again to go on", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    print_table(reports, output)
    output.print(f"figures of every object{' and pictures' if job.pictures else ''}: {out}", highlight=False)


def _find_folders(names: Sequence[str], folder: Path) -> list[Path]:
    from m2n2_engine.tools.datasets.catalogue import DATASETS

    return [folder / "coco" / DATASETS[name].name for name in names]


def _check(folders: Sequence[Path], server: str | None, own: Sequence[object]) -> None:
    if not folders:
        raise typer.BadParameter("name a dataset: --grabcut, ..., or --dataset FOLDER")
    if len({folder.resolve().name for folder in folders}) < len(folders):
        raise typer.BadParameter("two datasets have the same name, and so would their results: evaluate them apart")
    if server is not None and any(own):
        raise typer.BadParameter("a server has an engine of its own: leave --backbone, --grid, --preset and --set out")


def _open_subject(context: typer.Context, server: str | None, own: tuple[Any, ...]) -> Subject:
    from m2n2_engine.tools.evaluate.subject import Subject

    settings: ToolSettings = context.obj
    with working_on("loading the network"):
        if server is not None:
            return Subject.connect(server, settings.connect)
        return Subject.load(engine_config(context, *own))


def _can_draw() -> bool:
    try:
        MATPLOTLIB.require("a plot")
    except ConfigurationError as error:
        messages.print(f"no pictures: {error}", markup=False, highlight=False)
        return False
    return True
