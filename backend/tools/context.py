"""What the commands that know the server are given."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import typer

from m2n2_engine.tools.context import ToolSettings

if TYPE_CHECKING:
    from backend.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerToolSettings(ToolSettings):
    """Settings of all commands with those of the server."""

    server: Settings


def read_server_settings(context: typer.Context) -> Settings:
    """The server's settings, as every command is given them."""
    settings: ServerToolSettings = context.obj
    return settings.server
