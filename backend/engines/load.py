"""The engine of the settings: in this process, or on a Ray cluster. The only file of the server that imports the
engine's inside, and torch with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from backend.settings import Settings
from m2n2_engine.config import EngineConfig
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Segmenter

if TYPE_CHECKING:
    from m2n2_engine.engine import Engine

logger = logging.getLogger(__name__)


def choose_load(settings: Settings) -> Callable[[], Segmenter]:
    """What loads the segmenter of M2N2_ENGINE."""
    if settings.engine == "ray":
        return lambda: _join_cluster(settings.ray_address, settings.ray_app)
    config = settings.engine_config()
    return lambda: load_warm(config)


def load_warm(config: EngineConfig) -> Engine:
    """An engine that has compiled its kernels and run its network once. Raises what `load_engine` raises."""
    # Imported here, in the loading thread: torch takes seconds, and the server answers meanwhile.
    logger.info("importing torch, which takes some seconds")
    from m2n2_engine.engine import load_engine

    engine = load_engine(config)
    logger.info("compiling kernels: a minute at the first start, some seconds at later ones")
    started = time.perf_counter()
    engine.warm_up()
    logger.info("kernels ready after %.1f s", time.perf_counter() - started)
    return engine


def _join_cluster(address: str, app: str) -> Segmenter:
    # Imported here: nothing of Ray is needed, nor paid for at the start, where the engine is local.
    try:
        from backend.engines.ray_cluster import connect
    except ImportError as error:
        raise ConfigurationError(
            f"M2N2_ENGINE=ray needs Ray, which cannot be imported ({error}): install the extra `ray`, as "
            "docs/operate/ray.md says"
        ) from None
    from backend.engines.ray_segmenter import RaySegmenter

    return RaySegmenter(connect(address, app))
