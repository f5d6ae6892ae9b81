"""The engine as a deployment of Ray Serve: ``serve run backend.engines.ray_replica:app``.

A replica owns the device, or the share of processors, that Ray gave it. The digest of an image is the id of a
multiplexed model of Serve's: its clicks are sent to the replica that has it, and each replica keeps a number of images,
the least recently used ones dropped. Their sessions and features are kept by the engine, within its own budgets.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import numpy as np
import ray
from ray import serve

from backend.engines.load import load_warm
from backend.errors import NotReady
from backend.process import calm_idle_threads
from backend.settings import load_settings
from m2n2_engine.types import Box, Click, Deadline, EngineStatus, Image, Mask, Picture, Segmentation, Stroke, Tier

_Arguments = ParamSpec("_Arguments")
_AnswerT = TypeVar("_AnswerT")

_offered: contextvars.ContextVar[ray.ObjectRef] = contextvars.ContextVar("offered")


class EngineReplica:
    """Answers what `ray_segmenter.RaySegmenter` asks; its settings are those of its own environment."""

    def __init__(self) -> None:
        calm_idle_threads()
        settings, processors = load_settings(), _count_processors()
        config = settings.engine_config()
        self._engine = load_warm(dataclasses.replace(config, threads=config.threads or processors))
        # Where there is no device to share, clicks at the same time would take the processors of other replicas.
        places = settings.computing_clicks if ray.get_gpu_ids() else min(settings.computing_clicks, processors)
        self._threads = ThreadPoolExecutor(places)
        self._find_picture = serve.multiplexed(max_num_models_per_replica=settings.ray_images)(_fetch)

    async def segment(
        self,
        offer: list[ray.ObjectRef],
        seconds: float,
        clicks: Sequence[Click | Stroke],
        box: Box | None,
        mask: Mask | None,
    ) -> Segmentation:
        """offer: the image's one reference. seconds: until the deadline. See ``Engine.segment``."""
        deadline = Deadline.after(seconds)
        return await self._run(self._engine.segment, await self._take(offer), clicks, box, mask, deadline)

    async def candidates(
        self,
        offer: list[ray.ObjectRef],
        seconds: float,
        clicks: Sequence[Click | Stroke],
        box: Box | None,
        mask: Mask | None,
    ) -> tuple[Segmentation, ...]:
        """offer: the image's one reference. seconds: until the deadline. See ``Engine.candidates``."""
        deadline = Deadline.after(seconds)
        return await self._run(self._engine.candidates, await self._take(offer), clicks, box, mask, deadline)

    async def prepare(self, offer: list[ray.ObjectRef], seconds: float) -> Tier:
        """offer: the image's one reference. seconds: until the deadline. See ``Engine.prepare``."""
        deadline = Deadline.after(seconds)
        return await self._run(self._engine.prepare, await self._take(offer), deadline)

    async def status(self) -> tuple[str, EngineStatus]:
        """The replica's name and its engine's status."""
        return serve.get_replica_context().replica_id.unique_id, self._engine.status()

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises."""
        require_ready(self._engine.status())

    async def _take(self, offer: list[ray.ObjectRef]) -> Picture:
        """The picture, fetched where it is not kept."""
        _offered.set(offer[0])
        picture: Picture = await self._find_picture(serve.get_multiplexed_model_id())
        return picture

    async def _run(
        self, work: Callable[_Arguments, _AnswerT], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _AnswerT:
        """In a thread, so that the replica goes on answering whether it is healthy."""
        return await asyncio.wrap_future(self._threads.submit(work, *arguments, **named))


async def _fetch(digest: str) -> Picture:
    """The image that the request in hand offers, whose digest is known to be this one. A copy: kept by this process,
    it takes no room in the object store."""
    image: Image = await _offered.get()
    return Picture(np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape), digest)


def require_ready(status: EngineStatus) -> None:
    """Raises NotReady where an engine says that it cannot answer."""
    if not status.is_ready:
        raise NotReady(status.reason or status.state)


def _count_processors() -> int:
    """Those that Ray gave to this replica, at least one."""
    return max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 0)))


engine = serve.deployment(
    EngineReplica,
    name="engine",
    # Past this the clicks on an image go to another replica: they wait long enough to be worth preparing it there.
    max_ongoing_requests=16,
    # Of each backend, beside those that replicas have in hand.
    max_queued_requests=64,
    autoscaling_config={"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 4},
    health_check_period_s=10,
    ray_actor_options={"num_cpus": 1},
)
app = engine.bind()
