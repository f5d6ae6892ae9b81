"""The size that an image is worked on at."""

import numpy as np
import pytest

from m2n2_engine.session.session import reduce_image, reduced_size


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((480, 640), 1024, (480, 640)),
        ((3000, 4000), 1024, (768, 1024)),
        ((4000, 1000), 320, (320, 80)),
        ((200, 30000), 320, (13, 1960)),
        ((4000, 2), 100, (2236, 1)),
        ((9, 9), 0, (9, 9)),
    ],
)
def test_reduced_size(size, longest, expected):
    assert reduced_size(size, longest) == expected


def test_a_small_image_is_not_copied():
    image = np.zeros((30, 40, 3), np.uint8)
    assert reduce_image(image, 100) is image
