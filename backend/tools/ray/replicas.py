"""A Ray cluster of this machine alone, and replicas of the engine on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import ray
from ray import serve

from backend.engines.ray_replica import engine
from m2n2_engine.config import MEBIBYTE

APP_NAME = "m2n2"

# Ray puts the address that others reach this machine by in place of 127.0.0.1.
_LOOPBACK = "127.0.0.2"
_OBJECT_STORE_BYTES = 512 * MEBIBYTE


@contextlib.contextmanager
def start_cluster(processors: int) -> Iterator[str]:
    """Yields the address of a cluster that shares out so many processors, on loopback; ended with the block."""
    context = ray.init(
        "local",  # also where this machine has joined another cluster
        num_cpus=processors,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address=_LOOPBACK,
    )
    try:
        # Replicas are asked through handles: nobody needs Serve's own HTTP.
        serve.start(proxy_location="Disabled")
        yield str(context.address_info["address"])
    finally:
        serve.shutdown()
        ray.shutdown()


def deploy(
    replicas: int, processors: float, name: str = APP_NAME, settings: Mapping[str, str] | None = None, **options: Any
) -> None:
    """Serve so many replicas under this name, scaling those that serve already; waits until they do.

    processors: of each replica. settings: of the engines, in place of those of the process that started the cluster.
    options: of the deployment, in place of its own.
    """
    resources = {"num_cpus": processors, "runtime_env": {"env_vars": dict(settings or {})}}
    deployment = engine.options(num_replicas=replicas, ray_actor_options=resources, autoscaling_config=None, **options)
    serve.run(deployment.bind(), name=name, route_prefix=None)
