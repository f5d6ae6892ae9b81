"""One dataset: read, refined, counted, and written down."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from m2n2_engine import __version__
from m2n2_engine.tools.benchmark.files import write_json
from m2n2_engine.tools.benchmark.machine import describe_run
from m2n2_engine.tools.context import working_on
from m2n2_engine.tools.datasets.coco import Instance, read_dataset
from m2n2_engine.tools.evaluate.options import Options
from m2n2_engine.tools.evaluate.pictures.click_sheet import choose_worst, draw_click_sheet
from m2n2_engine.tools.evaluate.pictures.contact_sheet import draw_contact_sheet
from m2n2_engine.tools.evaluate.pictures.plots import draw_plots
from m2n2_engine.tools.evaluate.refinement import FORMAT, Journal, Refinement
from m2n2_engine.tools.evaluate.report import Figures, describe, split_bands, to_json
from m2n2_engine.tools.evaluate.run import refine_all
from m2n2_engine.tools.evaluate.subject import Subject


@dataclasses.dataclass(frozen=True, slots=True)
class PreparedDataset:
    """Objects to refine. digest: changes whenever their ground truth does."""

    name: str
    digest: str
    instances: Sequence[Instance]

    @classmethod
    def read(cls, folder: Path, limit: int | None) -> Self:
        """A prepared dataset. folder: holds ``gt.json``. limit: objects, from the first; None takes all. Raises
        DatasetError."""
        instances = read_dataset(folder)[:limit]
        return cls(folder.resolve().name, hashlib.sha256((folder / "gt.json").read_bytes()).hexdigest(), instances)


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """How datasets are gone through. jobs: images in flight. out: folder of the results. restart: make again what was
    made before with the same settings. pictures: draw them, which needs matplotlib. worst: objects that are drawn click
    by click; 0 draws none."""

    options: Options
    jobs: int
    out: Path
    restart: bool
    pictures: bool
    worst: int


def evaluate_dataset(dataset: PreparedDataset, subject: Subject, job: Job) -> Figures:
    """Refine the objects and write ``<out>/<name>_metrics.json`` and the pictures; what an interrupted run left in
    ``<name>_metrics.jsonl`` is not made again.

    Raises InvalidImage, ConfigurationError, or what the subject raises.
    """
    name = dataset.name
    settings = {
        "version": __version__,
        "ground_truth": dataset.digest,
        "format": FORMAT,
        **job.options.settings(),
        **subject.settings,
    }
    journal = Journal(job.out / f"{name}_metrics.jsonl", settings)
    if job.restart:
        journal.forget()
    with working_on(f"evaluating {name}") as progress:
        task = progress.task_ids[0]
        refinements = refine_all(
            dataset.instances,
            subject.segmenter,
            job.options,
            journal,
            job.jobs,
            lambda done, of: progress.update(task, description=f"evaluating {name}, {done} of {of} images"),
        )
    figures = to_json(name, {**describe_run(None), **subject.facts}, settings, job.options, refinements)
    write_json(job.out / f"{name}_metrics.json", figures)
    if job.pictures:
        _draw_pictures(figures, refinements, dataset.instances, job)
    return figures


def _draw_pictures(
    figures: Figures, refinements: Sequence[Refinement], instances: Sequence[Instance], job: Job
) -> None:
    name, out = figures["dataset"], job.out
    bands = split_bands(refinements)
    title = f"{name}, {figures['objects']} objects; {describe(figures)}"
    draw_plots(title, bands, out / f"{name}_plots.png")
    by_name = {instance.name: instance for instance in instances}
    for band, found in bands.items():
        draw_contact_sheet(f"{title}; band {band}", found, by_name, out / f"{name}_cases_{band}.png")
        if job.worst:
            path = out / f"{name}_worst_{band}.png"
            draw_click_sheet(f"{title}; band {band}", choose_worst(found, job.worst), by_name, path)
