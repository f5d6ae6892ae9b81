"""``m2n2 warm``: prepares images before anybody opens them, and leaves them on the disk that servers share."""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from backend.cli.label_studio import TokenOption, UrlOption, open_client, use_label_studio
from backend.tools.context import ServerToolSettings
from m2n2_engine.config import MEBIBYTE, EngineConfig
from m2n2_engine.errors import ConfigurationError, M2N2Error
from m2n2_engine.image_file import find_image_files
from m2n2_engine.tools.context import INTERRUPTED, engine_config, messages, output, read_image, working_on
from m2n2_engine.types import Picture, Tier

if TYPE_CHECKING:
    from backend.settings import Settings
    from m2n2_engine.engine import Engine

_FETCHING_THREADS = 4
_TASKS_SHOWN = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """An image to prepare. fetch: gives its pixels, or an M2N2Error that names it."""

    name: str
    fetch: Callable[[], Picture]


def warm(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", exists=True, file_okay=False, help="Folder with images.")
    ] = None,
    project: Annotated[int | None, typer.Option(help="Number of a Label Studio project, instead of a folder.")] = None,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Prepare all images of a folder or a project for the server with the same settings; run again, it goes on."""
    if (folder is None) == (project is None):
        raise typer.BadParameter("give a FOLDER or --project")
    settings: ServerToolSettings = context.obj
    config = engine_config(context)
    if not config.disk_cache_bytes:
        raise ConfigurationError(
            "the disk cache is off, and nothing prepared here would outlast this command: set M2N2_DISK_CACHE_MIB"
        )
    if folder is not None:
        sources = [Source(str(path), functools.partial(_read_picture, path)) for path in find_image_files(folder)]
    else:
        sources = _list_project(use_label_studio(settings.server, url, token), project or 0)
    with working_on("loading the network"):
        # What is prepared here is looked at elsewhere: nothing is kept in this process but the newest image.
        engine = settings.load(dataclasses.replace(config, session_cache_bytes=1, host_cache_bytes=0))
    warmth = Warmth(engine)
    try:
        warmth.prepare(sources)
    except KeyboardInterrupt:
        output.print("stopped; run it again to go on", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        output.print(warmth.render(config), markup=False, highlight=False)
    if warmth.failures or engine.status().disk_write_failures:
        raise typer.Exit(1)


def _list_project(settings: Settings, project: int) -> list[Source]:
    from backend.images.fetcher import create_picture_cache
    from backend.label_studio.label_config import parse_label_config
    from backend.label_studio.tasks import explain_no_image, fetch_all_tasks, find_images

    client = open_client(settings)
    # Every image is wanted once.
    pictures = create_picture_cache(settings, max_bytes=0)
    with working_on("asking Label Studio for the tasks"):
        config = parse_label_config(client.get(f"/api/projects/{project}/")["label_config"])
        found = [(task, find_images(task, config, every_page=True)) for task in fetch_all_tasks(client, project)]
    without = [task for task, images in found if not images]
    for task in without[:_TASKS_SHOWN]:
        messages.print(f"task {task.id}: {explain_no_image(task, config)}", markup=False, highlight=False)
    if len(without) > _TASKS_SHOWN:
        messages.print(f"{len(without)} tasks in all show no image", highlight=False)
    images = dict.fromkeys(image for _, shown in found for image in shown)
    return [Source(f"task {image.task_id}", functools.partial(pictures.get, image)) for image in images]


def _read_picture(path: Path) -> Picture:
    return Picture.of(read_image(path))


class Warmth:
    """Prepares images one after the other, and counts what it cost. failures: images that could not be prepared."""

    def __init__(self, engine: Engine) -> None:
        self.failures = 0
        self._engine = engine
        self._found = 0
        self._new_seconds: list[float] = []
        self._started = time.perf_counter()

    def prepare(self, sources: Sequence[Source]) -> None:
        """Prepare every image that can be and is not yet, and name those that cannot."""
        fetched = fetch_ahead(sources, _FETCHING_THREADS)
        for name, image in track(
            fetched,
            "preparing",
            total=len(sources),
            console=messages,
            transient=True,
            disable=not messages.is_terminal,
        ):
            try:
                self._prepare(name, image)
            except M2N2Error as error:
                self.failures += 1
                messages.print(f"failed: {error}", markup=False, highlight=False)

    def render(self, config: EngineConfig) -> str:
        """What was prepared, how long it took, and what lies on disk once all is written."""
        self._engine.flush()
        new, status = len(self._new_seconds), self._engine.status()
        disk = status.tiers[Tier.DISK]
        each = f" ({sum(self._new_seconds) / new:.2f} s each)" if new else ""
        lines = [
            f"{new + self._found + self.failures} images in {time.perf_counter() - self._started:.1f} s: "
            f"{new} new{each}, {self._found} on disk already, {self.failures} failed",
            f"{config.disk_cache_folder}: {disk.images} images, "
            f"{disk.bytes / MEBIBYTE:.1f} of {config.disk_cache_bytes // MEBIBYTE} MiB",
        ]
        if status.disk_write_failures:
            lines.append(f"{status.disk_write_failures} could not be written: make room there, and run this again")
        if disk.evictions:
            lines.append(f"{disk.evictions} made room for others: raise M2N2_DISK_CACHE_MIB")
        return "\n".join(lines)

    def _prepare(self, name: str, fetched: Future[Picture]) -> None:
        picture = fetched.result()
        if self._engine.find_tier(picture) is not Tier.NETWORK:
            self._found += 1
            return
        started = time.perf_counter()
        try:
            self._engine.prepare(picture)
        except M2N2Error as error:
            raise type(error)(f"{name}: {error}") from None
        self._new_seconds.append(time.perf_counter() - started)


def fetch_ahead(sources: Iterable[Source], threads: int) -> Iterator[tuple[str, Future[Picture]]]:
    """Names and images in the order of the sources, so many of them fetched while earlier ones are worked on."""
    pool = ThreadPoolExecutor(threads)
    pending: collections.deque[tuple[str, Future[Picture]]] = collections.deque()
    try:
        for source in sources:
            pending.append((source.name, pool.submit(source.fetch)))
            if len(pending) > threads:
                yield pending.popleft()
        while pending:
            yield pending.popleft()
    finally:
        pool.shutdown(cancel_futures=True)
