"""gunicorn in this process, for ``m2n2 serve``."""

from __future__ import annotations

from typing import Any

from gunicorn.app.base import BaseApplication


class Server(BaseApplication):  # type: ignore[misc]
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
