"""Which files belong together, in every layout."""

import pytest

from m2n2_engine.errors import DatasetError
from m2n2_engine.tools.datasets.layouts import LabelledImage, find_labelled_images


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("around", ["", "GrabCut", "benchmark_RELEASE/dataset"])
@pytest.mark.parametrize(
    ("images", "truths", "ending"),
    [
        ("data_GT", "boundary_GT", "bmp"),
        ("images", "masks", "png"),
        ("img", "gt", "png"),
        ("img", "inst", "mat"),
        ("image", "annotation", "png"),
        ("image", "annotations", "png"),
    ],
)
def test_images_and_ground_truth_go_by_their_names(tmp_path, around, images, truths, ending):
    root = tmp_path / around
    touch(
        root / images / "b.jpg", root / images / "a.PNG", root / truths / f"a.{ending}", root / truths / f"b.{ending}"
    )
    assert find_labelled_images(tmp_path) == [
        LabelledImage(root / images / "a.PNG", root / truths / f"a.{ending}"),
        LabelledImage(root / images / "b.jpg", root / truths / f"b.{ending}"),
    ]


def test_the_least_deep_layout_is_taken(tmp_path):
    """SBD's archive has a demonstration of a few images further below."""
    real, demonstration = tmp_path / "RELEASE" / "dataset", tmp_path / "RELEASE" / "code" / "demo" / "datadir"
    for root, name in ((real, "real"), (demonstration, "demonstration")):
        touch(root / "img" / f"{name}.jpg", root / "inst" / f"{name}.mat")
    assert [labelled.image.stem for labelled in find_labelled_images(tmp_path)] == ["real"]


def test_what_desktops_leave_is_passed_over(tmp_path):
    touch(tmp_path / "images" / "a.jpg", tmp_path / "masks" / "a.png", tmp_path / "images" / "Thumbs.db")
    touch(tmp_path / "images" / "._a.jpg", tmp_path / "masks" / "._a.png", tmp_path / "masks" / ".DS_Store")
    assert [labelled.image.name for labelled in find_labelled_images(tmp_path)] == ["a.jpg"]


def test_a_split_says_which_images(tmp_path):
    for name in "abc":
        touch(tmp_path / "img" / f"{name}.jpg", tmp_path / "inst" / f"{name}.mat")
    (tmp_path / "val.txt").write_text("c\na\n")
    assert [labelled.image.stem for labelled in find_labelled_images(tmp_path, "val.txt")] == ["c", "a"]
    with pytest.raises(DatasetError, match=r"other\.txt cannot be read \(No such file or directory\)"):
        find_labelled_images(tmp_path, "other.txt")
    (tmp_path / "val.txt").write_text("d")
    with pytest.raises(DatasetError, match=rf"{tmp_path}/img has no file d\.\*"):
        find_labelled_images(tmp_path, "val.txt")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DatasetError, match=rf"^{tmp_path} has none of the known layouts \(data_GT/ and boundary_GT/, "):
        find_labelled_images(tmp_path)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    with pytest.raises(DatasetError, match=rf"^{tmp_path}/images holds no images: put them there$"):
        find_labelled_images(tmp_path)
    touch(tmp_path / "images" / "a.jpg")
    with pytest.raises(DatasetError, match=rf"^{tmp_path}/masks has no file a\.\*: every image needs its ground truth"):
        find_labelled_images(tmp_path)


def test_two_images_of_one_name_are_refused(tmp_path):
    touch(tmp_path / "images" / "a.jpg", tmp_path / "images" / "a.png", tmp_path / "masks" / "a.png")
    with pytest.raises(DatasetError, match=rf"^{tmp_path}/images/a\.jpg and a\.png have the same name"):
        find_labelled_images(tmp_path)
