"""The command ``m2n2 evaluate``. Imports what it needs when it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Iterator, Sequence
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
from m2n2_engine.tools.evaluate.options import Band, BoxKind, ClicksAt, Flip, Options, Rule
from m2n2_engine.tools.evaluate.variants import Variant, parse_variants
from m2n2_engine.tools.optional_packages import MATPLOTLIB, PYCOCOTOOLS

if TYPE_CHECKING:
    from m2n2_engine.config import EngineConfig
    from m2n2_engine.tools.evaluate.evaluation import Job, PreparedDataset
    from m2n2_engine.tools.evaluate.subject import Subject

_OF_PROPOSALS = {
    *("grabcut", "berkeley", "sbd", "davis", "brats", "oaizib", "dataset", "folder"),
    *("backbone", "grid", "preset", "constants", "out", "propose"),
}
"""Parameters of the command that proposals heed. They simulate no clicks."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """What the options say of the engine that is evaluated: changes to the configured one, or a server's address.
    features: folder for what its network finds in images."""

    context: typer.Context
    backbone: str | None
    grid: int | None
    preset: str | None
    constants: tuple[Any, ...]
    server: str | None
    features: Path | None

    @property
    def has_own(self) -> bool:
        return any((self.backbone, self.grid, self.preset, self.constants))

    def configure(self) -> EngineConfig:
        return engine_config(self.context, self.backbone, self.grid, self.preset, self.constants)

    def open(self) -> Subject:
        from m2n2_engine.tools.evaluate.subject import Subject

        settings: ToolSettings = self.context.obj
        with working_on("loading the network"):
            if self.server is not None:
                return Subject.connect(self.server, settings.connect)
            return Subject.load(self.configure(), self.features)

    def open_variant(self, variant: Variant) -> Subject:
        return dataclasses.replace(self, preset=variant.preset, constants=variant.changes).open()


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
    clicks: Annotated[int, typer.Option(min=1, help="Clicks of each object, where no box comes first.")] = 20,
    rule: Annotated[Rule, typer.Option(help="What the next click corrects.")] = Rule.M2N2,
    clicks_at: Annotated[ClicksAt, typer.Option(help="Where in it the click falls.")] = ClicksAt.CENTRE,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the draws of inner-seeded; 0 without it.")] = None,
    box: Annotated[BoxKind | None, typer.Option(help="Draw a box around the object first.")] = None,
    box_clicks: Annotated[int, typer.Option(min=0, help="Clicks after the box, which is given with each.")] = 0,
    jitter: Annotated[bool, typer.Option("--jitter", help="Also move the first click or the box by 2 pixels.")] = False,
    band: Annotated[
        list[Band] | None, typer.Option(help="What the unknown band is; may be repeated; without it both.")
    ] = None,
    flips: Annotated[bool, typer.Option("--flips", help="Mean over the four flips of image and truth.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many objects, from the first.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Images in flight; the figures are the same for any number.")] = 2,
    compare: Annotated[
        list[str] | None,
        typer.Option(metavar="'PRESET NAME=VALUE ...'", help="A variant, in a table with the others; to be repeated."),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep there what the network finds in an image.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Objects that are drawn click by click.")] = 12,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for figures and pictures.")] = Path("out"),
    restart: Annotated[bool, typer.Option("--restart", help="Make again what was made before.")] = False,
    propose: Annotated[
        bool, typer.Option("--propose", help="Propose the objects of each category by those of its first images.")
    ] = False,
) -> None:
    """Simulate annotators on a dataset: number of clicks (NoC), mean IoU of each click; run again, it goes on."""
    named = {"grabcut": grabcut, "berkeley": berkeley, "sbd": sbd, "davis": davis, "brats": brats, "oaizib": oaizib}
    folders = [*_find_folders([name for name, wanted in named.items() if wanted], folder), *(dataset or ())]
    source = _Source(context, backbone, grid, preset, tuple(constants or ()), server, features)
    if propose:
        _propose(folders, source, out)
        return
    variants = _parse_variants(compare or ())
    _check(folders, source, is_comparison=bool(variants))
    if box is None and box_clicks:
        raise typer.BadParameter("--box-clicks are those after a box: name --box too, or use --clicks")
    options = Options(
        rule,
        bands=tuple(dict.fromkeys(band or Band)),
        flips=tuple(Flip) if flips else (Flip.NONE,),
        clicks=clicks if box is None else box_clicks,
        clicks_at=clicks_at,
        seed=_choose_seed(clicks_at, seed),
        box=box,
        jitter=jitter,
    )
    PYCOCOTOOLS.require("a data set")
    from m2n2_engine.tools.evaluate.evaluation import Job, PreparedDataset

    datasets = [PreparedDataset.read(each, limit) for each in folders]
    job = Job(options, jobs, out, restart, pictures=_can_draw(), worst=worst)
    try:
        if variants:
            _compare(source, variants, datasets, job)
        else:
            _evaluate(source, datasets, job)
    except KeyboardInterrupt:
        output.print("stopped; run it again to go on", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    output.print(f"figures of every object{' and pictures' if job.pictures else ''}: {out}", highlight=False)


def _propose(folders: Sequence[Path], source: _Source, out: Path) -> None:
    if not folders:
        raise typer.BadParameter("--propose takes --dataset FOLDER with a gt.json of COCO's form")
    if unused := _find_unused(source.context):
        raise typer.BadParameter(f"--propose has no use for {', '.join(unused)}: leave that out")
    from m2n2_engine.tools.datasets.labelled import read_labelled
    from m2n2_engine.tools.evaluate.proposing.report import print_study, write_study
    from m2n2_engine.tools.evaluate.proposing.study import LEAST_STUDIED, Study

    read = {folder: read_labelled(folder / "gt.json") for folder in folders}
    with working_on("loading the network"):
        settings: ToolSettings = source.context.obj
        engine = settings.load(source.configure())
    find = functools.partial(engine.propose, least_score=LEAST_STUDIED)
    for folder, images in read.items():
        outcomes = list(Study(find, engine.describe).run(images))
        print_study(folder.name, outcomes, output)
        write_study(out / f"{folder.name}-proposals.json", outcomes)


def _find_unused(context: typer.Context) -> list[str]:
    """The options on the command line that proposals would ignore."""
    # By its name: typer may carry a click of its own.
    given = {
        each.opts[0]: each.name
        for each in context.command.params
        if (source := context.get_parameter_source(each.name or "")) is not None and source.name == "COMMANDLINE"
    }
    return [option for option, name in given.items() if name not in _OF_PROPOSALS]


def _find_folders(names: Sequence[str], folder: Path) -> list[Path]:
    from m2n2_engine.tools.datasets.catalogue import DATASETS

    return [folder / "coco" / DATASETS[name].name for name in names]


def _check(folders: Sequence[Path], source: _Source, is_comparison: bool) -> None:
    if not folders:
        raise typer.BadParameter("name a dataset: --grabcut, ..., or --dataset FOLDER")
    if len({folder.resolve().name for folder in folders}) < len(folders):
        raise typer.BadParameter("two datasets have the same name, and so would their results: evaluate them apart")
    if source.server is not None and source.has_own:
        raise typer.BadParameter("a server has an engine of its own: leave --backbone, --grid, --preset and --set out")
    if source.server is not None and (is_comparison or source.features is not None):
        raise typer.BadParameter("a server has one preset and features of its own: leave --compare and --features out")
    if is_comparison and (source.preset is not None or source.constants):
        raise typer.BadParameter("--compare names presets and changes itself: leave --preset and --set out")


def _choose_seed(clicks_at: ClicksAt, seed: int | None) -> int | None:
    if clicks_at is ClicksAt.INNER_SEEDED:
        return seed or 0
    if seed is not None:
        raise typer.BadParameter("--seed is of --clicks-at inner-seeded: name both, or none")
    return None


def _parse_variants(texts: Sequence[str]) -> list[Variant]:
    try:
        return parse_variants(texts)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from None


def _evaluate(source: _Source, datasets: Sequence[PreparedDataset], job: Job) -> None:
    from m2n2_engine.tools.evaluate.evaluation import evaluate_dataset
    from m2n2_engine.tools.evaluate.tables import print_tables

    subject = source.open()
    print_tables([evaluate_dataset(each, subject, job) for each in datasets], output)


def _compare(source: _Source, variants: Sequence[Variant], datasets: Sequence[PreparedDataset], job: Job) -> None:
    from m2n2_engine.tools.evaluate.compare import compare_variants
    from m2n2_engine.tools.evaluate.tables import print_comparison

    with _keep_features(source) as kept:
        print_comparison(compare_variants(variants, kept.open_variant, datasets, job), output)


@contextlib.contextmanager
def _keep_features(source: _Source) -> Iterator[_Source]:
    """The source with a folder for features: that of the user, else one that is deleted afterwards."""
    if source.features is not None:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="m2n2-features-") as folder:
        yield dataclasses.replace(source, features=Path(folder))


def _can_draw() -> bool:
    try:
        MATPLOTLIB.require("a plot")
    except ConfigurationError as error:
        messages.print(f"no pictures: {error}", markup=False, highlight=False)
        return False
    return True
