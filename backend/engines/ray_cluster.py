"""Ray Serve as the `Cluster` of `ray_segmenter`. Imported only where M2N2_ENGINE=ray: the rest needs no Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from backend.engines.ray_segmenter import ReplicaLost
from backend.errors import Busy, NotReady
from backend.process import keep_signal_handlers
from m2n2_engine.errors import M2N2Error
from m2n2_engine.types import NEVER, Deadline, Image

_STATUS_TIMEOUT_SECONDS = 2.0


def connect(address: str, app: str) -> RayCluster:
    """Join the cluster, unless this process has, and find the Serve application of this name.

    Raises NotReady where there is none: it may come.
    """
    keep_signal_handlers()
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, configure_logging=False)
        return RayCluster(serve.get_app_handle(app))
    except ConnectionError:
        raise NotReady(f"no Ray cluster at {address}: start Ray on this machine, or correct M2N2_RAY_ADDRESS") from None
    except RayServeException:
        raise NotReady(f"the Ray cluster serves no application {app}: deploy it, or correct M2N2_RAY_APP") from None


class RayCluster:
    """See `ray_segmenter.Cluster`; safe under threads."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    def put(self, image: Image) -> object:
        """The image in the object store of this machine, from where others fetch it."""
        # In a list, for Ray would fetch a bare reference for every call.
        return [ray.put(image)]

    def ask(self, method: str, digest: str, arguments: Sequence[object], deadline: Deadline) -> Any:
        """See `ray_segmenter.Cluster.ask`."""
        response = self._handle.options(method_name=method, multiplexed_model_id=digest).remote(*arguments)
        try:
            return response.result(timeout_s=None if deadline == NEVER else deadline.remaining_seconds)
        except RayTaskError as error:
            # Ray's own error has the traceback in its message.
            raise (error.cause if isinstance(error.cause, M2N2Error) else error) from None
        except BackPressureError:
            raise Busy("too many clicks wait for a replica: try again, or let the engine have more replicas") from None
        except TimeoutError:
            response.cancel()
            raise Busy("no replica answered in time: the cluster has too much to do") from None
        except (RayActorError, ReplicaUnavailableError):
            raise ReplicaLost("the replica ended before it answered: try again") from None
        except DeploymentUnavailableError:
            raise NotReady("the engine's replicas could not be started: see `serve status`") from None

    def ask_all(self, method: str) -> Mapping[str, Any]:
        """See `ray_segmenter.Cluster.ask_all`."""
        try:
            answers = self._handle.broadcast(method).results(timeout_s=_STATUS_TIMEOUT_SECONDS, return_exceptions=True)
        except (TimeoutError, DeploymentUnavailableError):
            return {}
        return dict(answer for answer in answers if not isinstance(answer, BaseException))
