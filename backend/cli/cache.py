"""``m2n2 cache``: what the attention cache holds on disk. Works beside servers that use the same folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from m2n2_engine.config import MEBIBYTE
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.tools.context import engine_config, messages, output

if TYPE_CHECKING:
    from m2n2_engine.cache.disk import DiskStore, StoredImage

app = typer.Typer(help="The attention cache on disk: stats, clear, verify.", no_args_is_help=True)


@app.command()
def stats(context: typer.Context) -> None:
    """How many images the folder holds, and when they were used."""
    config = engine_config(context)
    with _reading(context) as store:
        images = store.list_images()
    budget = f"{config.disk_cache_bytes // MEBIBYTE} MiB" if config.disk_cache_bytes else "0: the cache is off"
    output.print(f"folder  {config.disk_cache_folder}", f"budget  {budget}", sep="\n", highlight=False)
    output.print(f"images  {_describe(images)}", highlight=False)
    if images:
        oldest, newest = (_describe_time(image.used_seconds) for image in (images[0], images[-1]))
        output.print(f"used    {oldest} to {newest}", highlight=False)


@app.command()
def clear(context: typer.Context) -> None:
    """Delete all images from the folder; files of others stay."""
    with _reading(context) as store:
        images = store.clear()
    output.print(f"deleted {_describe(images)} from {engine_config(context).disk_cache_folder}", highlight=False)


@app.command()
def verify(
    context: typer.Context,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the files that cannot be used.")] = False,
) -> None:
    """Read every file; name those that cannot be used, and end with status 1 where one stays."""
    from m2n2_engine.cache.stored_image import UnusableFile

    with _reading(context) as store:
        images = store.list_images()
        problems = 0
        for image in track(images, "reading", console=messages, transient=True, disable=not messages.is_terminal):
            try:
                store.read_image(image.path)
            except FileNotFoundError:
                continue  # a server made room meanwhile
            except UnusableFile as problem:
                problems += 1
                output.print(f"{image.path}: {problem}", markup=False, highlight=False)
                if delete:
                    image.path.unlink(missing_ok=True)
    output.print(f"{_describe(images)} read, {problems} cannot be used{', deleted' if problems and delete else ''}")
    if problems and not delete:
        raise typer.Exit(1)


@contextlib.contextmanager
def _reading(context: typer.Context) -> Iterator[DiskStore]:
    """The store that the settings name, used or not; what the folder does not allow is one clear line."""
    from m2n2_engine.cache.disk import DiskStore

    config = engine_config(context)
    try:
        yield DiskStore(config.disk_cache_folder, config.disk_cache_bytes)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(
            f"{config.disk_cache_folder} cannot be used: {reason}: set M2N2_DISK_CACHE_FOLDER to a folder that can"
        ) from None


def _describe(images: list[StoredImage]) -> str:
    return f"{len(images)} images, {sum(image.nbytes for image in images) / MEBIBYTE:.1f} MiB"


def _describe_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
