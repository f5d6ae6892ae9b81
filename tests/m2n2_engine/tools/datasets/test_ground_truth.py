"""What mask files of every kind say."""

import numpy as np
import pytest
from scipy.io import savemat

from m2n2_engine.errors import InvalidImage
from m2n2_engine.tools.datasets.ground_truth import read_labelled_objects, read_object, read_object_and_band
from m2n2_engine.tools.datasets.sbd import read_instances

RED = np.array([0, 0, 1], np.uint8)
"""BGR, as pictures are written."""


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels,
        lambda labels: (labels > 0).astype(np.uint8),
        lambda labels: labels[:, :, None] * RED,
        lambda labels: (labels > 0).astype(np.uint16),
        lambda labels: np.dstack([labels] * 3 + [np.full_like(labels, 255)]),
        lambda labels: np.dstack([labels] * 3 + [np.zeros_like(labels)]),
    ],
    ids=["grey", "0 and 1", "red", "16 bits", "opaque", "transparent"],
)
def test_every_pixel_that_is_not_0_is_object(tmp_path, labels, write_picture, change):
    (truth,) = read_object(write_picture(tmp_path / "mask.png", change(labels)))
    np.testing.assert_array_equal(truth.sure, labels > 0)
    assert truth.sure.dtype == bool
    assert truth.unknown is None


@pytest.mark.parametrize("ending", ["png", "bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_band_of_grabcut_is_apart(tmp_path, labels, write_picture, ending, channels):
    pixels = labels if channels == 1 else np.dstack([labels] * 3)
    (truth,) = read_object_and_band(write_picture(tmp_path / f"mask.{ending}", pixels))
    np.testing.assert_array_equal(truth.sure, labels == 255)
    np.testing.assert_array_equal(truth.unknown, labels == 128)


def test_a_mask_of_grabcut_without_a_band(tmp_path, labels, write_picture):
    (truth,) = read_object_and_band(write_picture(tmp_path / "mask.png", np.where(labels == 255, labels, 0)))
    assert truth.unknown is None


def test_an_object_that_is_all_band(tmp_path, labels, write_picture):
    (truth,) = read_object_and_band(write_picture(tmp_path / "mask.png", np.where(labels == 128, labels, 0)))
    assert not truth.sure.any()
    np.testing.assert_array_equal(truth.unknown, labels == 128)


def test_every_label_is_an_object(tmp_path, write_picture):
    labels = np.array([[0, 2, 2], [7, 0, 2]], np.uint8)
    two, seven = read_labelled_objects(write_picture(tmp_path / "mask.png", labels))
    np.testing.assert_array_equal(two.sure, labels == 2)
    np.testing.assert_array_equal(seven.sure, labels == 7)


@pytest.mark.parametrize("read", [read_object, read_object_and_band, read_labelled_objects])
def test_an_empty_mask_has_no_object(tmp_path, write_picture, read):
    assert read(write_picture(tmp_path / "mask.png", np.zeros((2, 3), np.uint8))) == []


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_file_that_is_no_mask(tmp_path, content):
    path = tmp_path / "mask.png"
    path.write_bytes(content)
    with pytest.raises(InvalidImage, match=f"^{path} cannot be decoded as a mask: put a sound copy in its place$"):
        read_object(path)


def write_instances(path, segmentation):
    # As in SBD: a struct with more than the labels.
    savemat(
        path, {"GTinst": {"Segmentation": segmentation, "Boundaries": np.zeros(2), "Categories": np.array([15, 2])}}
    )
    return path


def test_the_instances_of_sbd(tmp_path):
    labels = np.array([[1, 1, 0], [0, 2, 2]], np.uint8)
    first, second = read_instances(write_instances(tmp_path / "a.mat", labels))
    np.testing.assert_array_equal(first.sure, labels == 1)
    np.testing.assert_array_equal(second.sure, labels == 2)
    assert first.sure.dtype == bool
    assert first.unknown is None


def test_a_single_instance_of_sbd(tmp_path):
    (only,) = read_instances(write_instances(tmp_path / "a.mat", np.array([[0, 1]], np.uint8)))
    np.testing.assert_array_equal(only.sure, [[False, True]])


def test_other_files_are_no_instances_of_sbd(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"GTcls": {"Segmentation": np.zeros((2, 2))}})
    with pytest.raises(InvalidImage, match=r"a\.mat holds no instances of SBD \(it lacks 'GTinst'\): put a sound copy"):
        read_instances(path)
    write_instances(path, np.zeros((2, 2, 2)))
    with pytest.raises(InvalidImage, match=r"a\.mat: GTinst\.Segmentation is no matrix of labels"):
        read_instances(path)
    path.write_bytes(b"<html>" * 100)
    with pytest.raises(InvalidImage, match=r"a\.mat holds no instances of SBD"):
        read_instances(path)
