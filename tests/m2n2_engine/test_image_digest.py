"""Names of images."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from m2n2_engine import image_digest
from m2n2_engine.image_digest import ImageDigests, OncePerImage
from m2n2_engine.types import Image


@pytest.fixture
def image() -> Image:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Image]:
    """The images whose pixels were read."""
    read: list[Image] = []
    compute = image_digest._compute
    monkeypatch.setattr(image_digest, "_compute", lambda image: read.append(image.shape) or compute(image))
    return read


def frozen(image: Image) -> Image:
    image.setflags(write=False)
    return image


def test_equal_images_share_a_digest_and_others_do_not(image: Image) -> None:
    digests = ImageDigests()
    assert digests.digest(image) == digests.digest(frozen(image.copy()))
    for other in (image.reshape(7, 5, 3), image ^ np.uint8(1), image[:4]):
        assert digests.digest(np.ascontiguousarray(other)) != digests.digest(image)


def test_an_array_that_may_change_is_read_each_time(image: Image) -> None:
    digests = ImageDigests()
    before = digests.digest(image)
    image[0, 0, 0] ^= 1
    assert digests.digest(image) != before


def test_an_array_that_cannot_change_is_read_once(image: Image, computed: list[Image]) -> None:
    digests = ImageDigests()
    assert len({digests.digest(frozen(image)) for _ in range(3)}) == 1
    assert len(computed) == 1


def test_a_read_only_view_of_an_array_that_may_change_is_read_each_time(image: Image) -> None:
    digests = ImageDigests()
    view = frozen(image[:])
    before = digests.digest(view)
    image[0, 0, 0] ^= 1
    assert digests.digest(view) != before


def test_an_array_that_is_gone_is_forgotten(image: Image) -> None:
    digests = ImageDigests()
    digests.digest(frozen(image.copy()))
    gc.collect()
    assert not digests._known


def test_what_is_made_of_an_image_goes_with_it(image: Image) -> None:
    class Made:
        pass

    once = OncePerImage(lambda image: Made())
    fixed = frozen(image.copy())
    made = weakref.ref(once.find(fixed))
    assert once.find(fixed) is made()
    assert once.find(frozen(image.copy())) is not made()
    del fixed
    gc.collect()
    assert made() is None
