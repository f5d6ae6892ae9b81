"""``make ray``: two replicas of the engine on this machine's processors, and the backend as their client."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from backend.settings import Settings, load_settings
from backend.tools.ray.replicas import deploy, start_cluster
from backend.tools.studio.processes import make_backend
from m2n2_engine.errors import M2N2Error
from m2n2_engine.processors import count_processors
from m2n2_engine.tools.context import output

_REPLICAS = 2
_LOG = Path("out/ray/backend.log")
_BACKEND_SECONDS = 300.0


def main() -> None:
    """Start cluster and backend, and serve until Ctrl+C."""
    try:
        _serve(load_settings())
    except KeyboardInterrupt:
        output.print("stopped", highlight=False)
    except M2N2Error as error:
        output.print(f"ray: {error}", markup=False, highlight=False)
        sys.exit(1)


def _serve(settings: Settings) -> None:
    processors = count_processors()
    output.print("the cluster starts ...", highlight=False)
    with start_cluster(processors) as address:
        # Only now: starting Ray sets a handler of its own.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        deploy(_REPLICAS, processors / _REPLICAS, settings.ray_app)
        environ = {"M2N2_ENGINE": "ray", "M2N2_RAY_ADDRESS": address, "M2N2_HOST": settings.host}
        backend = make_backend(environ, settings.port, _LOG.absolute())
        with backend:
            backend.wait_ready(_BACKEND_SECONDS)
            output.print(f"{backend.url} serves with {_REPLICAS} replicas; its log is {_LOG}", highlight=False)
            output.print("Ctrl+C stops everything.", highlight=False)
            signal.pause()


if __name__ == "__main__":
    main()
