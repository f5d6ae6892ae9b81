"""``m2n2 segment`` on several images and with files of prompts, and the forms that it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result
from pycocotools.coco import COCO
from typer.testing import CliRunner

from backend.cli.main import app
from m2n2_engine import __version__
from m2n2_engine.errors import M2N2Error
from m2n2_engine.types import Image, Mask

pytestmark = pytest.mark.usefixtures("one_thread")

DISC = ["--point", "40.5,36"]
BOX = (18, 14, 63, 58)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tiny backbone, no caches, no connections."""
    monkeypatch.setenv("M2N2_BACKBONE", "tiny")
    monkeypatch.setenv("M2N2_PRESET", "consensus")
    monkeypatch.setenv("M2N2_CACHE_FOLDER", str(tmp_path / "cache"))
    monkeypatch.setenv("M2N2_DISK_CACHE_MIB", "0")
    monkeypatch.setenv("M2N2_OFFLINE", "true")


@pytest.fixture
def disc(draw_disc: Callable[..., tuple[Image, Mask]]) -> Mask:
    return draw_disc()[1]


@pytest.fixture
def folder(tmp_path: Path, draw_disc: Callable[..., tuple[Image, Mask]]) -> Path:
    """Two images, one of them further down."""
    for name in ("a.png", "below/b.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), draw_disc()[0][:, :, ::-1])
    return tmp_path / "images"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["segment", *map(str, arguments)])


def succeed(result: Result) -> str:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


def problem(result: Result) -> str:
    assert isinstance(result.exception, M2N2Error), result.output + repr(result.exception)
    assert result.stdout == ""
    return str(result.exception)


def read_mask(path: Path) -> Mask:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) > 0


# --- several images


def test_a_folder_has_a_mask_for_each_image(folder: Path, out: Path, disc: Mask, iou: Callable[..., float]) -> None:
    assert succeed(run(folder, *DISC, "-o", out)) == f"{out}: 2 objects of 2 images, as mask\n"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == ["a.png", "below/b.png"]
    for name in ("a.png", "below/b.png"):
        assert iou(read_mask(out / name), disc) > 0.9


def test_an_image_that_fails_leaves_the_others(folder: Path, out: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    result = run(folder, *DISC, "-o", out)
    assert result.exit_code == 1
    assert f"{folder}/broken.png: these 8 bytes are no image file" in result.stderr
    assert result.stdout == f"{out}: 2 objects of 3 images, as mask, 1 could not be segmented\n"
    assert (out / "a.png").is_file()


def test_two_images_of_one_name_are_not_written_over_each_other(folder: Path, out: Path) -> None:
    found = problem(run(folder / "a.png", folder, *DISC, "-o", out))
    assert found.endswith(f"would be written to {out}/a.png: name the objects, or take the images in turn")


def test_what_several_images_cannot_be_written_to(folder: Path, out: Path, tmp_path: Path) -> None:
    found = problem(run(folder, *DISC, "-o", out / "mask.png"))
    assert found == f"{out}/mask.png: several objects are written to a folder: name one with --output"
    (tmp_path / "file").write_text("")
    assert "are written to a folder" in problem(run(folder, *DISC, "-o", tmp_path / "file"))
    assert "give --as overlay for several" in run(folder, *DISC, "-o", out, "--overlay", out).stderr
    (tmp_path / "empty").mkdir()
    found = problem(run(tmp_path / "empty", *DISC, "-o", out))
    assert found == f"{tmp_path}/empty holds no images: name a folder that does, or image files"
    assert not out.exists()


# --- forms


@pytest.mark.parametrize("ending", [".jpg", ".JPEG", ".webp", ".jp2", ".avif", ".gif"])
@pytest.mark.parametrize("form", ["mask", "cutout"])
def test_a_lossy_output_is_refused(folder: Path, tmp_path: Path, ending: str, form: str) -> None:
    path = tmp_path / f"m{ending}"
    found = problem(run(folder / "a.png", *DISC, "-o", path, "--as", form))
    assert found == (
        f"{path}: {ending.lower()} does not keep the values of a {form}: name a PNG, {path.with_suffix('.png')}"
    )
    assert not path.exists()


def test_a_form_has_its_own_ending(folder: Path, tmp_path: Path) -> None:
    found = problem(run(folder / "a.png", *DISC, "-o", tmp_path / "m.png", "--as", "polygon"))
    assert found == f"{tmp_path}/m.png: a polygon is not written as .png: use .json"
    assert "use .json" in problem(run(folder, *DISC, "-o", tmp_path / "m.png", "--as", "coco"))
    assert "use .png" in problem(run(folder / "a.png", *DISC, "-o", tmp_path / "m.json", "--as", "cutout"))


def test_polygons(folder: Path, tmp_path: Path) -> None:
    succeed(run(folder / "a.png", *DISC, "-o", tmp_path / "mask.png"))
    succeed(run(folder / "a.png", *DISC, "-o", tmp_path / "p.json", "--as", "polygon"))
    found = json.loads((tmp_path / "p.json").read_text())
    assert (found["image"], found["width"], found["height"], found["label"]) == ("a.png", 96, 72, "object")
    drawn = np.zeros((72, 96), np.uint8)
    for polygon in found["polygons"]:
        cv2.fillPoly(drawn, [np.array(polygon).round().astype(np.int32)], 1)
    mask = read_mask(tmp_path / "mask.png")
    assert (drawn.astype(bool) & mask).sum() / (drawn.astype(bool) | mask).sum() > 0.85


def test_coco_holds_the_masks_of_all_images(folder: Path, tmp_path: Path, out: Path) -> None:
    succeed(run(folder, *DISC, "-o", out))
    path = tmp_path / "found.json"
    assert succeed(run(folder, *DISC, "-o", path, "--as", "coco")) == f"{path}: 2 objects of 2 images, as coco\n"
    found = COCO(str(path))
    assert [image["file_name"] for image in found.imgs.values()] == ["a.png", "below/b.png"]
    for annotation in found.anns.values():
        image = found.imgs[annotation["image_id"]]
        mask = read_mask(out / image["file_name"])
        np.testing.assert_array_equal(found.annToMask(annotation) > 0, mask)
        assert annotation["area"] == mask.sum()
        assert 0 < annotation["score"] <= 1
    assert found.cats == {1: {"id": 1, "name": "object"}}


def test_a_cutout_is_the_object_on_nothing(folder: Path, tmp_path: Path) -> None:
    succeed(run(folder / "a.png", *DISC, "-o", tmp_path / "mask.png"))
    succeed(run(folder / "a.png", *DISC, "-o", tmp_path / "cut.png", "--as", "cutout"))
    cut = cv2.imread(str(tmp_path / "cut.png"), cv2.IMREAD_UNCHANGED)
    mask = read_mask(tmp_path / "mask.png")
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(cut[:, :, 3], mask[inside] * 255)
    image = cv2.imread(str(folder / "a.png"))[inside]
    np.testing.assert_array_equal(cut[:, :, :3][mask[inside]], image[mask[inside]])


def test_overlays_of_a_folder(folder: Path, out: Path) -> None:
    succeed(run(folder, *DISC, "-o", out, "--as", "overlay"))
    drawn, image = cv2.imread(str(out / "a.png")), cv2.imread(str(folder / "a.png"))
    blue, green, red = drawn[36, 40].astype(int)
    assert green > max(blue, red) + 50
    assert (drawn != image).any(axis=2).mean() > 0.05


# --- prompts from a file


def write_prompts(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


COCO_PROMPTS = {
    "images": [{"id": 7, "file_name": "photos/a.png"}, {"id": 9, "file_name": "b.png"}],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 3, "bbox": [18, 14, 45, 44]},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [18, 14, 45, 44]},
    ],
    "categories": [{"id": 3, "name": "disc"}],
}
TABLE = (
    "image,object,label,x,y,positive,left,top,right,bottom\n"
    "a.png,1,disc,,,,18,14,63,58\n"
    "a.png,2,ground,85,10,1,,,,\n"
    "a.png,2,ground,40,36,0,,,,\n"
    "\n"
    "b.png,1,disc,40.5,36,,,,,\n"
)
ENTRIES = [
    {"image": "a.png", "object": 1, "label": "disc", "box": BOX},
    {"image": "a.png", "object": 2, "label": "ground", "points": [[85, 10], [40, 36, 0]]},
    {"image": "below/b.png", "object": "1", "label": "disc", "points": [[40.5, 36, 1]]},
]


@pytest.mark.parametrize(("name", "content"), [("p.csv", TABLE), ("p.json", ENTRIES), ("p.JSON", {"prompts": ENTRIES})])
def test_a_table_and_json_name_objects(
    folder: Path, out: Path, tmp_path: Path, disc: Mask, iou: Callable[..., float], name: str, content: Any
) -> None:
    prompts = write_prompts(tmp_path / name, content)
    printed = succeed(run(folder, "--prompts", prompts, "-o", out))
    assert printed == f"{out}: 3 objects of 2 images, as mask\n"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        "a_1.png",
        "a_2.png",
        "below/b_1.png",
    ]
    assert iou(read_mask(out / "a_1.png"), disc) > 0.9
    assert iou(read_mask(out / "below/b_1.png"), disc) > 0.9
    ground = read_mask(out / "a_2.png")
    assert ground[10, 85]
    assert not ground[36, 40]
    path = tmp_path / "found.json"
    succeed(run(folder, "--prompts", prompts, "-o", path, "--as", "coco"))
    found = json.loads(path.read_text())
    assert [category["name"] for category in found["categories"]] == ["disc", "ground"]
    assert [annotation["category_id"] for annotation in found["annotations"]] == [1, 2, 1]


def test_the_boxes_of_coco_are_prompts(
    folder: Path, out: Path, tmp_path: Path, disc: Mask, iou: Callable[..., float]
) -> None:
    prompts = write_prompts(tmp_path / "instances.json", COCO_PROMPTS)
    succeed(run(folder, "--prompts", prompts, "-o", out))
    assert iou(read_mask(out / "a_2.png"), disc) > 0.9
    assert iou(read_mask(out / "below/b_1.png"), disc) > 0.9


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("p.csv", "x,y\n1,2\n", "has no column 'image': its first line names some of image, object,"),
        ("p.csv", "image,z\na.png,2\n", "has a column 'z': its first line names some of image, object,"),
        ("p.csv", "image,x,y\na.png,1,b\n", ", line 2: '1,b' are no numbers of pixels"),
        ("p.csv", "image,x,y\na.png,,\n", ", line 2 has no point and no box"),
        ("p.csv", "image,x,y\n,1,2\n", ", line 2 names no image"),
        ("p.csv", "image,x,y,positive\na.png,1,2,maybe\n", ", line 2: positive is 'maybe': write 1 on the object"),
        ("p.csv", "image,left,top,right,bottom\na.png,1,2,3,4\na.png,1,2,3,4\n", ", line 3 is a second box"),
        ("p.csv", "image,object,x,y\na.png,../up,1,2\n", "'../up' is part of a file's name"),
        ("p.csv", "image,x,y\n", "holds no prompts: add a point or a box"),
        ("p.csv", "image,x,y\nc.png,1,2\n", "the prompts name the image 'c.png', which is not among those given"),
        ("p.json", "{", "is no JSON: "),
        ("p.json", "7", "is neither COCO nor a list of prompts"),
        ("p.json", [{"box": [1, 2, 3, 4]}], ", prompt 1 names no image"),
        ("p.json", [{"image": "a.png", "boxes": []}], ", prompt 1 has a key 'boxes': use image, object, label, points"),
        ("p.json", [{"image": "a.png"}], ", prompt 1 has neither points nor a box"),
        ("p.json", [{"image": "a.png", "box": [1, 2, 3]}], "and a box [left, top, right, bottom]"),
        ("p.json", [{"image": "a.png", "points": [[1, "b"]]}], "the y of a click must be a number of pixels, not 'b'"),
        ("p.json", {"annotations": []}, "is no COCO with boxes: it lacks 'images'"),
        ("p.json", {"annotations": [{"id": 1, "image_id": 2}], "images": []}, "an image that the file does not list"),
        ("p.json", "\udcff", "cannot be read: it is no text in UTF-8"),
    ],
)
def test_prompts_that_cannot_be_used(
    folder: Path, out: Path, tmp_path: Path, name: str, content: Any, told: str
) -> None:
    path = tmp_path / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode(errors="surrogateescape"))
    found = problem(run(folder, "--prompts", path, "-o", out))
    assert told in found
    assert not out.exists()


def test_prompts_and_points_do_not_go_together(folder: Path, out: Path, tmp_path: Path) -> None:
    result = run(folder, "--prompts", tmp_path / "p.csv", *DISC, "-o", out)
    assert result.exit_code == 2
    assert "--prompts names the objects" in result.stderr
    assert "p.csv cannot be read: No such file" in problem(run(folder, "--prompts", tmp_path / "p.csv", "-o", out))


# --- the rest of the command line


@pytest.mark.parametrize("address", ["https://example.com/a.jpg", "s3://bucket/a.jpg", "HTTP://example.com/a.jpg"])
def test_an_address_is_named_as_one(out: Path, address: str) -> None:
    assert problem(run(address, *DISC, "-o", out)) == f"{address} is an address: download it first, and name the file"


def test_the_version_is_printed() -> None:
    found = CliRunner().invoke(app, ["--version"])
    assert (found.exit_code, found.stdout) == (0, f"m2n2 {__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_the_commands(monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("_M2N2_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "m2n2 seg")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "m2n2 seg")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    found = CliRunner().invoke(app, [], prog_name="m2n2")
    assert "segment" in found.stdout
    assert "weights" not in found.stdout


def test_tables_fit_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    printed = CliRunner().invoke(app, ["weights", "list"]).stdout
    assert "stable-diffusion-2" in printed
    assert max(map(len, printed.splitlines())) <= 80
