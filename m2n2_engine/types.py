"""The shared language of both packages: one noun each, numpy only.

Points are ``(x, y)`` pixels of the full-size image, x to the right, y down, as floats; the pixel ``(0, 0)`` covers
``0 <= x < 1``. Images are uint8 RGB ``(H, W, 3)``. Masks are bool ``(H, W)``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import math
import numbers
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from m2n2_engine.errors import DeadlineExceeded, InvalidClicks, InvalidImage, InvalidInput, InvalidMask

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """An image and its name, made where its bytes are decoded; equal to every picture of the same shape and pixels.

    pixels: RGB uint8 ``(H, W, 3)``, C-contiguous and read-only. digest: 32 hex digits of shape and pixels.
    """

    pixels: Image
    digest: str

    @classmethod
    def of(cls, image: Image) -> Picture:
        """The picture of an array.

        Args:
            image: RGB uint8 ``(H, W, 3)`` of any size from 1 x 1, any strides. Its pixels are not copied where they are
                C-contiguous, so whoever changes them later changes the picture, but not its name.

        Raises:
            InvalidImage: it is no such array.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise InvalidImage(f"the image must be RGB uint8 (H, W, 3), not {found}")
        if 0 in image.shape:
            raise InvalidImage(f"the image has no pixels: its shape is {image.shape}")
        pixels = np.ascontiguousarray(image).view()
        pixels.setflags(write=False)
        digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
        digest.update(pixels.data)
        return cls(pixels, digest.hexdigest())

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def cut(self, left: int, top: int, right: int, bottom: int) -> Picture:
        """A part of it, as a picture of its own; right and bottom exclusive, in pixels."""
        pixels = self.pixels[top:bottom, left:right].copy()
        pixels.setflags(write=False)
        # Named by what it is a part of: its pixels need not be read once more.
        name = hashlib.blake2b(f"{self.digest} {left},{top},{right},{bottom}".encode(), digest_size=16)
        return Picture(pixels, name.hexdigest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Picture) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclasses.dataclass(frozen=True, slots=True)
class Deadline:
    """Until when an answer is of use. at: seconds of ``time.monotonic``; it means nothing on another machine."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The one that is so far away now."""
        return cls(time.monotonic() + seconds)

    @property
    def remaining_seconds(self) -> float:
        """What is left, at least 0."""
        return max(0.0, self.at - time.monotonic())

    def check(self, step: str) -> None:
        """To be called before every expensive step. Raises DeadlineExceeded, naming it, where no time is left."""
        if self.at <= time.monotonic():
            raise _exceeded(step)

    @contextlib.contextmanager
    def hold(self, lock: threading.Lock, step: str) -> Iterator[None]:
        """Hold the lock while the block works. Raises DeadlineExceeded where it is not free in time."""
        if not lock.acquire(timeout=-1 if math.isinf(self.at) else self.remaining_seconds):
            raise _exceeded(step)
        try:
            yield
        finally:
            lock.release()


NEVER = Deadline(math.inf)
"""For callers that wait as long as it takes."""


def _exceeded(step: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"no time is left to {step}: too much is asked at once, try again")


@dataclasses.dataclass(frozen=True, slots=True)
class Click:
    """A point of the image with a sign.

    x: pixels from the left edge, ``0 <= x <= W``. y: pixels from the top edge, ``0 <= y <= H``.
    positive: True or 1 where the point belongs to the object, False or 0 where not; kept as a bool.
    """

    x: float
    y: float
    positive: bool = True

    def __post_init__(self) -> None:
        """Raises InvalidClicks for a coordinate that is no number, and for a sign that is neither."""
        _keep(self, "x", _read_number(self.x, "x of a click"))
        _keep(self, "y", _read_number(self.y, "y of a click"))
        _keep(self, "positive", _read_sign(self.positive, "click"))


@dataclasses.dataclass(frozen=True, slots=True)
class Stroke:
    """A path over the image with a sign: many clicks, decided at once. One point is a click.

    points: ``(x, y)`` each as of a click, at least one, joined by straight lines in their order.
    positive: True where the path belongs to the object.
    """

    points: tuple[tuple[float, float], ...]
    positive: bool = True

    def __post_init__(self) -> None:
        """Raises InvalidClicks as of a click. The points may be in any sequence, an array among them."""
        _keep(self, "points", _read_path(self.points))
        _keep(self, "positive", _read_sign(self.positive, "stroke"))


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle around an object, in pixels of the image: ``0 <= left < right <= W`` from the left edge,
    ``0 <= top < bottom <= H`` from the top edge."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        """Raises InvalidClicks for a side that is no number."""
        for side in ("left", "top", "right", "bottom"):
            _keep(self, side, _read_number(getattr(self, side), f"{side} of a box"))


def _keep(value: Click | Stroke | Box, name: str, found: object) -> None:
    """Give a field of a frozen value its normal form: its own ``__post_init__`` is the one place that may."""
    object.__setattr__(value, name, found)


def _read_number(value: object, name: str) -> float:
    """A plain number: those of numpy and torch are turned into one, so that equal clicks are looked up as equal."""
    if type(value) in (int, float):
        return value  # type: ignore[return-value]
    # What has no `__float__` is no number, though float() reads it: text, for example.
    if not hasattr(value, "__float__"):
        raise InvalidClicks(f"the {name} must be a number of pixels, not {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # arrays of several numbers; torch says RuntimeError
        raise InvalidClicks(f"the {name} must be one number of pixels, not {value!r}") from None


def _read_sign(value: object, name: str) -> bool:
    """True or False of what equals them: 1 and 0 are the labels of many data sets."""
    if isinstance(value, bool):
        return value
    if isinstance(value, np.bool_ | numbers.Real) and value in (0, 1):
        return bool(value)
    raise InvalidClicks(
        f"the sign of a {name} must be True or 1 on the object, False or 0 outside of it, not {value!r}"
    )


def _read_path(points: object) -> tuple[tuple[float, float], ...]:
    try:
        pairs = [(x, y) for x, y in points]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InvalidClicks(f"the points of a stroke must be pairs (x, y), not {points!r}") from None
    return tuple((_read_number(x, "x of a stroke's point"), _read_number(y, "y of a stroke's point")) for x, y in pairs)


@dataclasses.dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one answer went, in seconds.

    prepare_seconds: network, attention, transition matrix and upsampling weights; 0 where the image was resident.
    clicks_seconds: Markov-maps of clicks not seen before, thresholds and merge.
    again_seconds: as ``prepare_seconds``, of the part of the image that was looked at again; with what it waited for.
    """

    prepare_seconds: float
    clicks_seconds: float
    again_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Segmentation:
    """What the engine answers.

    mask: bool (H, W) at the size of the image that was given.
    score: 0 to 1, how sharply the mask ends: the mean over the box and the positive clicks that changed something of
        the edge strength of their maps along the border of their part, as a share of the strongest edge in the map
        (``method.thresholds``, ``method.evidence``); 0 where the mask is empty. It ranks masks of one image; it is no
        probability.
    timings: where the time went.
    """

    mask: Mask
    score: float
    timings: Timings


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An object that somebody has accepted, by which others like it are found.

    picture: that it is in. mask: bool ``(H, W)`` at the picture's size, True on the object and not everywhere False.
    label: what the annotator calls it. Every object of this label in the picture should be in an example of its own or
    in this mask: what is outside of all masks of the label counts as background.
    """

    picture: Picture
    mask: Mask
    label: str

    def __post_init__(self) -> None:
        """Raises InvalidImage, InvalidMask and InvalidInput."""
        if not isinstance(self.picture, Picture):
            raise InvalidImage(f"the picture of an example must be a Picture, not {type(self.picture).__name__}")
        mask = self.mask
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != self.picture.size:
            found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise InvalidMask(
                f"the mask of an example must be bool {self.picture.size}, the size of its picture, not {found}"
            )
        if not mask.any():
            raise InvalidMask("the mask of an example has no pixel: leave the example out")
        if not isinstance(self.label, str):
            raise InvalidInput(f"the label of an example must be a text, not {self.label!r}")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """An object of a picture that is like those of some examples.

    mask: bool ``(H, W)`` at the size of the picture. label: of the examples. score: 0 to 1, how often a mask that is
    proposed with this score overlaps its object by half or more, see ``proposals.confidence``. clicks: where the object
    is, and where it is not; the mask obeys them, and the next click corrects the mask. box: that the object lies in;
    None where none was used.
    """

    mask: Mask
    label: str
    score: float
    clicks: tuple[Click, ...]
    box: Box | None = None


class Tier(enum.StrEnum):
    """A tier of the attention cache, from the fastest to the slowest. NETWORK is none: the image was prepared anew."""

    DEVICE = "device"
    HOST = "host"
    DISK = "disk"
    NETWORK = "network"


@dataclasses.dataclass(frozen=True, slots=True)
class TierStatus:
    """What a tier holds now, and counts since the start. bytes: with what is reserved for builds under way. hits:
    images that were found there, or were being built for another caller."""

    images: int
    bytes: int
    budget_bytes: int
    hits: int
    misses: int
    evictions: int


class State(enum.StrEnum):
    """Whether an engine answers: its weights loaded, its kernels compiled, its device usable."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class EngineStatus:
    """What an engine says of itself. What it does not know is None; a tier that it does not have is not in ``tiers``.

    model_version: what platforms keep with the masks. state, reason: whether it answers, and what went wrong. backbone,
    backbone_reason: the network, and why it is this one. precision: of its numbers, where it has a choice.
    device_warning: why a GPU of the machine is not used, where there is one. grid: cells, as ``48x48``. replicas: how
    many engines answer as this one. device_memory_*: of a device with memory of its own. disk_write_failures: images
    that could not be written, since the start.
    """

    model_version: str
    state: State = State.READY
    reason: str | None = None
    backbone: str | None = None
    backbone_reason: str | None = None
    preset: str | None = None
    device: str | None = None
    precision: str | None = None
    device_warning: str | None = None
    grid: str | None = None
    threads: int | None = None
    replicas: int | None = None
    device_memory_used_bytes: int | None = None
    device_memory_bytes: int | None = None
    disk_write_failures: int | None = None
    tiers: Mapping[Tier, TierStatus] = dataclasses.field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether a click can be answered now."""
        return self.state is State.READY


class Slots(Protocol):
    """Places that an engine works at. It enters one before the work and leaves it after; entering may wait, and raises
    where that takes too long."""

    def network(self) -> AbstractContextManager[None]:
        """Held while an image passes the network."""

    def computing(self) -> AbstractContextManager[None]:
        """Held while anything else is computed."""


class FreeSlots:
    """As many places as are wanted, for callers that are alone."""

    def network(self) -> AbstractContextManager[None]:
        """Entered at once."""
        return contextlib.nullcontext()

    def computing(self) -> AbstractContextManager[None]:
        """Entered at once."""
        return contextlib.nullcontext()


FREE = FreeSlots()


class OpenPicture(Protocol):
    """A picture that an engine keeps ready while it is open."""

    @property
    def tier(self) -> Tier:
        """Where it was found."""

    def segment(
        self,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
        slots: Slots = FREE,
    ) -> Segmentation:
        """As ``Segmenter.segment``, without looking the picture up again. slots: for what it computes, and for the
        network where a part of the picture is looked at again. Raises what they raise, too."""

    def candidates(
        self,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
        slots: Slots = FREE,
    ) -> tuple[Segmentation, ...]:
        """The masks that the last click may mean, at least one, the smallest change first; see ``Engine.candidates``.
        Arguments and errors as for ``segment``."""


class Segmenter(Protocol):
    """What the backend needs of an engine. Implementations are stateless to their callers and safe under threads."""

    @property
    def model_version(self) -> str:
        """What platforms keep with the masks. Waits for nothing."""

    def segment(
        self,
        picture: Picture,
        clicks: Sequence[Click],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
    ) -> Segmentation:
        """The mask of the object that the clicks, the box and the mask describe.

        box: the object lies in it, and clicks correct what it gives. mask: bool ``(H, W)``, which clicks correct. Only
        negative clicks alone give an empty mask of score 0. Raises InvalidClicks, InvalidMask, and as ``open``.
        """

    def open(
        self, picture: Picture, deadline: Deadline = NEVER, slots: Slots = FREE
    ) -> AbstractContextManager[OpenPicture]:
        """Make the picture ready and keep it so while the block works.

        Raises OutOfMemory, DeadlineExceeded where no time is left, and what the slots raise.
        """

    def prepare(self, picture: Picture, deadline: Deadline = NEVER, slots: Slots = FREE) -> Tier:
        """Make the picture ready, so that its first click finds it; says where it was found. Raises as ``open``."""

    def propose(
        self, picture: Picture, examples: Sequence[Example], deadline: Deadline = NEVER, slots: Slots = FREE
    ) -> tuple[Proposal, ...]:
        """Objects of the picture that are like those of the examples, the surest first; none where nothing is. See
        ``Engine.propose``. Raises as ``open``."""

    def count_networks(self) -> int:
        """How many pictures it prepares at the same time, as far as it knows, at least one. Waits for nothing."""

    def status(self) -> EngineStatus:
        """For /health, /metrics and logs; never blocks for long."""


class ClickSegmenter(Protocol):
    """The part of a segmenter that a simulated annotator needs; a running server has it too."""

    def segment(
        self, picture: Image, clicks: Sequence[Click], /, box: Box | None = None, mask: Mask | None = None
    ) -> Segmentation:
        """As ``Engine.segment``. Raises ConfigurationError where it cannot be given a box or a mask."""

    def status(self) -> EngineStatus:
        """As ``Segmenter.status``."""
