"""Damaged image files of every format that is read: pixels or a reason, no helper process ends, no time, no memory."""

from __future__ import annotations

import base64
import collections
import io
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image as PillowImage

from backend.images.decode_helper import BYTES_A_PIXEL
from backend.images.decoder import Decoder, find_pool
from backend.images.pixel_budget import PixelBudget
from backend.tools.load import draw_body
from m2n2_engine.errors import InvalidImage
from m2n2_engine.types import NEVER
from tests.helpers.soak.server import TINY, Server

MUTATIONS = 3000 if os.environ.get("SOAK") == "1" else 120
MOST_PIXELS = 1_000_000
TIMEOUT_SECONDS = 5.0
MOST_SECONDS = TIMEOUT_SECONDS + 1
MOST_HELPER_BYTES = 400 * 1024 * 1024
"""Of the helper at any time: itself, and what it may take for an image of so many pixels."""

LONGEST_DECODING_SECONDS = 60.0
MOST_GROWTH_BYTES = 48 * 1024 * 1024
POOL, BOMB_POOL = 5, 2
"""Sizes of pools. No other test uses the first, so that its helper has seen these files alone."""


def encode(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def make_files() -> list[bytes]:
    """20 files of every format, in the forms that decoders have code of their own for."""
    rng = np.random.default_rng(0)
    rgb = PillowImage.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8))
    rgba = PillowImage.fromarray(rng.integers(0, 256, (40, 56, 4), np.uint8))
    grey = PillowImage.fromarray(rng.integers(0, 65536, (40, 56), np.uint16))
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    palette = rgb.quantize(64)
    return [
        encode(rgb, "JPEG"),
        encode(rgb, "JPEG", progressive=True, subsampling=0),
        encode(rgb, "JPEG", exif=exif),
        encode(rgb.convert("CMYK"), "JPEG"),
        encode(rgb.convert("L"), "JPEG"),
        encode(rgba, "PNG"),
        encode(grey, "PNG"),
        encode(palette, "PNG", transparency=3),
        encode(palette, "GIF", save_all=True, append_images=[rgb.quantize(16)]),
        encode(rgb, "BMP"),
        encode(palette, "BMP"),
        encode(rgb, "PPM"),
        encode(rgb, "TIFF"),
        encode(rgba, "TIFF", compression="tiff_lzw"),
        encode(rgb, "TIFF", compression="jpeg"),
        encode(grey, "TIFF", compression="tiff_adobe_deflate"),
        encode(rgba, "WEBP"),
        encode(rgb, "WEBP", lossless=True),
        encode(rgb, "JPEG2000"),
        encode(rgb, "AVIF", speed=10),
    ]


def mutate(files: list[bytes], count: int) -> Iterator[bytes]:
    """So many damaged files; the same ones at every run."""
    rng = random.Random(0)
    for number in range(count):
        data = bytearray(files[number % len(files)])
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            place = rng.randrange(min(len(data), rng.choice((64, 512, len(data)))))
            match rng.randrange(6):
                case 0:
                    data[place] ^= 1 << rng.randrange(8)
                case 1:
                    data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
                case 2:
                    data[place : place + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
                case 3:
                    del data[place : place + rng.randrange(1, 64)]
                case 4:
                    data[place:place] = data[place : place + rng.randrange(1, 64)]
                case 5:
                    other = files[rng.randrange(len(files))]
                    data[place:] = other[min(place, len(other)) :]
            data = data or bytearray(b"\0")
        yield bytes(data)


def read_memory(process: int, name: str) -> int:
    """A figure of a process's memory, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


@pytest.fixture
def helper() -> int:
    """Process id of the helper that decodes the files."""
    with find_pool(os.getpid(), POOL).lend(NEVER) as lent:
        return lent.process_id


def test_damaged_files_end_in_pixels_or_in_a_reason(helper: int) -> None:
    budget = PixelBudget(MOST_PIXELS)
    decoder = Decoder(MOST_PIXELS, TIMEOUT_SECONDS, POOL, budget)
    files = make_files()
    assert len(files) == 20
    for data in files:
        assert decoder.decode(data).shape[2] == 3
    before = read_memory(os.getpid(), "VmRSS")
    ends: collections.Counter[str] = collections.Counter()
    longest_seconds = 0.0
    for data in mutate(files, MUTATIONS):
        started = time.monotonic()
        try:
            ends["pixels" if decoder.decode(data).ndim == 3 else "no pixels"] += 1
        except InvalidImage as error:
            ends[str(error)[:25]] += 1
        longest_seconds = max(longest_seconds, time.monotonic() - started)
    growth = read_memory(os.getpid(), "VmRSS") - before
    helper_bytes = read_memory(helper, "VmHWM")  # still there: none of the files has ended it
    sys.stdout.write(
        f"\n{MUTATIONS} damaged files: {ends.total() - ends['pixels']} refused, longest {longest_seconds:.2f} s, "
        f"helper at most {helper_bytes / 1e6:.0f} MB, growth here {growth / 1e6:.1f} MB\n"
    )
    assert longest_seconds < MOST_SECONDS
    assert helper_bytes < MOST_HELPER_BYTES
    assert growth < MOST_GROWTH_BYTES
    assert ends["pixels"]
    assert ends["the image file is damaged"]
    assert budget.used == 0


def test_small_files_of_many_pixels_are_decoded_one_after_the_other(is_full: bool) -> None:
    width = 10_000 if is_full else 1_500
    data = encode(PillowImage.new("RGBA", (width, width), (10, 20, 30, 255)), "WEBP", lossless=True)
    assert len(data) < 10_000
    budget = PixelBudget(width * width)
    decoder = Decoder(width * width, LONGEST_DECODING_SECONDS, BOMB_POOL, budget)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(lambda: decoder.decode(data).shape) for _ in range(8)]
        assert {one.result() for one in waiting} == {(width, width, 3)}
    helpers = find_pool(os.getpid(), BOMB_POOL)
    with helpers.lend(NEVER) as first, helpers.lend(NEVER) as second:
        most_bytes = sum(read_memory(helper.process_id, "VmHWM") for helper in (first, second))
    sys.stdout.write(f"\n8 files of {width} x {width} pixels: helpers at most {most_bytes / 1e6:.0f} MB together\n")
    # The most of both, though they were not at it at the same time.
    assert most_bytes < 2 * (BYTES_A_PIXEL * width * width + MOST_HELPER_BYTES)
    assert budget.used == 0


def find_helpers(mark: str) -> list[int]:
    """Process ids of the helpers of the server that was started with this in its environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"decode_helper" in (folder / "cmdline").read_bytes() and mark in (folder / "environ").read_text():
                found.append(int(folder.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def test_a_server_loses_no_click_with_its_helper_and_takes_it_along(tmp_path: Path) -> None:
    mark = f"DECODER_TEST={tmp_path}"
    name, _, value = mark.partition("=")
    with Server({**TINY, name: value}, tmp_path / "server.log") as server:
        for annotator in range(3):
            for helper in find_helpers(mark):
                os.kill(helper, signal.SIGKILL)
            image = base64.b64encode(make_files()[annotator]).decode()
            body = draw_body(annotator, clicks=1, size=(40, 56), image=f"data:image/jpeg;base64,{image}")
            answer = requests.post(f"{server.url}/predict", json=body, timeout=LONGEST_DECODING_SECONDS)
            assert answer.status_code == 200, answer.text
        assert len(find_helpers(mark)) == 1
        server.terminate()
        assert server.wait() == 0
        end = time.monotonic() + LONGEST_DECODING_SECONDS
        while find_helpers(mark):
            assert time.monotonic() < end
