"""Which objects of which images are segmented, and where each is written."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from backend.cli.segment.forms import Form, check_ending, usual_ending
from backend.cli.segment.prompt_file import OBJECT, ObjectPrompt
from m2n2_engine.errors import ConfigurationError, InvalidImage, M2N2Error
from m2n2_engine.image_file import find_image_files
from m2n2_engine.tools.context import messages
from m2n2_engine.types import Box, Click, Stroke


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFile:
    """An image to segment. name: of its file; below a folder, its path from there."""

    path: Path
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """One object to segment, and the file that it is written to; None where all go into one file."""

    image: ImageFile
    clicks: Sequence[Click | Stroke]
    box: Box | None
    name: str | None = None
    label: str = OBJECT
    target: Path | None = None


def find_images(paths: Sequence[Path]) -> list[ImageFile]:
    """The image files that are named, and those below the folders among them. Raises InvalidImage for a folder without
    images."""
    found: list[ImageFile] = []
    for path in paths:
        if not path.is_dir():
            found.append(ImageFile(path, path.name))
            continue
        files = find_image_files(path)
        if not files:
            raise InvalidImage(f"{path} holds no images: name a folder that does, or image files")
        found += [ImageFile(file, file.relative_to(path).as_posix()) for file in files]
    return found


def tell_problem(image: ImageFile, error: M2N2Error) -> None:
    """Say what went wrong with one image of several, and with which."""
    text = str(error)
    place = "" if str(image.path) in text else f"{image.path}: "
    messages.print(f"{place}{text}", markup=False, highlight=False)


def match_prompts(prompts: Sequence[ObjectPrompt], images: Sequence[ImageFile]) -> list[Task]:
    """A task for each prompt, in the order of the images. Raises ConfigurationError where an image is missing."""
    tasks: dict[ImageFile, list[Task]] = {image: [] for image in images}
    for prompt in prompts:
        image = _find_image(prompt.image, images)
        tasks[image].append(Task(image, prompt.clicks, prompt.box, prompt.name, prompt.label))
    return [task for found in tasks.values() for task in found]


def name_targets(tasks: Sequence[Task], folder: Path, form: Form) -> list[Task]:
    """The tasks with their files in a folder: ``NAME.png``, or ``NAME_OBJECT.png`` where the object has a name.

    Raises ConfigurationError where two would be written to the same file.
    """
    named = [dataclasses.replace(task, target=_name_target(task, folder, form)) for task in tasks]
    target, times = Counter(task.target for task in named).most_common(1)[0]
    if times > 1:
        first, second, *_ = (task.image.path for task in named if task.target == target)
        who = f"{first} and {second}" if first != second else f"{times} objects of {first}"
        raise ConfigurationError(f"{who} would be written to {target}: name the objects, or take the images in turn")
    return named


def check_target(target: Path, form: Form, is_folder: bool) -> None:
    """Raise ConfigurationError where the output cannot be what is wanted, before anything is computed."""
    if not is_folder:
        check_ending(target, form)
    elif target.is_file() or (target.suffix and not target.is_dir()):
        raise ConfigurationError(f"{target}: several objects are written to a folder: name one with --output")


def _find_image(name: str, images: Sequence[ImageFile]) -> ImageFile:
    """By its whole name, else by the last part of it: tools write paths of their own."""
    found = [image for image in images if image.name == name]
    if not found:
        last = PurePosixPath(name.replace("\\", "/")).name
        found = [image for image in images if PurePosixPath(image.name).name == last]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigurationError(f"{found[0].path} and {found[1].path} may both be the image {name!r} of the prompts")
    raise ConfigurationError(f"the prompts name the image {name!r}, which is not among those given: add it")


def _name_target(task: Task, folder: Path, form: Form) -> Path:
    name = PurePosixPath(task.image.name)
    stem = name.stem if task.name is None else f"{name.stem}_{task.name}"
    return folder / name.parent / f"{stem}{usual_ending(form)}"
