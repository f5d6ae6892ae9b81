"""The mail room: an image reference of a task -> RGB array, with every limit.

Bytes come from four places and no other: the reference itself (``data:``), the folder of M2N2_LOCAL_FILES_ROOT, the
Label Studio of LABEL_STUDIO_URL (also for what lies in cloud storage), and the hosts of M2N2_ALLOWED_IMAGE_HOSTS.
"""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import parse_qs

from backend.images.cache import ImageCache, ImageCacheStatistics
from backend.images.data_uri import decode_data_uri
from backend.images.local import read_file
from backend.images.web import CLOUD_SCHEMES, UNPRINTABLE, WebImages, split_address
from backend.settings import Settings
from m2n2_engine.config import MEBIBYTE
from m2n2_engine.errors import ImageRefused, ImageUnavailable, InvalidImage
from m2n2_engine.image_file import decode_image
from m2n2_engine.types import Image

_LOCAL_FILES_PATH = "/data/local-files/"
_LONGEST_SHOWN = 160


@dataclasses.dataclass(frozen=True, slots=True)
class TaskImage:
    """An image as a task names it. reference: as it stands in the task's data. task_id: in Label Studio."""

    reference: str
    task_id: int | None


class ImageFetcher:
    """Fetches the images of tasks within the limits of the settings; safe under threads.

    max_pixels: no image of more pixels is decoded.
    """

    def __init__(self, settings: Settings) -> None:
        self.max_pixels = settings.max_image_megapixels * 1_000_000
        self._max_bytes = settings.max_image_mib * MEBIBYTE
        self._root = settings.local_files_root
        self._web = WebImages(settings)
        self._cache = ImageCache(settings.image_cache_mib * MEBIBYTE, settings.image_recheck_seconds)

    @property
    def cache_statistics(self) -> ImageCacheStatistics:
        """How the cache of decoded images is doing."""
        return self._cache.statistics

    def fetch_image(self, reference: str, task_id: int | None = None) -> Image:
        """The RGB uint8 (H, W, 3) image that a task's data refers to, turned upright; read-only.

        task_id: the task in Label Studio, by which it gives access to cloud storage; other references need none.

        Raises ImageRefused where a rule forbids it, ImageUnavailable where its bytes cannot be had, InvalidImage where
        they are no image. Every message names the reference, without its payload, password or signature.
        """
        try:
            # With the task: two projects may mean different storages by one cloud address.
            key = f"{task_id} {reference}"
            return self._cache.get(key, lambda: self._fetch_bytes(reference, task_id), self._decode)
        except (InvalidImage, ImageUnavailable) as error:
            raise type(error)(f"image {_shorten(reference)}: {error}") from None

    def _decode(self, data: bytes) -> Image:
        return decode_image(data, max_pixels=self.max_pixels)

    def _fetch_bytes(self, reference: str, task_id: int | None) -> bytes:
        if reference[:5].lower() == "data:":
            return decode_data_uri(reference, self._max_bytes)
        parts = split_address(reference)
        if parts.scheme == "file":
            raise ImageRefused("file: addresses are never read: give a path below M2N2_LOCAL_FILES_ROOT instead")
        if parts.scheme in CLOUD_SCHEMES:
            return self._web.download_cloud(reference, task_id, self._max_bytes)
        if parts.scheme or parts.netloc:
            return self._web.download(parts, self._max_bytes)
        path = self._web.strip_prefix(parts.path)
        if self._root and path == _LOCAL_FILES_PATH:
            return read_file(self._root, parse_qs(parts.query).get("d", [""])[0], self._max_bytes)
        if path.startswith("/data/"):
            return self._web.download(parts._replace(path=path), self._max_bytes)
        if self._root:
            return read_file(self._root, reference, self._max_bytes)
        raise ImageRefused(
            "not an address this server fetches from: use an upload, a local file of Label Studio, or data:; "
            "a folder of this server is opened by M2N2_LOCAL_FILES_ROOT"
        )


def _shorten(reference: str) -> str:
    """The reference for messages and logs: no payload, no password, no signature, one line."""
    if reference[:5].lower() == "data:":
        return f"data: URI of {len(reference)} characters"
    shown = reference if reference.startswith(_LOCAL_FILES_PATH) else reference.partition("?")[0]
    shown = UNPRINTABLE.sub("?", re.sub(r"//[^/]*@", "//", shown))
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
