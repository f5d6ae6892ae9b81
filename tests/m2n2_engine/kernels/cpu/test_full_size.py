"""Masks brought from the working size to that of the image."""

import cv2
import numpy as np
import pytest

from m2n2_engine.kernels.cpu.full_size import restore_mask
from m2n2_engine.method import reference
from m2n2_engine.session.session import reduce_image


def test_the_restored_mask_follows_the_edges_of_the_image():
    disc = cv2.circle(np.zeros((900, 1200), np.uint8), (617, 441), 300, 1, -1).astype(bool)
    image = np.where(disc[:, :, None], np.uint8([200, 80, 40]), np.uint8([30, 90, 160]))
    reduced = reduce_image(image, 200)
    coarse_mask = cv2.resize(disc.astype(np.uint8), (200, 150), interpolation=cv2.INTER_NEAREST) > 0
    restored = restore_mask(coarse_mask, reduced, image, 0.1)
    nearest = cv2.resize(coarse_mask.astype(np.uint8), (1200, 900), interpolation=cv2.INTER_NEAREST) > 0
    assert (restored != disc).sum() * 5 < (nearest != disc).sum()
    assert (restored & disc).sum() / (restored | disc).sum() > 0.999


@pytest.mark.parametrize("full_size", [(123, 161), (60, 200), (61, 59)])
def test_the_restored_mask_is_that_of_a_vote_on_every_pixel(full_size):
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.integers(0, 256, (*full_size, 3), np.uint8), (0, 0), 2)
    reduced = reduce_image(image, 58)
    mask = cv2.GaussianBlur(rng.random(reduced.shape[:2], np.float32), (0, 0), 3) > 0.5
    restored = restore_mask(mask, reduced, image, 0.1)
    # Exponentials are exact to a few percent, so near ties may go the other way.
    assert (restored != reference.restore_mask(mask, reduced, image, 0.1)).mean() < 0.002


def test_a_mask_of_the_full_size_is_itself():
    mask = np.eye(12, dtype=bool)
    image = np.zeros((12, 12, 3), np.uint8)
    assert restore_mask(mask, image, image, 0.1) is mask


@pytest.mark.parametrize("full_size", [(31, 47), (60, 41), (97, 203)])
def test_far_from_the_border_every_pixel_takes_the_nearest_working_pixel(full_size):
    mask = np.zeros((19, 23), bool)
    mask[:, 12:] = True
    image = np.zeros((*full_size, 3), np.uint8)
    restored = restore_mask(mask, np.zeros((19, 23, 3), np.uint8), image, 0.1)
    rows, columns = ((np.arange(full) + 0.5) * size // full for full, size in zip(full_size, mask.shape, strict=True))
    far = np.abs(columns - 11.5) > 3
    nearest = mask[np.ix_(rows.astype(int), columns.astype(int))]
    np.testing.assert_array_equal(restored[:, far], nearest[:, far])
