"""What is written is read again, by this product and by COCO's own tools."""

import json
import shutil

import numpy as np
import pytest
from pycocotools.coco import COCO

from m2n2_engine.errors import DatasetError, InvalidImage
from m2n2_engine.tools.datasets.coco import Counts, read_dataset, write_dataset
from m2n2_engine.tools.datasets.ground_truth import GroundTruth


@pytest.fixture
def image(tmp_path, write_picture):
    return write_picture(tmp_path / "source" / "first.jpg", np.full((6, 8, 3), 90, np.uint8))


@pytest.fixture
def second(tmp_path, write_picture):
    return write_picture(tmp_path / "source" / "second.bmp", np.full((6, 8, 3), 30, np.uint8))


@pytest.fixture
def truth(labels):
    return GroundTruth(labels == 255, labels == 128)


@pytest.fixture
def corner():
    mask = np.zeros((6, 8), bool)
    mask[0, 7] = True
    return GroundTruth(mask)


@pytest.fixture
def folder(tmp_path, image, second, truth, corner):
    folder = tmp_path / "coco" / "Name"
    assert write_dataset(folder, [(image, [truth]), (second, [corner, truth])]) == Counts(2, 3, 2, 0)
    return folder


def test_masks_survive(folder, labels, truth, corner):
    first, second, third = read_dataset(folder)
    for instance, expected in ((first, truth), (second, corner), (third, truth)):
        assert instance.sure().dtype == instance.unknown().dtype == bool
        np.testing.assert_array_equal(instance.sure(), expected.sure)
    np.testing.assert_array_equal(first.unknown(), labels == 128)
    np.testing.assert_array_equal(second.unknown(), np.zeros((6, 8), bool))


def test_names_are_unique_and_images_are_copies(folder, image, second):
    instances = read_dataset(folder)
    assert [instance.name for instance in instances] == ["first", "second#2", "second#3"]
    assert [instance.annotation_id for instance in instances] == [1, 2, 3]
    assert instances[0].image_path == folder / "images" / "first.jpg"
    assert instances[0].image_path.read_bytes() == image.read_bytes()
    assert instances[2].image_path.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["gt.json", "images"]


def test_coco_s_own_tools_read_it(folder, labels):
    coco = COCO(str(folder / "gt.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["first.jpg", "second.bmp"]
    assert len(coco.getAnnIds(imgIds=[2], catIds=coco.getCatIds(["object"]), iscrowd=False)) == 2
    annotation = coco.anns[1]
    assert (annotation["area"], annotation["bbox"]) == (8, [2.0, 1.0, 4.0, 2.0])
    np.testing.assert_array_equal(coco.annToMask(annotation), labels == 255)
    assert "unknown_segmentation" not in coco.anns[2]


def test_an_image_without_an_object_stays_an_image(tmp_path, image, second, truth):
    assert write_dataset(tmp_path / "Name", [(image, []), (second, [truth])]) == Counts(2, 1, 1, 1)
    assert [instance.name for instance in read_dataset(tmp_path / "Name")] == ["second"]


def test_a_mask_of_another_size_names_both(tmp_path, folder, image, truth):
    before = (folder / "gt.json").read_bytes()
    wrong = GroundTruth(np.ones((5, 9), bool))
    with pytest.raises(InvalidImage, match=rf"^{image} has 8 x 6 pixels, its mask 9 x 5: "):
        write_dataset(folder, [(image, [truth, wrong])])
    assert (folder / "gt.json").read_bytes() == before  # nothing was lost
    assert len(read_dataset(folder)) == 3


def test_a_file_that_is_no_image_is_named(tmp_path, truth):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"no image")
    with pytest.raises(InvalidImage, match=f"^{path}: these 8 bytes are no image file"):
        write_dataset(tmp_path / "Name", [(path, [truth])])
    assert not (tmp_path / "Name").exists()


def test_writing_again_replaces_all(folder, second, corner):
    write_dataset(folder, [(second, [corner])])
    assert [path.name for path in (folder / "images").iterdir()] == ["second.bmp"]
    assert [instance.name for instance in read_dataset(folder)] == ["second"]


def test_what_a_killed_run_left_is_removed(tmp_path, image, truth):
    left = tmp_path / ".Name.partial" / "images" / "half.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    write_dataset(tmp_path / "Name", [(image, [truth])])
    assert not list(tmp_path.rglob("half.jpg"))


# --- what is not, or no longer, a data set


def test_a_folder_without_a_data_set(tmp_path):
    with pytest.raises(DatasetError, match=rf"^{tmp_path} holds no gt\.json: make it with `m2n2 datasets prepare`$"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("images"),
        lambda content: content["annotations"][0].pop("segmentation"),
        lambda content: content["annotations"][0].update(image_id=9),
        lambda content: content["annotations"][0].update(segmentation=[[0, 0, 1, 1, 2, 2]]),
        lambda content: content["annotations"][0]["segmentation"].update(counts=[1, 2]),
        lambda content: content["annotations"][0]["unknown_segmentation"].update(size=[8, 6]),
    ],
)
def test_another_file_is_named(folder, change):
    path = folder / "gt.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=rf"^{path} is no data set that .*: delete {folder} and prepare it again$"):
        read_dataset(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"images": 3, "annotations": []}', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_a_damaged_file_is_named(folder, text):
    (folder / "gt.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=rf"^{folder}/gt\.json is no data set"):
        read_dataset(folder)


def test_an_image_that_is_gone_is_named(folder):
    (folder / "images" / "second.bmp").unlink()
    with pytest.raises(DatasetError, match=rf"^{folder}/images/second\.bmp is missing: delete {folder} and prepare"):
        read_dataset(folder)


def test_a_data_set_without_objects_is_named(tmp_path, image):
    write_dataset(tmp_path / "Name", [(image, [])])
    with pytest.raises(DatasetError, match=rf"^{tmp_path}/Name holds no object"):
        read_dataset(tmp_path / "Name")


def test_images_of_one_name_are_named(folder):
    content = json.loads((folder / "gt.json").read_text())
    content["images"].append(content["images"][0] | {"id": 3, "file_name": "first.bmp"})
    content["annotations"].append(content["annotations"][0] | {"id": 4, "image_id": 3})
    (folder / "gt.json").write_text(json.dumps(content))
    shutil.copyfile(folder / "images" / "second.bmp", folder / "images" / "first.bmp")
    with pytest.raises(DatasetError, match=f"^{folder} has 2 objects named first: give their images different names$"):
        read_dataset(folder)
