"""Several images of a dataset at a time, each prepared once for all of its objects and bands."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from pathlib import Path

from m2n2_engine.errors import InvalidImage
from m2n2_engine.tools.context import read_image
from m2n2_engine.tools.datasets.coco import Instance
from m2n2_engine.tools.evaluate.options import Band, Flip, Options
from m2n2_engine.tools.evaluate.refinement import Journal, Name, Refinement
from m2n2_engine.tools.evaluate.simulation.annotator import Annotator, Segment
from m2n2_engine.tools.evaluate.truth import flip_pixels, flip_truth, read_truth
from m2n2_engine.types import Box, Click, ClickSegmenter, Image, Segmentation


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """One flip of one image, which is prepared once. wanted: at least one object under one band."""

    image_path: Path
    flip: Flip
    wanted: tuple[tuple[Instance, Band], ...]


def refine_all(
    instances: Sequence[Instance],
    segmenter: ClickSegmenter,
    options: Options,
    journal: Journal,
    jobs: int,
    report: Callable[[int, int], None],
) -> list[Refinement]:
    """Every instance under every band and flip, in this order whatever the number of jobs; what the journal has is not
    made again.

    jobs: images in flight. report: told how many of the images that were to be done are, and how many those are.
    """
    done = {found.name: found for found in journal.read()}
    tasks = list(_list_tasks(instances, options, done))
    with _open_pool(jobs) as (pool, stopped):
        segment = _until(stopped, segmenter.segment)
        futures = [pool.submit(_perform, task, segment, options, journal) for task in tasks]
        for count, future in enumerate(as_completed(futures), start=1):
            done.update((found.name, found) for found in future.result())
            report(count, len(tasks))
    return [
        done[instance.name, band, flip] for band in options.bands for instance in instances for flip in options.flips
    ]


def _list_tasks(instances: Sequence[Instance], options: Options, done: Collection[Name]) -> Iterator[Task]:
    by_image = collections.defaultdict[Path, list[Instance]](list)
    for instance in instances:
        by_image[instance.image_path].append(instance)
    for image_path, objects in by_image.items():
        for flip in options.flips:
            pairs = ((instance, band) for instance in objects for band in options.bands)
            wanted = tuple(pair for pair in pairs if (pair[0].name, pair[1], flip) not in done)
            if wanted:
                yield Task(image_path, flip, wanted)


@contextlib.contextmanager
def _open_pool(jobs: int) -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """Threads, and an event that is set when the block raises; what none of them has begun is then dropped."""
    stopped = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield pool, stopped
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise


def _until(stopped: threading.Event, segment: Segment) -> Segment:
    """An interrupted run ends with the clicks under way, not with their images."""

    def pass_on(image: Image, clicks: Sequence[Click], box: Box | None) -> Segmentation:
        if stopped.is_set():
            raise CancelledError
        return segment(image, clicks, box)

    return pass_on


def _perform(task: Task, segment: Segment, options: Options, journal: Journal) -> list[Refinement]:
    image = flip_pixels(read_image(task.image_path), task.flip)
    image.setflags(write=False)  # the engine then reads the pixels once to know the image again
    annotator = Annotator(segment, image, options)
    made = []
    for instance, band in task.wanted:
        truth = flip_truth(read_truth(instance, band), task.flip)
        if truth.pixels.shape != image.shape[:2]:
            raise InvalidImage(
                f"{task.image_path} has (H, W) {image.shape[:2]}, but the mask of {instance.name} "
                f"{truth.pixels.shape}: prepare the dataset again"
            )
        made.append(annotator.refine((instance.name, band, task.flip), truth))
        journal.append(made[-1])
    return made
