"""Variants, evaluated one after the other on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from m2n2_engine.tools.benchmark.files import write_json
from m2n2_engine.tools.evaluate.evaluation import Job, PreparedDataset, evaluate_dataset
from m2n2_engine.tools.evaluate.report import Figures
from m2n2_engine.tools.evaluate.subject import Subject
from m2n2_engine.tools.evaluate.variants import Variant


def compare_variants(
    variants: Sequence[Variant],
    open_subject: Callable[[Variant], Subject],
    datasets: Sequence[PreparedDataset],
    job: Job,
) -> dict[str, list[Figures]]:
    """Evaluate each variant on each dataset, with its results in a folder of ``job.out`` of its own, and write
    ``<out>/comparison.json``.

    Returns:
        Name of the variant -> a report for each dataset.

    Raises:
        As ``evaluate_dataset``.
    """
    found = {
        variant.name: _evaluate_variant(open_subject(variant), datasets, _place_results(job, variant))
        for variant in variants
    }
    # Those of single objects are in the variants' folders.
    rows: list[dict[str, Any]] = [
        {"variant": name, **{key: value for key, value in report.items() if key != "refinements"}}
        for name, reports in found.items()
        for report in reports
    ]
    write_json(job.out / "comparison.json", {"variants": rows})
    return found


def _place_results(job: Job, variant: Variant) -> Job:
    return dataclasses.replace(job, out=job.out / variant.folder_name)


def _evaluate_variant(subject: Subject, datasets: Sequence[PreparedDataset], job: Job) -> list[Figures]:
    return [evaluate_dataset(each, subject, job) for each in datasets]
