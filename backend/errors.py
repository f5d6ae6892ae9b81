"""Errors of requests, beside those of the engine (``m2n2_engine.errors``).

    M2N2Error
    +-- InvalidInput
    |   +-- InvalidRequest       a payload that does not follow its protocol
    +-- ImageUnavailable         an image reference that could not be turned into bytes
    |   +-- ImageRefused         ... because a rule of this server forbids it
    +-- NotReady                 the model is still loading
    +-- Busy                     more is asked at once than is worked on

A message names the value that was wrong and what to do about it; it is safe to show to a client.
"""

from __future__ import annotations

from m2n2_engine.config import MEBIBYTE
from m2n2_engine.errors import InvalidInput, M2N2Error


class InvalidRequest(InvalidInput):
    """A payload that does not follow its protocol."""


class ImageUnavailable(M2N2Error):
    """An image reference that could not be turned into bytes."""


class ImageRefused(ImageUnavailable):
    """An image reference that a rule of this server forbids; the message names the setting."""


def image_too_large(max_bytes: int) -> ImageRefused:
    """The refusal of a file of more bytes than allowed."""
    return ImageRefused(f"more than {max_bytes // MEBIBYTE} MiB: reduce it or raise M2N2_MAX_IMAGE_MIB")


class NotReady(M2N2Error):
    """The model is still loading; the same request will work later."""


class Busy(M2N2Error):
    """More is asked at once than is worked on; the same request will work later."""
