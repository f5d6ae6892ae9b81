"""What GET /metrics tells, in Prometheus' own format. Each application has a registry of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from backend.engines.background import EngineSource
from backend.images.cache import PictureCache
from backend.net.token_check import TokenCheck, TokenState
from backend.scheduling.clicks import ClickQueue
from backend.scheduling.preparation import BackgroundPreparation
from m2n2_engine import __version__
from m2n2_engine.types import EngineStatus, Tier, TierStatus

CONTENT_TYPE = CONTENT_TYPE_LATEST

_GAUGES = {
    "replicas": "Replicas of the engine that answer, where it works on a cluster.",
    "images_kept": "Decoded images kept between clicks.",
    "images_bytes": "Bytes that the kept images take.",
    "images_budget_bytes": "Bytes that the kept images may take.",
    "device_memory_used_bytes": "Bytes of the device's memory in use, by any process.",
    "device_memory_bytes": "Bytes of memory that the device has.",
    "queue_places": "Predictions held at the same time at most.",
    "queue_admitted": "Predictions held now, whatever they are doing.",
    "queue_unprepared": "Clicks that wait for the preparation of their image.",
    "queue_preparing": "Images in preparation, for a click or in the background.",
    "queue_waiting": "Clicks that wait for the engine.",
    "queue_computing": "Clicks that the engine works on.",
    "preparation_waiting": "Images that wait to be prepared in the background.",
}
_COUNTERS = {
    "images_hits": "References to images that were kept already, or on their way.",
    "images_misses": "References to images that were fetched, or fetched again to see whether they changed.",
    "images_evictions": "Kept images that made room for others.",
    "disk_write_failures": "Images that could not be written to the disk cache.",
    "queue_refused": "Predictions answered 503: no place, or no turn in time.",
    "queue_obsolete": "Clicks overtaken by a newer one before they were computed.",
    "preparation_failures": "Images, and questions for what comes next, that failed in the background.",
    "preparation_dropped": "Images that newer ones drove out of the background's queue.",
}

_PROPOSAL_COUNTERS = {
    "tasks": "Tasks in which proposals were looked for.",
    "proposed": "Tasks of these in which some were found.",
    "regions": "Regions proposed in these.",
    "failures": "Tasks in which looking for proposals failed.",
    "kept": "Regions of submitted annotations that were proposed and left as they were.",
    "corrected": "Regions of submitted annotations that were proposed and changed.",
}

_CACHE_GAUGES = {
    "images": "Images that a tier of the attention cache holds.",
    "bytes": "Bytes that they take.",
    "budget_bytes": "Bytes that they may take.",
}
_CACHE_COUNTERS = {
    "hits": "Images found in a tier, or being prepared for it.",
    "misses": "Images looked for in a tier in vain.",
    "evictions": "Images that made room for others in a tier.",
}


class Metrics:
    """Asks engine, queues, images and the token for their state when it is read.

    registry: has the counts of requests too. token: None where there is none to check. count_proposals: gives what is
    counted of proposals, by name; None where none are made.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        source: EngineSource,
        queue: ClickQueue,
        pictures: PictureCache,
        preparation: BackgroundPreparation,
        token: TokenCheck | None,
        count_proposals: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        self._registry = registry
        registry.register(_StateCollector(source, queue, pictures, preparation))
        if token is not None:
            registry.register(_TokenCollector(token))
        if count_proposals is not None:
            registry.register(_ProposalCollector(count_proposals))
        ProcessCollector(registry=registry)

    def render(self) -> bytes:
        """Everything that is known, of the media type CONTENT_TYPE."""
        return generate_latest(self._registry)


class _StateCollector(Collector):
    def __init__(
        self, source: EngineSource, queue: ClickQueue, pictures: PictureCache, preparation: BackgroundPreparation
    ) -> None:
        self._source = source
        self._queue = queue
        self._pictures = pictures
        self._preparation = preparation

    def collect(self) -> Iterator[Metric]:
        status, prepared = self._source.status(), self._preparation.statistics
        yield GaugeMetricFamily("m2n2_ready", "1 where /ready answers 200.", int(status.is_ready))
        yield _describe_build(status)
        if status.device is not None:
            text = "1 where a GPU of the machine is not used, or only in part: /ready says why."
            yield GaugeMetricFamily("m2n2_device_warning", text, int(status.device_warning is not None))
        # An engine without a device of its own, or one that is still loading, tells less of itself.
        told = {field.name: getattr(status, field.name) for field in dataclasses.fields(status)}
        told |= {f"queue_{name}": value for name, value in dataclasses.asdict(self._queue.statistics).items()}
        told |= {f"images_{name}": value for name, value in dataclasses.asdict(self._pictures.statistics).items()}
        told |= {f"preparation_{name}": getattr(prepared, name) for name in ("waiting", "failures", "dropped")}
        for family, texts in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, text in texts.items():
                if told[name] is not None:
                    yield family(f"m2n2_{name}", text, float(told[name]))
        found = CounterMetricFamily(
            "m2n2_preparation_found", "Images prepared in the background, by where they were found.", labels=["level"]
        )
        for tier in Tier:
            found.add_metric([tier], prepared.found.get(tier, 0))
        yield found
        yield from _describe_cache(status.tiers)


class _TokenCollector(Collector):
    def __init__(self, token: TokenCheck) -> None:
        self._token = token

    def collect(self) -> Iterator[Metric]:
        state = self._token.status().state
        if state is TokenState.UNKNOWN:
            return
        text = "1 where Label Studio answers."
        yield GaugeMetricFamily("m2n2_label_studio_up", text, int(state is not TokenState.UNREACHABLE))
        if state is not TokenState.UNREACHABLE:
            text = "1 where Label Studio accepts LABEL_STUDIO_API_KEY, 0 where it refuses it."
            yield GaugeMetricFamily("m2n2_label_studio_token_ok", text, int(state is TokenState.ACCEPTED))


class _ProposalCollector(Collector):
    def __init__(self, count: Callable[[], Mapping[str, int]]) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        told = self._count()
        for name, text in _PROPOSAL_COUNTERS.items():
            yield CounterMetricFamily(f"m2n2_proposals_{name}", text, float(told[name]))


def _describe_build(status: EngineStatus) -> Metric:
    """A label that nobody knows, as while the engine loads, is empty."""
    told = {"version": __version__, "backbone": status.backbone, "preset": status.preset, "device": status.device}
    build = GaugeMetricFamily("m2n2_build_info", "1; its labels say what runs.", labels=list(told))
    build.add_metric([value or "" for value in told.values()], 1)
    return build


def _describe_cache(tiers: Mapping[Tier, TierStatus]) -> Iterator[Metric]:
    """A tier is only asked where that above misses."""
    for family, texts in ((GaugeMetricFamily, _CACHE_GAUGES), (CounterMetricFamily, _CACHE_COUNTERS)):
        for name, text in texts.items():
            metric = family(f"m2n2_cache_{name}", text, labels=["level"])
            for tier, status in tiers.items():
                metric.add_metric([tier], float(getattr(status, name)))
            if metric.samples:
                yield metric
