"""Every error that the engine raises on purpose; ``backend.errors`` has those of requests.

    M2N2Error
    +-- InvalidInput             the caller's request cannot be answered as it is
    |   +-- InvalidImage         not an image, or not one the engine can take
    |   +-- InvalidClicks        no clicks, or a click that is no point of the image
    |   +-- InvalidMask          not a mask of the image, or none that clicks can start from
    +-- ConfigurationError       a setting that cannot work
    +-- WeightsError             model weights
    |   +-- WeightsUnavailable   not here, and not to be had
    |   +-- WeightsCorrupt       here, but not what they should be
    +-- DatasetError             a data set that is not there, cannot be had, or is not what it should be
    +-- DeadlineExceeded         the time for an answer is over
    +-- OutOfMemory              the device has no room for this image

A message names the value that was wrong and what to do about it; it is safe to show to a client.
"""


class M2N2Error(Exception):
    """Base of every error raised on purpose by this product."""


class InvalidInput(M2N2Error, ValueError):
    """The request cannot be answered as it is; the message says what to change."""


class InvalidImage(InvalidInput):
    """Not an image, or not one the engine can take."""


class InvalidClicks(InvalidInput):
    """No clicks, or a click that is no point of the image."""


class InvalidMask(InvalidInput):
    """Not a mask of the image, or none that clicks can start from."""


class ConfigurationError(M2N2Error, ValueError):
    """A setting that cannot work; raised at start, never while serving."""


class WeightsError(M2N2Error):
    """Something is wrong with a model's weights."""


class WeightsUnavailable(WeightsError):
    """The weights are not on this machine and could not be fetched."""


class WeightsCorrupt(WeightsError):
    """The weights are on this machine but their sha256 is not the recorded one."""


class DatasetError(M2N2Error):
    """A data set that is not there, cannot be had, or is not what it should be; the message says what to do."""


class OutOfMemory(M2N2Error):
    """The device has no room for this image, even with every other session dropped."""


class DeadlineExceeded(M2N2Error):
    """The time for this answer is over before it could be computed; the same request may work later."""
