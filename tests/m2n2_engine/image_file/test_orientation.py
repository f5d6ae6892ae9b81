"""Which way up a picture is: by Label Studio's page, and by whatever the file says."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from m2n2_engine.image_file import decode_image
from m2n2_engine.image_file.orientation import Orientation

STORED = PillowImage.new("RGB", (48, 32))
STORED_SIZE, TURNED_SIZE = (32, 48), (48, 32)
TURN = 6
ORIENTATION_TAG = 0x0112
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def exif() -> PillowImage.Exif:
    """A new one for each file: Pillow takes its orientation out where it writes an AVIF."""
    found = PillowImage.Exif()
    found[ORIENTATION_TAG] = TURN
    return found


def encode(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    STORED.save(file, kind, **options)
    return file.getvalue()


def png_with(name: str, text: str) -> bytes:
    texts = PngInfo()
    texts.add_text(name, text)
    return encode("PNG", pnginfo=texts)


def raw_profile() -> bytes:
    """A PNG as ImageMagick writes it: EXIF as a text of hexadecimal digits."""
    profile = b"Exif\0\0" + exif().tobytes().removeprefix(b"Exif\0\0")
    return png_with("Raw profile type exif", f"\nexif\n{len(profile):8}\n{profile.hex()}\n")


def tiff_with_xmp() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(STORED), photometric="rgb", extratags=[(700, "B", len(XMP), XMP, True)])
    return file.getvalue()


def size(data: bytes, rule: Orientation) -> tuple[int, int]:
    height, width, _ = decode_image(data, orientation=rule).shape
    return height, width


@pytest.mark.parametrize("kind", ["AVIF", "JPEG", "PNG", "TIFF"])
def test_both_rules_turn_what_a_browser_turns(kind: str) -> None:
    data = encode(kind, exif=exif())
    assert size(data, Orientation.PAGE) == size(data, Orientation.FILE) == TURNED_SIZE


@pytest.mark.parametrize(
    "data",
    [
        encode("WEBP", exif=exif()),
        encode("WEBP", xmp=XMP),
        encode("JPEG", xmp=XMP),
        png_with("XML:com.adobe.xmp", XMP.decode()),
        raw_profile(),
        tiff_with_xmp(),
    ],
    ids=["WebP with EXIF", "WebP with XMP", "JPEG with XMP", "PNG with XMP", "PNG with a raw profile", "TIFF with XMP"],
)
def test_what_a_browser_does_not_turn_is_turned_by_the_rule_of_the_file_alone(data: bytes) -> None:
    assert size(data, Orientation.PAGE) == STORED_SIZE
    assert size(data, Orientation.FILE) == TURNED_SIZE


def test_the_library_s_own_rule_is_that_of_the_file() -> None:
    assert decode_image(encode("WEBP", exif=exif())).shape[:2] == TURNED_SIZE
