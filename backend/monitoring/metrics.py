"""What GET /metrics tells, in Prometheus' own format. Each application has a registry of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from backend.engines.readiness import read_readiness
from backend.http import request_log, timings
from backend.images.fetcher import ImageFetcher
from backend.scheduling.preparation import BackgroundPreparation
from backend.scheduling.queue import ClickQueue
from m2n2_engine.types import Level, Segmenter

CONTENT_TYPE = CONTENT_TYPE_LATEST

# From a click on a resident image to a first click on a slow machine.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)

_GAUGES = {
    "replicas": "Replicas of the engine that answer, where it works on a cluster.",
    "images_kept": "Decoded images kept between clicks.",
    "images_bytes": "Bytes that the kept images take.",
    "images_budget_bytes": "Bytes that the kept images may take.",
    "device_memory_used_bytes": "Bytes of the device's memory in use, by any process.",
    "device_memory_bytes": "Bytes of memory that the device has.",
    "queue_places": "Predictions held at the same time at most.",
    "queue_admitted": "Predictions held now, whatever they are doing.",
    "queue_unprepared": "Clicks in line for the preparation of their image.",
    "queue_preparing": "Images in preparation, for a click or in the background.",
    "queue_waiting": "Clicks in line for the engine.",
    "queue_computing": "Clicks that the engine works on.",
    "preparation_waiting": "Images in line to be prepared in the background.",
}
_COUNTERS = {
    "images_hits": "References to images that were kept already, or on their way.",
    "images_misses": "References to images that were fetched, or fetched again to see whether they changed.",
    "images_evictions": "Kept images that made room for others.",
    "disk_write_failures": "Images that could not be written to the disk cache.",
    "queue_refused": "Predictions answered 503: no place, or no turn in time.",
    "queue_obsolete": "Clicks overtaken by a newer one before they were computed.",
    "preparation_failures": "Images, and questions for what comes next, that failed in the background.",
    "preparation_dropped": "Images that newer ones drove out of the background's line.",
}

_CACHE_LEVELS = {"session": "device", "host": "host", "disk": "disk"}
"""Prefix of the segmenter's facts -> level of the attention cache; a level is only asked where that above misses."""

_CACHE_GAUGES = {
    "replicas": "Replicas of the engine that answer, where it works on a cluster.",
    "images": "Images that a level of the attention cache holds.",
    "bytes": "Bytes that they take.",
    "budget_bytes": "Bytes that they may take.",
}
_CACHE_COUNTERS = {
    "hits": "Images found at a level, or being prepared for it.",
    "misses": "Images looked for at a level in vain.",
    "evictions": "Images that made room for others at a level.",
}


class Metrics:
    """Counts the requests of one application, and asks segmenter, lines and images for their state when it is read."""

    def __init__(
        self, segmenter: Segmenter, queue: ClickQueue, images: ImageFetcher, preparation: BackgroundPreparation
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_StateCollector(segmenter, queue, images, preparation))
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "m2n2_requests", "Requests by path and status.", ["path", "status"], registry=self._registry
        )
        self._errors = Counter("m2n2_errors", "Errors by kind.", ["kind"], registry=self._registry)
        self._request_seconds = Histogram(
            "m2n2_request_seconds", "Time of a request.", ["path"], buckets=_SECONDS, registry=self._registry
        )
        self._stage_seconds = Histogram(
            "m2n2_stage_seconds",
            "Time of a prediction by stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )

    def register(self, app: Flask) -> None:
        """Count each request of the app once it is answered."""
        app.after_request(self._count)

    def render(self) -> bytes:
        """Everything that is known, of the media type CONTENT_TYPE."""
        return generate_latest(self._registry)

    def _count(self, response: Response) -> Response:
        # The rule and not the path: whoever tries paths must not fill the memory with their names.
        path = request.url_rule.rule if request.url_rule else "none"
        self._requests.labels(path, str(response.status_code)).inc()
        self._request_seconds.labels(path).observe(request_log.elapsed_seconds())
        for stage, seconds in timings.recorded().items():
            self._stage_seconds.labels(stage).observe(seconds)
        if "error_kind" in g:
            self._errors.labels(g.error_kind).inc()
        return response


class _StateCollector(Collector):
    def __init__(
        self, segmenter: Segmenter, queue: ClickQueue, images: ImageFetcher, preparation: BackgroundPreparation
    ) -> None:
        self._segmenter = segmenter
        self._queue = queue
        self._images = images
        self._preparation = preparation

    def collect(self) -> Iterator[Metric]:
        facts = self._segmenter.describe()
        yield GaugeMetricFamily("m2n2_ready", "1 where /ready answers 200.", int(read_readiness(facts).is_ready))
        queue = {f"queue_{name}": value for name, value in dataclasses.asdict(self._queue.statistics).items()}
        images = {f"images_{name}": value for name, value in dataclasses.asdict(self._images.cache_statistics).items()}
        prepared = self._preparation.statistics
        preparation = {f"preparation_{name}": getattr(prepared, name) for name in ("waiting", "failures", "dropped")}
        for name, value in {**facts, **queue, **images, **preparation}.items():
            # A segmenter without a device of its own, or one that is still loading, has fewer facts.
            if name in _GAUGES and value is not None:
                yield GaugeMetricFamily(f"m2n2_{name}", _GAUGES[name], float(value))
            elif name in _COUNTERS and value is not None:
                yield CounterMetricFamily(f"m2n2_{name}", _COUNTERS[name], float(value))
        found = CounterMetricFamily(
            "m2n2_preparation_found", "Images prepared in the background, by where they were found.", labels=["level"]
        )
        for level in Level:
            found.add_metric([level], prepared.found.get(level, 0))
        yield found
        yield from _describe_cache(facts)


def _describe_cache(facts: Mapping[str, str | int | float | bool | None]) -> Iterator[Metric]:
    families: list[tuple[type[GaugeMetricFamily] | type[CounterMetricFamily], dict[str, str]]] = [
        (GaugeMetricFamily, _CACHE_GAUGES),
        (CounterMetricFamily, _CACHE_COUNTERS),
    ]
    for family, texts in families:
        for name, text in texts.items():
            metric = family(f"m2n2_cache_{name}", text, labels=["level"])
            for prefix, level in _CACHE_LEVELS.items():
                value = facts.get(f"{prefix}_{name}")
                if value is not None:
                    metric.add_metric([level], float(value))
            yield metric
