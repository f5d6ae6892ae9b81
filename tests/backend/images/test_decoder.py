"""Decoding in a helper process: the same pixels, and an end to everything."""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from backend.images.decoder import Decoder, find_pool
from backend.images.pixel_budget import PixelBudget
from m2n2_engine.errors import DeadlineExceeded, InvalidImage
from m2n2_engine.image_file import decode_image
from m2n2_engine.image_file.orientation import Orientation
from m2n2_engine.types import NEVER, Deadline

MEGAPIXEL = 1_000_000
LONG_SECONDS = 60
"""Nothing waits this long unless it would wait forever."""

SHORT_SECONDS = 0.3


def make_decoder(timeout_seconds=LONG_SECONDS, budget=None, processes=2, max_pixels=100 * MEGAPIXEL):
    return Decoder(max_pixels, timeout_seconds, processes, budget or PixelBudget(128 * MEGAPIXEL))


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def draw(height=37, width=53, channels=3):
    return PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8))


def find_helpers(parent=None):
    """Process ids of the helpers of a process, by default this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, owner = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile
        if int(owner) == (parent or os.getpid()) and state != "Z" and b"decode_helper" in command:
            found.append(int(folder.name))
    return found


def wait_until(condition):
    end = time.monotonic() + LONG_SECONDS
    while not condition():
        assert time.monotonic() < end


SLOW = b"P3 4000 4000 255\n" + b"1 2 3\n" * 600_000
"""A file that takes seconds."""


# What is decoded


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_the_pixels_are_those_of_this_process(kind):
    data = encode(draw(), kind)
    np.testing.assert_array_equal(make_decoder().decode(data), decode_image(data))


def test_images_larger_than_a_band_are_whole_and_upright():
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    stored = draw(1500, 1000)
    data = encode(stored, exif=exif)
    expected = np.rot90(np.asarray(stored), -1)
    np.testing.assert_array_equal(make_decoder().decode(data), expected)
    np.testing.assert_array_equal(decode_image(data), expected)


def test_transparent_images_of_several_bands_are_laid_on_white():
    stored = draw(1300, 1000, channels=4)
    data = encode(stored)
    white = PillowImage.new("RGBA", stored.size, (255, 255, 255, 255))
    expected = np.asarray(PillowImage.alpha_composite(white, stored).convert("RGB"))
    np.testing.assert_array_equal(make_decoder().decode(data), expected)


@pytest.mark.parametrize(("rule", "shape"), [(Orientation.PAGE, (37, 53, 3)), (Orientation.FILE, (53, 37, 3))])
def test_the_rule_of_turning_reaches_the_helper(rule, shape):
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    assert make_decoder().decode(encode(draw(), "WEBP", exif=exif), orientation=rule).shape == shape


@pytest.mark.parametrize(
    "values", [np.linspace(0, 1, 37 * 53, dtype=np.float32), np.arange(37 * 53, dtype=np.int32) - 900]
)
def test_the_rule_of_values_is_that_of_this_process(values):
    data = encode(PillowImage.fromarray(values.reshape(37, 53)), "TIFF")
    np.testing.assert_array_equal(make_decoder().decode(data), decode_image(data))


def test_what_is_missing_of_a_file_is_told_with_its_name(caplog):
    whole = encode(draw(), "JPEG")
    decoder = make_decoder(processes=1)
    np.testing.assert_array_equal(decoder.decode(whole[:-2], name="a.jpg"), decode_image(whole))
    (message,) = caplog.messages
    assert message.startswith("image a.jpg: the JPEG file ends early or is damaged near its end, all of its rows")
    # And nothing of it with the next file.
    decoder.decode(whole, name="b.jpg")
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"no image at all", "no image file"),
        (b"<svg/>", "SVG is a drawing"),
        (encode(draw())[:300], "damaged"),
        (encode(draw(200, 200)), "more than the 30000 allowed: reduce it or raise M2N2_MAX_IMAGE_MEGAPIXELS"),
    ],
)
def test_what_is_wrong_with_an_image_is_told_and_the_helper_goes_on(data, message):
    decoder = make_decoder(max_pixels=30_000, processes=1)
    decoder.decode(encode(draw()))
    helpers = find_helpers()
    with pytest.raises(InvalidImage, match=message):
        decoder.decode(data)
    decoder.decode(encode(draw()))
    assert find_helpers() == helpers


def test_a_jpeg_of_many_scans_is_refused_by_its_bytes():
    data = encode(draw(), "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    many = data[:-2] + data[start:-2] * 1000 + data[-2:]
    for decode in (decode_image, make_decoder().decode):
        with pytest.raises(InvalidImage, match=r"the JPEG has \d+ scans, more than 100: export it again"):
            decode(many)
        decode(data)


# Time


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P3 4000 4000 255\n" + b"1 2 3\n" * 800_000, "a P3 file of 4800017 bytes is too slow to read"),
        (b"P6\n#" + b"x" * 60_000_000 + b"\n1 1 255\n123", "the P6 file is damaged or has a very long comment"),
    ],
)
def test_files_that_are_slow_to_read_are_refused_by_their_bytes(data, message):
    for decode in (decode_image, make_decoder().decode):
        with pytest.raises(InvalidImage, match=message):
            decode(data)


def test_an_image_that_takes_too_long_is_refused_and_its_helper_killed():
    make_decoder(processes=1).decode(encode(draw()))
    helpers = find_helpers()
    budget = PixelBudget(MEGAPIXEL)
    started = time.monotonic()
    with pytest.raises(InvalidImage, match=r"takes more than 0.3 s: .* raise M2N2_DECODE_TIMEOUT_SECONDS"):
        make_decoder(SHORT_SECONDS, budget, processes=1).decode(SLOW)
    assert time.monotonic() - started < LONG_SECONDS / 2
    assert budget.used == 0
    make_decoder(processes=1).decode(encode(draw()))
    assert len(set(find_helpers()) - set(helpers)) == 1


def test_a_click_whose_time_is_over_is_told_so():
    make_decoder(processes=1).decode(encode(draw()))
    with pytest.raises(DeadlineExceeded, match="no time is left to decode the image"):
        make_decoder(processes=1).decode(SLOW, Deadline.after(SHORT_SECONDS))


def test_who_finds_every_helper_at_work_has_a_deadline():
    decoder = make_decoder(processes=1)
    decoder.decode(encode(draw()))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(make_decoder(SHORT_SECONDS, processes=1).decode, SLOW)
        errors = []
        while not slow.done():
            try:
                decoder.decode(encode(draw()), Deadline.after(0))
            except DeadlineExceeded as error:
                errors.append(str(error))
        assert any("too much is asked at once" in error for error in errors)
        assert isinstance(slow.exception(), InvalidImage)
    decoder.decode(encode(draw()))


# Helpers that end


def test_a_helper_that_was_killed_is_replaced():
    decoder = make_decoder(processes=1)
    decoder.decode(encode(draw()))
    for helper in find_helpers():
        os.kill(helper, signal.SIGKILL)
    assert decoder.decode(encode(draw())).shape == (37, 53, 3)


def test_helpers_that_were_all_killed_with_nothing_to_do_cost_no_image():
    pool = find_pool(os.getpid(), 3)
    with pool.lend(NEVER), pool.lend(NEVER), pool.lend(NEVER):
        assert len(find_helpers()) >= 3
    for helper in find_helpers():
        os.kill(helper, signal.SIGKILL)
    wait_until(lambda: not find_helpers())
    assert make_decoder(processes=3).decode(encode(draw())).shape == (37, 53, 3)


def test_an_image_that_ends_two_helpers_is_refused():
    budget = PixelBudget(100 * MEGAPIXEL)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(make_decoder(budget=budget, processes=3).decode, SLOW)
        while not slow.done():
            if budget.used:  # its pixels are being decoded
                for helper in find_helpers():
                    os.kill(helper, signal.SIGKILL)
        with pytest.raises(InvalidImage, match="ended the process that did it"):
            slow.result()
    assert budget.used == 0


def test_a_helper_is_not_ended_by_the_signals_of_its_server():
    decoder = make_decoder(processes=1)
    decoder.decode(encode(draw()))
    helpers = find_helpers()
    for helper in helpers:
        os.kill(helper, signal.SIGTERM)
        os.kill(helper, signal.SIGINT)
    decoder.decode(encode(draw()))
    assert find_helpers() == helpers


def test_a_helper_ends_with_its_server():
    code = """
import io, sys
from PIL import Image
from backend.images.decoder import Decoder, find_pool
from backend.images.pixel_budget import PixelBudget
file = io.BytesIO()
Image.new("RGB", (3, 3)).save(file, "PNG")
Decoder(100, 60, 1, PixelBudget(100)).decode(file.getvalue())
print("decoded", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout.readline() == b"decoded\n"
        (helper,) = find_helpers(server.pid)
        server.kill()
    wait_until(lambda: not Path(f"/proc/{helper}").exists() or " Z " in Path(f"/proc/{helper}/stat").read_text())


def test_helpers_are_not_given_secrets(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a-secret")
    monkeypatch.setenv("M2N2_BASIC_AUTH_PASSWORD", "a-secret")
    before = find_helpers()
    make_decoder(processes=4).decode(encode(draw()))
    (helper,) = set(find_helpers()) - set(before)
    assert b"a-secret" not in Path(f"/proc/{helper}/environ").read_bytes()


# Memory


def test_a_helper_has_a_limit_of_memory():
    code = """
import numpy as np
from backend.images.decode_helper import limit_memory
limit_memory(0)
try:
    np.ones(300 << 20, np.uint8)
except MemoryError:
    print("refused")
limit_memory(300 << 20)
print(np.ones(300 << 20, np.uint8).nbytes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", str(300 << 20)]


def test_large_images_of_a_format_that_reserves_memory_early_are_decoded():
    data = encode(PillowImage.new("RGBA", (6000, 4000), (1, 2, 3, 255)), "WEBP", lossless=True)
    assert make_decoder().decode(data).shape == (4000, 6000, 3)


def test_pixels_count_until_nobody_holds_them():
    budget = PixelBudget(3000)
    decoder = make_decoder(budget=budget)
    first = decoder.decode(encode(draw()))
    row = first[3]
    assert budget.used == 37 * 53
    with pytest.raises(DeadlineExceeded, match="too many images are in hand"):
        decoder.decode(encode(draw()), Deadline.after(0.05))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(decoder.decode, encode(draw(), "BMP"), Deadline.after(LONG_SECONDS))
        assert not waiting.done()
        del first
        assert budget.used == 37 * 53
        del row
        gc.collect()
        assert waiting.result().shape == (37, 53, 3)
        del waiting
    gc.collect()
    assert budget.used == 0


def test_an_image_larger_than_the_budget_waits_until_it_is_alone():
    budget = PixelBudget(1000)
    decoder = make_decoder(budget=budget)
    small = decoder.decode(encode(draw(10, 10)))
    with pytest.raises(DeadlineExceeded):
        decoder.decode(encode(draw()), Deadline.after(0.05))
    del small
    assert decoder.decode(encode(draw())).shape == (37, 53, 3)


def test_a_budget_is_kept_by_threads_beside_each_other():
    budget, most, counting = PixelBudget(50), 0, threading.Lock()

    def work(pixels):
        nonlocal most
        budget.reserve(pixels, NEVER)
        with counting:
            most = max(most, budget.used)
        budget.release(pixels)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [20, 30, 10, 50, 25] * 40))
    assert 0 < most <= 50
    assert budget.used == 0
