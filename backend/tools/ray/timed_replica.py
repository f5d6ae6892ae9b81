"""A replica that keeps what it did, to be compared with a simulated one."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from ray import serve

from backend.engines.ray_replica import EngineReplica
from m2n2_engine.types import Segmentation, Tier

_Arguments = ParamSpec("_Arguments")
_AnswerT = TypeVar("_AnswerT")


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What a replica did for one question. tier: where the image was found. clicks: sent with it; 0: it was only
    prepared. waited, prepared, clicked: seconds in its queue, until the image was resident, and of the click. ended: by
    the clock of the machine."""

    tier: Tier
    clicks: int
    waited: float
    prepared: float
    clicked: float
    ended: float

    @property
    def seconds(self) -> float:
        """From the question's arrival to the answer."""
        return self.waited + self.prepared + self.clicked


class TimedReplica(EngineReplica):
    """Answers as any other, and keeps its work by the digest of the image, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._done: dict[str, list[Work]] = collections.defaultdict(list)

    async def read_work(self) -> tuple[str, Mapping[str, Sequence[Work]]]:
        """The replica's name, and its work."""
        return serve.get_replica_context().replica_id.unique_id, dict(self._done)

    async def _run(
        self, work: Callable[_Arguments, _AnswerT], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _AnswerT:
        arrived = time.perf_counter()
        digest = serve.get_multiplexed_model_id()
        given: tuple[Any, ...] = arguments
        picture, *others = given

        def time_work() -> _AnswerT:
            begun = time.perf_counter()
            tier = self._engine.find_tier(picture)
            answer = work(*arguments, **named)
            seconds = time.perf_counter() - begun
            clicked = answer.timings.clicks_seconds if isinstance(answer, Segmentation) else 0.0
            clicks = len(others[0]) if isinstance(answer, Segmentation) else 0
            waited = begun - arrived
            self._done[digest].append(Work(tier, clicks, waited, seconds - clicked, clicked, time.time()))
            return answer

        return await super()._run(time_work)
