"""What a plan says: a table, a JSON file and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.tools.plan.sizing import Answer, Question
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Tier

COLUMNS = ["annotators", "replicas", "busy", "clicks/s", "median, s", "p95, s", *Tier]

_INCHES = (13.0, 4.0)
_DOTS_PER_INCH = 120


def render_rows(answers: Sequence[Answer]) -> list[list[str]]:
    """One row for each number of annotators, in the order of COLUMNS."""
    return [
        [
            str(answer.annotators),
            str(answer.replicas),
            f"{answer.busy_share:.0%}",
            f"{len(answer.outcome.clicks) / answer.outcome.wall_seconds:.1f}",
            f"{answer.percentile(50):.3f}",
            f"{answer.percentile(95):.3f}",
            *(f"{answer.outcome.share(tier):.1%}" for tier in Tier),
        ]
        for answer in answers
    ]


def to_json(question: Question, answers: Sequence[Answer]) -> dict[str, Any]:
    """The question with its sources, and the answers; seconds, bytes and shares of 1."""
    workload = question.workload
    return {
        "machine": question.times.machine,
        "sources": {part: duration.source for part, duration in question.times.seconds.items()},
        "workload": {
            "images": workload.images,
            "rounds": workload.rounds,
            "clicks": workload.clicks,
            "think_seconds": workload.think_seconds,
        },
        "session_bytes": question.budgets.session_bytes,
        "host_bytes": question.budgets.host_bytes,
        "disk_bytes": question.budgets.disk_bytes,
        "disk_shared": question.is_disk_shared,
        "images_kept": question.budgets.images,
        "p95_seconds_allowed": question.p95_seconds,
        "seed": question.seed,
        "answers": [_to_json(answer) for answer in answers],
    }


def _to_json(answer: Answer) -> dict[str, Any]:
    return {
        "annotators": answer.annotators,
        "replicas": answer.replicas,
        "busy_share": answer.busy_share,
        "clicks": len(answer.outcome.clicks),
        "clicks_per_second": len(answer.outcome.clicks) / answer.outcome.wall_seconds,
        "seconds": {"median": answer.percentile(50), "p95": answer.percentile(95), "p99": answer.percentile(99)},
        "found": {tier: answer.outcome.share(tier) for tier in Tier},
    }


def draw_plot(figures: dict[str, Any], path: Path) -> None:
    """Write a PNG of what `to_json` gives: replicas, waiting and tiers over the number of annotators.

    Raises ConfigurationError where it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    needed, waited, found = figure.subplots(1, 3)
    answers, allowed = figures["answers"], figures["p95_seconds_allowed"]
    annotators = [answer["annotators"] for answer in answers]
    needed.loglog(annotators, [answer["replicas"] for answer in answers], marker="o")
    for answer in answers:
        point = (answer["annotators"], answer["replicas"])
        needed.annotate(str(answer["replicas"]), point, (-5, 6), textcoords="offset points", ha="right")
    needed.margins(0.12)
    needed.set(xlabel="annotators", ylabel=f"replicas for a p95 of {allowed:g} s")
    for name in ("median", "p95", "p99"):
        waited.plot(annotators, [answer["seconds"][name] for answer in answers], marker="o", label=name)
    waited.axhline(allowed, color="grey", linestyle=":", label="p95 allowed")
    waited.set(xlabel="annotators", ylabel="a click takes, s", xscale="log", ylim=(0, None))
    below = [0.0] * len(answers)
    for tier in Tier:
        shares = [100 * answer["found"][tier] for answer in answers]
        found.bar([str(count) for count in annotators], shares, bottom=below, label=tier)
        below = [low + share for low, share in zip(below, shares, strict=True)]
    found.set(xlabel="annotators", ylabel="images found at, %", ylim=(0, 100))
    for axes in (needed, waited):
        axes.grid(alpha=0.3)
    waited.legend(fontsize="small", loc="best")
    found.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(f"{figures['machine']} (simulated)", fontsize="medium")
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
