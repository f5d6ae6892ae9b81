"""The command line: what it writes and prints, and one clear line for what a person got wrong."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from backend.cli.doctor import run_doctor
from backend.cli.main import app, make_tool_settings
from backend.settings import load_settings
from m2n2_engine.backbones.devices import Hardware
from m2n2_engine.config import WeightsConfig
from m2n2_engine.errors import M2N2Error
from m2n2_engine.tools import demo
from m2n2_engine.types import Click, Image, Mask, Segmenter

pytestmark = pytest.mark.usefixtures("one_thread")

DISC = ["--point", "40.5,36"]
GROUND = ["--negative", "85,10"]
BOX = ["--box", "18,14,63,58"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The tiny backbone, empty caches, no connections."""
    settings = {
        "M2N2_BACKBONE": "tiny",
        "M2N2_CACHE_FOLDER": str(tmp_path / "cache"),
        "M2N2_DISK_CACHE_FOLDER": str(tmp_path / "attention"),
        "M2N2_DISK_CACHE_MIB": "64",
        "M2N2_OFFLINE": "true",
    }
    for name in os.environ:
        if name.startswith("M2N2_"):
            monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def disc(draw_disc: Callable[..., tuple[Image, Mask]]) -> Mask:
    return draw_disc()[1]


@pytest.fixture
def image_file(tmp_path: Path, draw_disc: Callable[..., tuple[Image, Mask]]) -> Path:
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), draw_disc()[0][:, :, ::-1])
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output.png"


@pytest.fixture
def m2n2() -> Callable[..., Result]:
    """Run a command as the entry point would; the arguments may be paths."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


Run = Callable[..., Result]


def succeed(result: Result) -> str:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


def problem(result: Result) -> str:
    """What the entry point would print of an error raised on purpose: one line."""
    assert isinstance(result.exception, M2N2Error), repr(result.exception)
    assert "\n" not in str(result.exception)
    assert result.stdout == ""
    return str(result.exception)


def usage_problem(result: Result) -> str:
    """What Typer prints of arguments that are wrong, its frame and line breaks removed."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return re.sub(r"[\s│]+", " ", result.stderr)


# --- segment


def test_segment_writes_a_mask(
    m2n2: Run, image_file: Path, output: Path, disc: Mask, iou: Callable[[Mask, Mask], float]
) -> None:
    printed = succeed(m2n2("segment", image_file, *DISC, *GROUND, "-o", output))
    mask = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    assert (mask.shape, mask.dtype, set(np.unique(mask))) == ((72, 96), np.uint8, {0, 255})
    assert iou(mask > 0, disc) > 0.9
    assert f"{output}: {(mask > 0).sum()} of 6912 pixels" in printed
    assert "tiny (asked for) on cpu, grid 24x24, preset paper" in printed


def test_segment_writes_an_overlay(m2n2: Run, image_file: Path, output: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.jpg"
    succeed(m2n2("segment", image_file, *DISC, *GROUND, "-o", output, "--overlay", overlay))
    image, mask = cv2.imread(str(image_file)), cv2.imread(str(output), cv2.IMREAD_UNCHANGED) > 0
    drawn = cv2.imread(str(overlay)).astype(int)
    assert drawn.shape == image.shape
    blue, green, red = drawn[36, 40]
    assert green > max(blue, red) + 50  # the positive click's dot
    blue, green, red = drawn[10, 85]
    assert red > max(blue, green) + 50  # the negative click's dot
    assert np.abs(drawn - image)[mask].mean() > 40
    far_away = np.zeros(mask.shape, bool)
    far_away[60:, 70:] = True
    assert np.abs(drawn - image)[far_away & ~mask].mean() < 5


def test_segment_takes_several_points_and_another_grid(m2n2: Run, image_file: Path, output: Path) -> None:
    points = ["--point", "30,36", "--point", "50,36"]
    assert "grid 16x16" in succeed(m2n2("segment", image_file, *points, "-o", output, "--grid", 16))
    mask = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    assert mask[36, 30] == mask[36, 50] == 255


def test_segment_takes_a_preset_and_constants(
    m2n2: Run, image_file: Path, output: Path, disc: Mask, iou: Callable[[Mask, Mask], float]
) -> None:
    printed = succeed(m2n2("segment", image_file, *DISC, "-o", output, "--preset", "consensus"))
    assert "preset consensus" in printed
    assert iou(cv2.imread(str(output), cv2.IMREAD_UNCHANGED) > 0, disc) > 0.95
    succeed(m2n2("segment", image_file, *DISC, "-o", output, "--set", "click_area_limit=0.01"))
    assert 0 < (cv2.imread(str(output), cv2.IMREAD_UNCHANGED) > 0).mean() <= 0.011


def test_a_preset_and_a_constant_that_are_not_there(m2n2: Run, image_file: Path, output: Path) -> None:
    found = problem(m2n2("segment", image_file, *DISC, "-o", output, "--preset", "best"))
    assert found == "unknown preset 'best': use one of auto, paper, consensus, paper-consensus"
    found = usage_problem(m2n2("segment", image_file, *DISC, "-o", output, "--set", "heat=1"))
    assert "no constant 'heat'" in found


def test_a_map_with_other_constants_is_another_one(m2n2: Run, image_file: Path, output: Path) -> None:
    succeed(m2n2("markov-map", image_file, *DISC, "-o", output))
    before = output.read_bytes()
    succeed(m2n2("markov-map", image_file, *DISC, "-o", output, "--set", "temperature=2"))
    assert output.read_bytes() != before


@pytest.mark.parametrize("text", ["40", "40,36,1", "a,b", "", "40;36"])
def test_a_point_is_x_and_y(m2n2: Run, image_file: Path, output: Path, text: str) -> None:
    found = usage_problem(m2n2("segment", image_file, "--point", text, "-o", output))
    assert f"'{text}' is no point: write X,Y in pixels, for example 120,64.5" in found


def test_a_point_lies_in_the_image(m2n2: Run, image_file: Path, output: Path) -> None:
    found = problem(m2n2("segment", image_file, "--point", "97,36", "-o", output))
    assert found == "the click (97, 36) is outside the image: use 0 <= x <= 96, 0 <= y <= 72"
    assert "(nan, 36.0) is no point" in problem(m2n2("segment", image_file, "--point", "nan,36", "-o", output))
    assert not output.exists()


def test_segment_takes_a_box_without_points(
    m2n2: Run, image_file: Path, output: Path, disc: Mask, iou: Callable[[Mask, Mask], float]
) -> None:
    overlay = output.with_name("overlay.png")
    succeed(m2n2("segment", image_file, *BOX, "-o", output, "--preset", "consensus", "--overlay", overlay))
    mask = cv2.imread(str(output), cv2.IMREAD_UNCHANGED) > 0
    assert iou(mask, disc) > 0.9
    blue, green, red = cv2.imread(str(overlay))[14, 30].astype(int)
    assert green > max(blue, red) + 100  # the box's upper side


def test_points_correct_the_mask_of_a_box_and_stay_in_it(m2n2: Run, image_file: Path, output: Path) -> None:
    def segment(*prompt: str) -> Mask:
        succeed(m2n2("segment", image_file, "-o", output, "--preset", "consensus", *prompt))
        return cv2.imread(str(output), cv2.IMREAD_UNCHANGED) > 0

    alone = segment(*BOX)
    smaller = segment(*BOX, "--negative", "40,36")
    assert alone[36, 40]
    assert not smaller[36, 40]
    assert not (smaller & ~alone).any()
    larger = segment(*BOX, "--point", "20,16")
    assert not alone[16, 20]
    assert larger[16, 20]
    assert not (alone & ~larger).any()
    larger[14:58, 18:63] = False
    assert not larger.any()


def test_strokes_of_both_signs(m2n2: Run, image_file: Path, output: Path, tmp_path: Path, disc: Mask) -> None:
    overlay = tmp_path / "overlay.png"
    paths = ["--stroke", "30,36 40,26 50,36", "--negative-stroke", "30,46 50,46"]
    succeed(m2n2("segment", image_file, *paths, "-o", output, "--preset", "consensus", "--overlay", overlay))
    mask = cv2.imread(str(output), cv2.IMREAD_UNCHANGED) > 0
    assert mask[36, 30]
    assert mask[26, 40]
    assert not mask[46, 30:51].any()
    blue, green, red = cv2.imread(str(overlay))[46, 45].astype(int)
    assert red > max(blue, green) + 100


@pytest.mark.parametrize("text", ["", " ", "40,36 41", "a,b", "40,36,41,37"])
def test_a_stroke_is_points(m2n2: Run, image_file: Path, output: Path, text: str) -> None:
    found = usage_problem(m2n2("segment", image_file, "--stroke", text, "-o", output))
    assert "a stroke needs points" in found or "is no point: write X,Y in pixels" in found


def test_points_correct_a_mask_from_a_file(
    m2n2: Run, image_file: Path, output: Path, tmp_path: Path, disc: Mask
) -> None:
    path = tmp_path / "start.png"
    cv2.imwrite(str(path), disc.astype(np.uint8) * 255)
    succeed(m2n2("segment", image_file, "--mask", path, "-o", output, "--preset", "consensus"))
    np.testing.assert_array_equal(cv2.imread(str(output), cv2.IMREAD_UNCHANGED) > 0, disc)
    corrected = ["--negative", "40,36", "--mask", path]
    succeed(m2n2("segment", image_file, *corrected, "-o", output, "--preset", "consensus"))
    assert not (cv2.imread(str(output), cv2.IMREAD_UNCHANGED) > 0)[36, 40]
    cv2.imwrite(str(path), np.zeros((8, 9), np.uint8))
    found = problem(m2n2("segment", image_file, *corrected, "-o", output, "--preset", "consensus"))
    assert found.startswith("the mask has 9 x 8 pixels, but the image 96 x 72: give it at the size of the image")


@pytest.mark.parametrize("text", ["40,36", "1,2,3,4,5", "a,b,c,d", "", "18;14;63;59"])
def test_a_box_is_left_top_right_and_bottom(m2n2: Run, image_file: Path, output: Path, text: str) -> None:
    found = usage_problem(m2n2("segment", image_file, "--box", text, "-o", output))
    assert f"'{text}' is no box: write LEFT,TOP,RIGHT,BOTTOM in pixels, for example 40,30,200,180.5" in found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("63,14,18,59", "the box from (63, 14) to (18, 59)"),
        ("18,14,97,59", "the box from (18, 14) to (97, 59)"),
        ("nan,14,63,59", "the box from (nan, 14) to (63, 59)"),
    ],
)
def test_a_box_has_an_area_and_lies_in_the_image(
    m2n2: Run, image_file: Path, output: Path, text: str, told: str
) -> None:
    found = problem(m2n2("segment", image_file, "--box", text, "-o", output))
    assert found == f"{told} cannot be used: it needs 0 <= left < right <= 96 and 0 <= top < bottom <= 72"
    assert not output.exists()


@pytest.mark.parametrize("command", ["segment", "markov-map"])
def test_an_output_is_asked_for(m2n2: Run, image_file: Path, command: str) -> None:
    assert "Missing option '--output'" in usage_problem(m2n2(command, image_file, *DISC))


def test_a_point_or_a_box_is_asked_for(m2n2: Run, image_file: Path, output: Path) -> None:
    for prompt in ([], GROUND):
        found = usage_problem(m2n2("segment", image_file, *prompt, "-o", output))
        assert "no object is named: give --point X,Y, --stroke 'X,Y X,Y ...', --box LEFT,TOP,RIGHT,BOTTOM" in found
    assert "Missing option '--point'" in usage_problem(m2n2("markov-map", image_file, "-o", output))


def test_an_image_that_is_not_there(m2n2: Run, tmp_path: Path, output: Path) -> None:
    path = tmp_path / "nothing.png"
    expected = f"{path} cannot be read: No such file or directory"
    assert problem(m2n2("segment", path, *DISC, "-o", output)) == expected
    assert problem(m2n2("markov-map", path, *DISC, "-o", output)) == expected


def test_an_image_that_is_none(m2n2: Run, tmp_path: Path, output: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    assert problem(m2n2("segment", path, *DISC, "-o", output)).startswith(f"{path}: these 5 bytes are no image file")


def test_a_backbone_that_nobody_knows(m2n2: Run, image_file: Path, output: Path) -> None:
    found = problem(m2n2("segment", image_file, *DISC, "-o", output, "--backbone", "resnet"))
    assert found.startswith("unknown backbone 'resnet': use one of auto, dinov2-small, ")


def test_weights_that_are_not_at_hand(m2n2: Run, image_file: Path, output: Path) -> None:
    found = problem(m2n2("segment", image_file, *DISC, "-o", output, "--backbone", "dinov2-small"))
    assert "Run `m2n2 weights get dinov2-small`" in found


@pytest.mark.parametrize("command", ["segment", "markov-map"])
def test_an_output_that_cannot_be_written(m2n2: Run, image_file: Path, tmp_path: Path, command: str) -> None:
    path = tmp_path / "no folder" / "mask.png"
    found = problem(m2n2(command, image_file, *DISC, "-o", path))
    assert found == f"{path} cannot be written: No such file or directory"
    strange = tmp_path / "mask.xyz"
    assert problem(m2n2(command, image_file, *DISC, "-o", strange)) == (
        f"{strange}: no picture can be written as '.xyz': use .png"
    )


# --- markov-map


def find_panels(figure: Image) -> list[Image]:
    """The parts of a figure that white columns separate, without the white rows above them."""
    rows = figure[np.flatnonzero((figure != 255).any(axis=(1, 2)))]
    dark = np.concatenate([[False], (rows != 255).any(axis=(0, 2)), [False]]).astype(int)
    starts, ends = np.flatnonzero(np.diff(dark) == 1), np.flatnonzero(np.diff(dark) == -1)
    return [rows[:, start:end] for start, end in zip(starts, ends, strict=True)]


def test_markov_map_stands_beside_the_image_with_its_scale(m2n2: Run, image_file: Path, output: Path) -> None:
    printed = succeed(m2n2("markov-map", image_file, *DISC, "-o", output))
    assert re.fullmatch(rf"{re.escape(str(output))}: 0 to \d+\.\d steps\n", printed)
    panels = find_panels(cv2.imread(str(output)))
    image = np.repeat(np.repeat(cv2.imread(str(image_file)), 5, axis=0), 5, axis=1)  # five times: room for text
    (height, width), found = image.shape[:2], panels[0][-image.shape[0] :]
    changed = (found != image).any(axis=2)
    assert 100 < changed.sum() < 1000
    rows, columns = changed.nonzero()
    assert (rows.mean(), columns.mean()) == pytest.approx((36 * 5, 40.5 * 5), abs=2)  # the ring is around the point
    walk = panels[1][-height:].astype(int)
    assert walk.shape == (height, width, 3)
    bar = panels[2][-height:].astype(int).sum(axis=2)
    assert bar[-20, 5] < bar[height // 2, 5] < bar[20, 5]
    assert len(panels) > 3  # the numbers beside the bar


def test_markov_map_is_dark_near_and_bright_far(m2n2: Run, image_file: Path, output: Path, disc: Mask) -> None:
    succeed(m2n2("markov-map", image_file, *DISC, "-o", output))
    walk = find_panels(cv2.imread(str(output)))[1][-360:].astype(int).sum(axis=2)[2::5, 2::5]
    y, x = np.mgrid[:72, :96]
    unmarked = (x - 40) ** 2 + (y - 36) ** 2 > 4**2
    assert walk[36, 40] == walk.min()
    assert walk[~disc].mean() > 5 * walk[disc & unmarked].mean()


def test_markov_map_of_a_large_image_is_drawn_at_the_working_size(
    m2n2: Run, image_file: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2N2_WORKING_SIZE_PIXELS", "480")
    large = cv2.resize(cv2.imread(str(image_file)), (960, 720), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(image_file), large)
    succeed(m2n2("markov-map", image_file, "--point", "405,360", "-o", output))
    walk = find_panels(cv2.imread(str(output)))[1][-360:].astype(int).sum(axis=2)
    assert walk.shape == (360, 480)
    assert walk[180, 202] == walk.min()
    found = problem(m2n2("markov-map", image_file, "--point", "961,36", "-o", output))
    assert found == "the click (961, 36) is outside the image: use 0 <= x <= 960, 0 <= y <= 720"


# --- demo


def test_demo_without_a_display_says_what_to_do(m2n2: Run, image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", "")
    assert problem(m2n2("demo", image_file)).startswith("no window can be opened here (qt.qpa.xcb: could not connect")
    found = problem(m2n2("demo", image_file.with_name("nothing.png")))
    assert found.endswith("nothing.png cannot be read: No such file or directory")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_demo_opens_a_window_on_the_image(
    m2n2: Run, image_file: Path, tmp_path: Path, disc: Mask, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    def click(image: Image, segmenter: Segmenter, target: Path, report: Callable[[str], None]) -> None:
        mask = segmenter.segment(image, [Click(40.5, 36)]).mask
        report(f"[{target}] {mask[disc].mean() > 0.9} {segmenter.status().grid}")

    monkeypatch.setattr(demo, "require_display", lambda: None)
    monkeypatch.setattr(demo, "run_demo", click)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    options = ["--output", folder] if elsewhere else []
    expected = (folder if elsewhere else tmp_path) / "image"
    assert succeed(m2n2("demo", image_file, "--grid", 16, *options)) == f"[{expected}] True 16x16\n"


# --- doctor


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def verdicts(printed: str) -> dict[str, str]:
    """Name of each check -> its verdict."""
    lines = [
        re.fullmatch(r"(ok|problem) +(python|torch|device|\w+(?: folder| cache)?) +(.+)", line)
        for line in printed.splitlines()
    ]
    return {line[2]: line[1] for line in lines if line}


ALL_OK = dict.fromkeys(["python", "torch", "device", "backbone", "weights", "cache folder", "disk cache", "port"], "ok")


def test_doctor_finds_nothing(m2n2: Run, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setenv("M2N2_PORT", str(free_port))
    printed = succeed(m2n2("doctor"))
    assert verdicts(printed) == ALL_OK
    assert "tiny: asked for (others: dinov2-small, " in printed
    assert "tiny needs none" in printed
    assert f"{free_port} is free" in printed


def test_doctor_finds_the_port_in_use(m2n2: Run, monkeypatch: pytest.MonkeyPatch, busy_port: int) -> None:
    monkeypatch.setenv("M2N2_PORT", str(busy_port))
    result = m2n2("doctor")
    assert result.exit_code == 1
    assert verdicts(result.stdout) == {**ALL_OK, "port": "problem"}
    assert f"port {busy_port} cannot be used (Address already in use): stop what uses it" in result.stdout
    assert f"M2N2_PORT={busy_port + 1}" in result.stdout


def test_doctor_looks_at_cvat_s_port_too(
    m2n2: Run, monkeypatch: pytest.MonkeyPatch, free_port: int, busy_port: int
) -> None:
    monkeypatch.setenv("M2N2_PORT", str(free_port))
    monkeypatch.setenv("M2N2_CVAT_PORT", str(busy_port))
    result = m2n2("doctor")
    assert verdicts(result.stdout) == {**ALL_OK, "port": "problem"}
    assert f"M2N2_CVAT_PORT={busy_port + 1}" in result.stdout


def test_doctor_finds_a_gpu_that_is_not_used(m2n2: Run, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setenv("M2N2_PORT", str(free_port))
    unreached = Hardware(has_nvidia=True, torch_cuda="13.0", driver="470.256.02")
    monkeypatch.setattr("m2n2_engine.backbones.devices.look_at_hardware", lambda: unreached)
    result = m2n2("doctor")
    assert verdicts(result.stdout) == {**ALL_OK, "device": "problem"}
    assert (
        "cpu: a GPU of NVIDIA is in this machine and not used: torch for CUDA 13.0 does not reach it" in result.stdout
    )
    monkeypatch.setenv("M2N2_DEVICE", "cpu")
    assert verdicts(succeed(m2n2("doctor"))) == ALL_OK


def test_doctor_works_where_processors_cannot_be_told_apart(
    m2n2: Run, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    """As on macOS, where there is no sched_getaffinity."""
    monkeypatch.setenv("M2N2_PORT", str(free_port))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert "cpu, 10 processors" in succeed(m2n2("doctor"))


def test_doctor_goes_on_after_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free_port: int
) -> None:
    monkeypatch.setenv("M2N2_PORT", str(free_port))
    monkeypatch.setenv("M2N2_BACKBONE", "dinov2-small")
    monkeypatch.setenv("M2N2_DEVICE", "cuda:99")
    assert not run_doctor(make_tool_settings(load_settings()), wanted_free_bytes=2**80)
    printed = capsys.readouterr().out
    failing = dict.fromkeys(["device", "backbone", "weights", "cache folder"], "problem")
    assert verdicts(printed) == {**ALL_OK, **failing}
    assert "MiB free: make room, or set M2N2_CACHE_FOLDER" in printed
    assert printed.count("no device 'cuda:99' on this machine") == 3


def test_doctor_misses_the_weights(m2n2: Run, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setenv("M2N2_PORT", str(free_port))
    monkeypatch.setenv("M2N2_BACKBONE", "dinov2-small")
    result = m2n2("doctor")
    assert verdicts(result.stdout) == {**ALL_OK, "weights": "problem"}
    assert "dinov2-small is not at hand: run `m2n2 weights get dinov2-small`" in result.stdout


def test_doctor_shows_the_disk_cache(
    m2n2: Run, monkeypatch: pytest.MonkeyPatch, free_port: int, stored: Path, image_file: Path
) -> None:
    monkeypatch.setenv("M2N2_PORT", str(free_port))
    assert f"{stored.parent}: 1 images, 0 of 64 MiB, " in succeed(m2n2("doctor"))
    monkeypatch.setenv("M2N2_DISK_CACHE_MIB", str(2**40))
    result = m2n2("doctor")
    assert verdicts(result.stdout) == {**ALL_OK, "disk cache": "problem"}
    assert "MiB free: make room, or lower M2N2_DISK_CACHE_MIB" in result.stdout
    monkeypatch.setenv("M2N2_DISK_CACHE_FOLDER", str(image_file))
    assert f"{image_file} is not writable: set M2N2_DISK_CACHE_FOLDER to a folder that is" in m2n2("doctor").stdout
    monkeypatch.setenv("M2N2_DISK_CACHE_MIB", "0")
    assert "off: M2N2_DISK_CACHE_MIB is 0" in succeed(m2n2("doctor"))


def test_doctor_names_a_disk_cache_that_others_may_write_to(
    m2n2: Run, monkeypatch: pytest.MonkeyPatch, free_port: int, stored: Path
) -> None:
    monkeypatch.setenv("M2N2_PORT", str(free_port))
    stored.parent.chmod(0o777)
    result = m2n2("doctor")
    assert verdicts(result.stdout) == {**ALL_OK, "disk cache": "problem"}
    assert f"{stored.parent} is open to other users (mode 777): run chmod -R go-rwx" in result.stdout


# --- cache


@pytest.fixture
def stored(m2n2: Run, image_file: Path, output: Path, tmp_path: Path) -> Path:
    """The file of the one image that the disk cache holds."""
    succeed(m2n2("segment", image_file, *DISC, "-o", output))
    (path,) = (tmp_path / "attention").glob("*.safetensors")
    return path


def test_cache_stats(m2n2: Run, stored: Path) -> None:
    printed = succeed(m2n2("cache", "stats")).splitlines()
    assert printed[:2] == [f"folder  {stored.parent}", "budget  64 MiB"]
    assert re.fullmatch(r"images  1 images, 0\.\d MiB", printed[2])
    assert re.fullmatch(r"used    \d{4}-\d\d-\d\d \d\d:\d\d:\d\d to \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", printed[3])


def test_cache_stats_of_what_is_off(m2n2: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("M2N2_DISK_CACHE_MIB", "0")
    printed = succeed(m2n2("cache", "stats"))
    assert "budget  0: the cache is off\nimages  0 images, 0.0 MiB\n" in printed
    assert not (tmp_path / "attention").exists()


def test_cache_clear(m2n2: Run, stored: Path) -> None:
    assert succeed(m2n2("cache", "clear")).startswith("deleted 1 images, 0.")
    assert not stored.exists()
    assert succeed(m2n2("cache", "clear")).startswith("deleted 0 images, 0.0 MiB from ")


def test_cache_verify(m2n2: Run, stored: Path) -> None:
    used = stored.stat().st_mtime_ns
    assert succeed(m2n2("cache", "verify")).endswith(" MiB read, 0 cannot be used\n")
    assert stored.stat().st_mtime_ns == used
    content = stored.read_bytes()
    stored.write_bytes(content[:-1])
    result = m2n2("cache", "verify")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{stored}: its signature is not of this installation's key, or its content")
    assert "1 cannot be used\n" in result.stdout
    assert stored.exists()
    assert succeed(m2n2("cache", "verify", "--delete")).endswith("1 cannot be used, deleted\n")
    assert not stored.exists()


def test_a_cache_folder_that_is_none(m2n2: Run, monkeypatch: pytest.MonkeyPatch, image_file: Path) -> None:
    monkeypatch.setenv("M2N2_DISK_CACHE_FOLDER", str(image_file))
    expected = f"{image_file} cannot be used: Not a directory: set M2N2_DISK_CACHE_FOLDER to a folder that can"
    assert problem(m2n2("cache", "stats")) == expected


# --- weights


@pytest.fixture
def fetched(embedded_weights: WeightsConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of dinov2-small, in the cache that the settings name."""
    monkeypatch.setenv("M2N2_CACHE_FOLDER", str(embedded_weights.cache_folder))
    return embedded_weights.cache_folder / "weights" / "dinov2-small"


def test_weights_list_shows_licence_and_place(m2n2: Run, fetched: Path) -> None:
    printed = succeed(m2n2("weights", "list"))
    for name in ("dinov2-small", "dinov2-base", "stable-diffusion-2", "stable-diffusion-1-5"):
        assert re.search(rf"^\s*{name}\s", printed, re.MULTILINE), name
    assert "Apache-2.0" in printed
    assert fetched.name in printed


def test_weights_verify(m2n2: Run, fetched: Path) -> None:
    assert fetched.is_dir()
    assert succeed(m2n2("weights", "verify")) == "dinov2-small: ok, 2 files have their recorded sha256\n"


def test_weights_verify_finds_a_changed_file(
    m2n2: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = tmp_path / "cache" / "weights" / "dinov2-small"
    changed.mkdir(parents=True)
    for name in ("manifest.json", "config.json", "model.safetensors"):
        (changed / name).write_bytes((fetched / name).read_bytes()[:1000])
    monkeypatch.setenv("M2N2_CACHE_FOLDER", str(tmp_path / "cache"))
    found = problem(m2n2("weights", "verify", "dinov2-small"))
    assert found.startswith(f"{changed / 'model.safetensors'} should have sha256 ")
    assert found.endswith("; run `m2n2 weights get dinov2-small --force`")


def test_weights_that_came_with_the_program_are_taken_before_those_of_the_cache_folder(
    m2n2: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As an upgraded image finds them, beside a volume that an older one has filled."""
    old = tmp_path / "volume" / "weights" / "dinov2-small"
    old.mkdir(parents=True)
    for name in ("manifest.json", "config.json", "model.safetensors"):
        (old / name).write_bytes(b"of an older version")
    monkeypatch.setenv("M2N2_CACHE_FOLDER", str(tmp_path / "volume"))
    monkeypatch.setenv("M2N2_BUNDLED_FOLDER", str(fetched.parents[1]))
    assert succeed(m2n2("weights", "verify")) == "dinov2-small: ok, 2 files have their recorded sha256\n"
    printed = succeed(m2n2("weights", "get", "dinov2-small"))
    assert "".join(printed.split()) == f"dinov2-smallisin{fetched}"
    assert "M2N2_BUNDLED_FOLDER" in problem(m2n2("weights", "get", "dinov2-small", "--force"))


def test_weights_that_nobody_knows(m2n2: Run) -> None:
    assert problem(m2n2("weights", "verify", "resnet")).startswith("unknown weights 'resnet': use one of dinov2-small")


def test_weights_get_offline_says_what_to_do(m2n2: Run) -> None:
    found = problem(m2n2("weights", "get", "dinov2-small"))
    assert found.startswith("offline mode forbids fetching the weights of dinov2-small. Run `m2n2 weights get")


# --- serve


def test_serve_names_a_port_that_is_taken_at_once(m2n2: Run, monkeypatch: pytest.MonkeyPatch, busy_port: int) -> None:
    monkeypatch.setenv("M2N2_PORT", str(busy_port))
    assert problem(m2n2("serve")) == (
        f"port {busy_port} cannot be used (Address already in use): stop what uses it, or choose another one, for "
        f"example M2N2_PORT={busy_port + 1}"
    )


def test_serve_names_an_address_that_is_not_of_this_machine(m2n2: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2N2_HOST", "192.0.2.1")
    assert "192.0.2.1 is no address of this machine" in problem(m2n2("serve"))
    monkeypatch.setenv("M2N2_HOST", "host:9090")
    assert "M2N2_HOST='host:9090' cannot be used: should be an address" in problem(m2n2("serve"))


# --- the entry point


def test_a_wrong_setting_is_named(m2n2: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2N2_PORT", "many")
    assert problem(m2n2("doctor")).startswith("M2N2_PORT='many' cannot be used: ")


def test_help_is_given_without_importing_torch() -> None:
    code = "import sys\nfrom backend.cli.main import app\n"
    code += "try: app(['--help'])\nfinally: assert 'torch' not in sys.modules"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert "segment" in found.stdout


def test_an_error_is_one_line_and_status_1(environment: dict[str, str], tmp_path: Path, output: Path) -> None:
    path = tmp_path / "nothing.png"
    command = [sys.executable, "-c", "from backend.cli.main import main; main()", "segment", path, *DISC, "-o", output]
    found = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == f"m2n2: {path} cannot be read: No such file or directory\n"
