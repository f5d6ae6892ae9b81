"""Why a labelling configuration cannot work with this server, for the log and for ``m2n2 label-studio check``."""

from __future__ import annotations

import hashlib
import itertools
import logging
import threading
from collections.abc import Iterator, Sequence

from backend.errors import InvalidRequest
from backend.label_studio.label_config import (
    ANSWER_TAGS,
    OTHER_TAGS,
    PROMPT_TAGS,
    Control,
    LabelConfig,
    parse_label_config,
)

_REMEMBERED_CONFIGS = 1000

_MOST_PROBLEMS = 20
"""Told of one configuration; whoever corrects these is told the next."""

_LABELS = "Labels"
_WITHOUT_LABELS = ("Brush", "Bitmask", "Polygon", "KeyPoint", "Rectangle")
"""Tags without labels of their own, each of which this server takes with them."""

_OTHERS_SHOWN = 4

logger = logging.getLogger(__name__)


def find_problems(xml: str) -> list[str]:
    """The reasons why this labelling configuration cannot work with this server, each with its remedy, the first
    twenty of them; empty where there is none."""
    try:
        config = parse_label_config(xml)
    except InvalidRequest as error:
        return [str(error)]
    problems = itertools.chain(
        _find_image_problems(config), _find_prompt_problems(config), _find_answer_problems(config)
    )
    return list(itertools.islice(problems, _MOST_PROBLEMS))


class ProblemLog:
    """Names the problems of each configuration in the log once; safe under threads."""

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}
        self._lock = threading.Lock()

    def report(self, xml: str) -> None:
        """Log why this configuration cannot work, unless that was done already."""
        digest = hashlib.blake2b(xml.encode(errors="replace"), digest_size=16).digest()
        with self._lock:
            if digest in self._seen:
                return
            self._seen[digest] = None
            if len(self._seen) > _REMEMBERED_CONFIGS:
                del self._seen[next(iter(self._seen))]
        for problem in find_problems(xml):
            logger.warning("the labelling configuration cannot work: %s", problem)


def find_lost_tools(config: LabelConfig) -> list[Control]:
    """Tags whose smart tools hide among those that ask this server, and get no answer."""
    return [control for control in config.find_controls((*ANSWER_TAGS, *OTHER_TAGS)) if control.is_smart]


def _find_image_problems(config: LabelConfig) -> Iterator[str]:
    if not config.images:
        yield 'it has no Image: add <Image name="image" value="$image"/>'
    for image in config.images:
        if not image.name:
            yield 'an Image has no name: give it one, name="image"'
        if not image.shows_task:
            yield f"Image {image.name!r} shows no field of the task: give it a value like '$image'"


def _find_prompt_problems(config: LabelConfig) -> Iterator[str]:
    prompts = config.find_controls(PROMPT_TAGS)
    if not prompts:
        yield (
            'it has no tool to click with: add KeyPointLabels with smart="true" (or RectangleLabels, for boxes)'
            + _render_others(config.find_controls(OTHER_TAGS), "no click of {} is answered")
        )
    elif not any(prompt.is_smart for prompt in prompts):
        yield f'no tool is smart, so that clicks never get here: set smart="true" on {" or ".join(map(str, prompts))}'
    images = dict.fromkeys(image.name for image in config.images)
    for control in config.find_controls((*PROMPT_TAGS, *ANSWER_TAGS)):
        if not control.name:
            yield f'a {control.tag} tag has no name: give it one, name="..."'
        if control.labels == ():
            yield f'{control} has no labels: put <Label value="..."/> into it'
        for name in control.to_names or ("",):
            if name not in images:
                yield f"{control} belongs to {name!r}, which is no Image here: set toName to one of {[*images]}"


def _find_answer_problems(config: LabelConfig) -> Iterator[str]:
    images = {image.name for image in config.images}
    taken = _find_taken_labels(config)
    for prompt in config.find_controls(PROMPT_TAGS):
        for to_name in prompt.to_names:
            answers = taken.get(to_name, set())
            if not prompt.is_smart or to_name not in images or answers is None:
                continue
            lost = [label for label in prompt.labels or () if label not in answers]
            if lost:
                labels = "".join(f'<Label value="{label}"/>' for label in lost)
                others = [control for control in config.find_controls(OTHER_TAGS) if to_name in control.to_names]
                yield (
                    f"masks of {prompt} have no place to go: for toName={to_name!r} no BrushLabels (or BitmaskLabels, "
                    f"or PolygonLabels) has {', '.join(map(repr, lost))}; add {labels} to one"
                    + _render_others(others, "{} can hold no mask of this server")
                )


def _render_others(others: Sequence[Control], text: str) -> str:
    """What to know of tags that stand where one that works is missing."""
    if not others:
        return ""
    said = f"; {text.format(' and '.join(map(str, others[:_OTHERS_SHOWN])))}"
    apart = [control for control in others if control.tag in _WITHOUT_LABELS]
    if apart and any(control.tag == _LABELS for control in others):
        said += f": in place of {apart[0].tag} and {_LABELS} take {apart[0].tag}{_LABELS}, which has its own labels"
    return said


def _find_taken_labels(config: LabelConfig) -> dict[str, set[str] | None]:
    """Image -> the labels that masks of it can have; None: all."""
    taken: dict[str, set[str] | None] = {}
    for answer in config.find_controls(ANSWER_TAGS):
        for to_name in answer.to_names:
            labels = taken.setdefault(to_name, set())
            if answer.labels is None:
                taken[to_name] = None
            elif labels is not None:
                labels.update(answer.labels)
    return taken
