"""``m2n2 propose`` and ``m2n2 evaluate --propose``, on the tiny backbone."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from typer.testing import CliRunner

from backend.cli.main import app
from m2n2_engine.errors import DatasetError
from m2n2_engine.proposals.confidence import LEAST_SCORE
from m2n2_engine.tools.datasets.coco import describe_mask

pytestmark = pytest.mark.usefixtures("one_thread")

PLACES = {"a.png": (50, 50), "b.png": (100, 70), "c.png": (60, 80)}


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """The tiny backbone, no caches, no connections."""
    monkeypatch.setenv("M2N2_BACKBONE", "tiny")
    monkeypatch.setenv("M2N2_PRESET", "consensus")
    monkeypatch.setenv("M2N2_CACHE_FOLDER", str(tmp_path / "cache"))
    monkeypatch.setenv("M2N2_DISK_CACHE_MIB", "0")
    monkeypatch.setenv("M2N2_OFFLINE", "true")


def draw(place):
    y, x = np.mgrid[:120, :160]
    mask = (x - place[0]) ** 2 + (y - place[1]) ** 2 < 20**2
    return np.where(mask[..., None], (30, 40, 220), (60, 120, 60)).astype(np.uint8), mask


def write_coco(folder: Path, names=tuple(PLACES), **changes) -> Path:
    """Pictures of one ball each in ``images``, and beside it the balls of ``names`` as COCO's JSON."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, (name, place) in enumerate(PLACES.items(), 1):
        image, mask = draw(place)
        cv2.imwrite(str(folder / "images" / name), image)
        images.append({"id": number, "file_name": name, "width": 160, "height": 120})
        if name in names:
            annotations.append({"id": number, "image_id": number, "category_id": 7, **describe_mask(mask)})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "ball"}]} | changes
    (folder / "gt.json").write_text(json.dumps(content))
    return folder / "gt.json"


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def problem(result) -> str:
    assert isinstance(result.exception, DatasetError), result.output + repr(result.exception)
    return str(result.exception)


def test_the_other_images_of_a_folder_get_proposals(tmp_path, iou):
    examples = write_coco(tmp_path / "set", ["a.png"])
    (tmp_path / "set" / "images" / "broken.png").write_bytes(b"no image")
    target = tmp_path / "proposals.json"
    result = run("propose", "--examples", examples, tmp_path / "set" / "images", "-o", target)
    assert result.exit_code == 1
    assert "broken.png: these 8 bytes are no image file" in result.stderr
    assert result.stdout == f"{target}: 2 objects in 2 of 4 images, by 1 examples, 1 could not be read\n"
    found = COCO(target)
    assert {image["file_name"] for image in found.dataset["images"]} == {"b.png", "c.png"}
    for annotation in found.dataset["annotations"]:
        name = found.imgs[annotation["image_id"]]["file_name"]
        assert iou(found.annToMask(annotation) > 0, draw(PLACES[name])[1]) > 0.9
        assert found.cats[annotation["category_id"]]["name"] == "ball"
        assert 0 < annotation["score"] <= 1


def test_the_help_names_the_score_that_counts():
    assert f"{LEAST_SCORE} unless given" in " ".join(run("propose", "--help").stdout.replace("│", "").split())


def test_what_is_less_sure_than_asked_for_is_left_out(tmp_path):
    examples = write_coco(tmp_path / "set", ["a.png"])
    target = tmp_path / "proposals.json"
    ask = "propose", "--examples", examples, tmp_path / "set" / "images", "-o", target, "--score"
    run(*ask, 0)
    scores = sorted(annotation["score"] for annotation in json.loads(target.read_text())["annotations"])
    assert len(scores) >= 2
    run(*ask, scores[-1])
    assert [each["score"] for each in json.loads(target.read_text())["annotations"]] == scores[-1:]


@pytest.mark.parametrize("form", ["polygon", "numbers"])
def test_masks_of_examples_in_other_forms(tmp_path, iou, form):
    examples = write_coco(tmp_path / "set", ["a.png"])
    content = json.loads(examples.read_text())
    mask = draw(PLACES["a.png"])[1]
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]]).astype(int)))
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    outline = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0].ravel().tolist()
    forms = {"polygon": [outline], "numbers": {"size": [120, 160], "counts": counts}}
    content["annotations"][0]["segmentation"] = forms[form]
    examples.write_text(json.dumps(content))
    target = tmp_path / "proposals.json"
    result = run("propose", "--examples", examples, tmp_path / "set" / "images" / "b.png", "-o", target)
    assert result.exit_code == 0, result.output
    (annotation,) = COCO(target).dataset["annotations"]
    assert iou(COCO(target).annToMask(annotation) > 0, draw(PLACES["b.png"])[1]) > 0.9


def test_examples_that_cannot_be_used(tmp_path):
    examples = write_coco(tmp_path / "set", [])
    images, target = tmp_path / "set" / "images", tmp_path / "p.json"
    ask = "propose", "--examples", examples, images, "-o", target
    assert problem(run(*ask)) == f"{examples} holds no object: give a file with at least one accepted mask"
    examples.write_text("no JSON")
    assert problem(run(*ask)).startswith(f"{examples} is no JSON")
    examples.write_text("[]")
    assert problem(run(*ask)) == f"{examples} is no COCO with masks and categories: it is a list"
    examples.write_text('{"images": []}')
    assert problem(run(*ask)) == f"{examples} is no COCO with masks and categories: it lacks 'categories'"
    examples.unlink()
    assert problem(run(*ask)) == f"{examples} cannot be read: No such file or directory"
    assert not target.exists()


def test_an_image_or_a_mask_of_the_examples_that_is_not_there(tmp_path):
    examples = write_coco(tmp_path / "set", ["a.png"])
    ask = "propose", "--examples", examples, tmp_path / "set" / "images", "-o", tmp_path / "p.json"
    content = json.loads(examples.read_text())
    (annotation,) = content["annotations"]
    for segmentation, reason in (
        (annotation["segmentation"] | {"size": [12, 16]}, "(its size is [12, 16]"),
        # pycocotools raises a bare Exception for this one.
        ([{}], "(input type is not supported"),
        ([], "annotation 1 has a mask without a pixel: leave it out"),
        (None, "no mask can be made of its segmentation"),
    ):
        annotation["segmentation"] = segmentation
        examples.write_text(json.dumps(content))
        assert reason in problem(run(*ask)).lower()
    del annotation["segmentation"]
    examples.write_text(json.dumps(content))
    assert "annotation 1: no mask can be made of its segmentation (it lacks 'segmentation')" in problem(run(*ask))
    (tmp_path / "set" / "images" / "a.png").unlink()
    assert problem(run(*ask)).startswith("the image 'a.png' is neither in")


def test_proposals_are_evaluated_by_the_number_of_examples(tmp_path):
    content_folder = tmp_path / "balls"
    write_coco(content_folder)
    result = run("evaluate", "--propose", "--dataset", content_folder, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output + repr(result.exception)
    outcomes = json.loads((tmp_path / "out" / "balls-proposals.json").read_text())
    assert [(each["examples"], each["objects"], each["hits"]) for each in outcomes] == [(1, 1, [True])] * 2
    for proposed, _, copied in (each["ious"] for each in outcomes):
        assert proposed > 0.9
        assert copied < 0.5
    assert [each["found"] == each["scores"] for each in outcomes] == [True] * 2
    rows = [line.split() for line in result.stdout.replace("│", " ").splitlines()]
    assert ["1", "0.1", "2", "1.00", "1.00"] in rows


def test_a_picture_without_the_label_counts_apart(tmp_path):
    write_coco(tmp_path / "balls", ["a.png", "b.png"])
    cv2.imwrite(str(tmp_path / "balls" / "images" / "c.png"), np.full((120, 160, 3), 90, np.uint8))
    result = run("evaluate", "--propose", "--dataset", tmp_path / "balls", "--out", tmp_path / "out")
    assert "of 1 pictures so many got none: 1 at 0.03, 1 at 0.1" in " ".join(result.stdout.split())


def test_what_cannot_be_evaluated_by_proposing(tmp_path):
    assert "--propose takes --dataset FOLDER" in run("evaluate", "--propose").stderr
    ask = "evaluate", "--propose", "--dataset", tmp_path, "--grid", 8
    said = run(*ask, "--features", tmp_path, "--clicks", 5, "--flips").stderr
    assert "--propose has no use for --clicks, --flips, --features: leave that out" in " ".join(
        said.replace("│", "").split()
    )
