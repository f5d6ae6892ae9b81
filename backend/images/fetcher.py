"""An image reference of a task -> the bytes of its file, with every limit.

Bytes come from four places and no other: the reference itself (``data:``), the folder of M2N2_LOCAL_FILES_ROOT, the
Label Studio of LABEL_STUDIO_URL (also for what lies in cloud storage), and the hosts of M2N2_ALLOWED_IMAGE_HOSTS.
"""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, unquote_to_bytes

from backend.errors import ImageRefused, image_too_large
from backend.images.cache import PictureCache, TaskImage
from backend.images.decoder import Decoder
from backend.images.local import read_file
from backend.images.pixel_budget import PixelBudget
from backend.images.web import CLOUD_SCHEMES, WebImages, split_address
from backend.settings import Settings
from m2n2_engine.config import MEBIBYTE
from m2n2_engine.errors import InvalidImage
from m2n2_engine.types import NEVER, Deadline, Image

_MEGAPIXEL = 1_000_000
_PIXEL_BYTES = 3
_LOCAL_FILES_PATH = "/data/local-files/"


def create_picture_cache(settings: Settings, max_bytes: int | None = None) -> PictureCache:
    """The pictures of tasks, within the limits of the settings. max_bytes: room for them, instead of the settings'."""
    max_bytes = settings.image_cache_mib * MEBIBYTE if max_bytes is None else max_bytes
    in_hand_pixels = settings.images_in_hand_megapixels * _MEGAPIXEL
    decoder = Decoder(
        settings.max_image_megapixels * _MEGAPIXEL,
        settings.decode_timeout_seconds,
        settings.decode_processes,
        PixelBudget(in_hand_pixels + max_bytes // _PIXEL_BYTES),
    )

    def decode(data: bytes, image: TaskImage, deadline: Deadline) -> Image:
        return decoder.decode(data, deadline, orientation=image.orientation, name=str(image))

    return PictureCache(max_bytes, settings.image_recheck_seconds, ImageFetcher(settings).fetch, decode)


class ImageFetcher:
    """Fetches the image files of tasks within the limits of the settings; safe under threads."""

    def __init__(self, settings: Settings) -> None:
        self._max_bytes = settings.max_image_mib * MEBIBYTE
        self._root = settings.local_files_root
        self._web = WebImages(settings)

    def fetch(self, image: TaskImage, deadline: Deadline = NEVER) -> bytes:
        """The file that a task's data refers to.

        Raises ImageRefused where a rule forbids it, ImageUnavailable where its bytes cannot be had, InvalidImage where
        the reference is damaged.
        """
        if image.file is not None:
            return image.file
        reference = image.reference
        if reference[:5].lower() == "data:":
            return decode_data_uri(reference, self._max_bytes)
        parts = split_address(reference)
        if parts.scheme == "file":
            raise ImageRefused("file: addresses are never read: give a path below M2N2_LOCAL_FILES_ROOT instead")
        if parts.scheme in CLOUD_SCHEMES:
            return self._web.download_cloud(reference, image.task_id, self._max_bytes, deadline)
        if parts.scheme or parts.netloc:
            return self._web.download(parts, self._max_bytes, deadline)
        path = self._web.strip_prefix(parts.path)
        if self._root and path == _LOCAL_FILES_PATH:
            return read_file(self._root, parse_qs(parts.query).get("d", [""])[0], self._max_bytes)
        if path.startswith("/data/"):
            return self._web.download(parts._replace(path=path), self._max_bytes, deadline)
        if self._root:
            return read_file(self._root, reference, self._max_bytes)
        raise ImageRefused(
            "not an address this server fetches from: use an upload, a local file of Label Studio, or data:; "
            "a folder of this server is opened by M2N2_LOCAL_FILES_ROOT"
        )


def decode_data_uri(uri: str, max_bytes: int) -> bytes:
    """The payload of a ``data:`` URI, as browsers read it. Raises ImageRefused where it must be larger than
    ``max_bytes``, InvalidImage where damaged."""
    head, comma, payload = uri.partition(",")
    if not comma:
        raise InvalidImage("a data: URI needs a comma before its data")
    is_base64 = head.lower().endswith(";base64")
    smallest = len(payload) - 2 * payload.count("%")
    if (smallest * 3 // 4 - 2 if is_base64 else smallest) > max_bytes:
        raise image_too_large(max_bytes)
    try:
        data = unquote_to_bytes(payload)
        return _decode_base64(data) if is_base64 else data
    except ValueError as error:
        raise InvalidImage(f"the data: URI is damaged: {error}") from None


def _decode_base64(data: bytes) -> bytes:
    """White space is skipped and the padding may be missing."""
    data = data.translate(None, b" \t\r\n\f")
    return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
