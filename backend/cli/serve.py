"""``m2n2 serve``: the server of an installed package, in any folder."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from gunicorn.app.base import BaseApplication

from backend.http.ports import PortTaken, check_port
from backend.settings import Settings, load_settings
from m2n2_engine.errors import ConfigurationError

HostOption = Annotated[str | None, typer.Option(help="Address to listen on; without it M2N2_HOST.")]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on; without it M2N2_PORT.")]


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn in this process, as its own command runs it, but for the path of Python.

    gunicorn's command puts the folder that it is started in before the installed packages, and a folder named
    ``backend`` there would be taken for this one.
    """

    def load_config(self) -> None:
        """Take every setting of gunicorn from the configuration that the packages have."""
        from backend.http import gunicorn_conf

        for name, value in vars(gunicorn_conf).items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """The application; called in the worker."""
        from backend.wsgi import create

        return create()


def serve(host: HostOption = None, port: PortOption = None) -> None:
    """Serve Label Studio, CVAT and the page at / until Ctrl+C or SIGTERM."""
    # gunicorn's processes read their settings from the environment.
    given = {"M2N2_HOST": host, "M2N2_PORT": port}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    _check_ports(load_settings())
    _Server(prog="m2n2 serve").run()


def _check_ports(settings: Settings) -> None:
    """Raise ConfigurationError where one is taken: gunicorn would try for some seconds, and not name the setting."""
    ports = {"M2N2_PORT": settings.port, "M2N2_CVAT_PORT": settings.cvat_port}
    for variable, port in ports.items():
        if port is not None:
            try:
                check_port(port, variable, settings.host)
            except PortTaken as problem:
                raise ConfigurationError(str(problem)) from None
