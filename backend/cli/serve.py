"""``m2n2 serve``: the server of an installed package, in any folder. Imports what it needs when it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from m2n2_engine.errors import ConfigurationError

if TYPE_CHECKING:
    from backend.settings import Settings

HostOption = Annotated[str | None, typer.Option(help="Address to listen on; without it M2N2_HOST.")]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on; without it M2N2_PORT.")]


def serve(host: HostOption = None, port: PortOption = None) -> None:
    """Serve Label Studio, CVAT and the page at / until Ctrl+C or SIGTERM."""
    from backend.cli.gunicorn_app import Server
    from backend.settings import load_settings

    # gunicorn's processes read their settings from the environment.
    given = {"M2N2_HOST": host, "M2N2_PORT": port}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    _check_ports(load_settings())
    Server(prog="m2n2 serve").run()


def _check_ports(settings: Settings) -> None:
    """Raise ConfigurationError where one is taken: gunicorn would try for some seconds, and not name the setting."""
    from backend.http.ports import PortTaken, check_port

    ports = {"M2N2_PORT": settings.port, "M2N2_CVAT_PORT": settings.cvat_port}
    for variable, port in ports.items():
        if port is not None:
            try:
                check_port(port, variable, settings.host)
            except PortTaken as problem:
                raise ConfigurationError(str(problem)) from None
