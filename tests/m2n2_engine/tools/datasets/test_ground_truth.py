"""What mask files of every kind say."""

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from m2n2_engine.errors import InvalidImage
from m2n2_engine.tools.datasets.ground_truth import (
    read_labelled_objects,
    read_object,
    read_object_and_band,
    read_own_objects,
)
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


COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
"""Two that have the same largest channel."""


@pytest.mark.parametrize(
    "convert",
    [
        lambda labels: Image.fromarray(labels),
        lambda labels: Image.fromarray(labels.astype(np.uint16) * 300),
        lambda labels: Image.fromarray(np.dstack([labels] * 3)),
        lambda labels: Image.fromarray(COLOURS[labels]),
        lambda labels: Image.fromarray(np.dstack([COLOURS[labels], np.full_like(labels, 255)])),
        lambda labels: with_palette(labels),
    ],
    ids=["grey", "16 bits", "grey as RGB", "colours", "opaque colours", "palette"],
)
def test_every_value_or_colour_of_one_s_own_masks_is_an_object(tmp_path, convert):
    labels = np.array([[0, 2, 2], [1, 0, 2]], np.uint8)
    convert(labels).save(tmp_path / "mask.png")
    found = read_own_objects(tmp_path / "mask.png")
    assert {truth.sure.tobytes() for truth in found} == {(labels == 1).tobytes(), (labels == 2).tobytes()}
    assert [truth.unknown for truth in found] == [None, None]


def with_palette(labels):
    picture = Image.fromarray(labels)
    picture.putpalette([*COLOURS.ravel().tolist(), *[0] * 750, 224, 224, 192][:768])
    return picture


def test_255_in_a_palette_is_the_band_of_pascal_voc(tmp_path):
    labels = np.array([[0, 255, 1], [1, 255, 2]], np.uint8)
    with_palette(labels).save(tmp_path / "mask.png")
    one, two = read_own_objects(tmp_path / "mask.png")
    np.testing.assert_array_equal(one.sure, labels == 1)
    np.testing.assert_array_equal(two.unknown, labels == 255)
    with_palette(np.where(labels == 255, labels, 0).astype(np.uint8)).save(tmp_path / "mask.png")
    (only,) = read_own_objects(tmp_path / "mask.png")
    np.testing.assert_array_equal(only.sure, labels == 255)


def test_a_mask_with_smoothed_borders_is_refused(tmp_path, write_picture):
    disc = np.zeros((200, 200), np.uint8)
    cv2.circle(disc, (100, 100), 60, 255, -1, cv2.LINE_AA)
    path = write_picture(tmp_path / "mask.png", disc)
    with pytest.raises(InvalidImage, match="greys between black and white, as smoothed borders have: save it without"):
        read_own_objects(path)


@pytest.mark.parametrize("read", [read_own_objects, read_object, read_object_and_band, read_labelled_objects])
def test_an_empty_mask_has_no_object(tmp_path, write_picture, read):
    assert read(write_picture(tmp_path / "mask.png", np.zeros((2, 3), np.uint8))) == []


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_file_that_is_no_mask(tmp_path, content):
    path = tmp_path / "mask.png"
    path.write_bytes(content)
    for read in (read_object, read_own_objects):
        with pytest.raises(InvalidImage, match=f"^{path} cannot be decoded as a mask: put a sound copy in its place$"):
            read(path)


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
