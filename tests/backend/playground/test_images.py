"""What is kept for visitors is bounded: by number, bytes and age, for each and in all."""

from __future__ import annotations

import pytest

from backend.playground.images import HeldImages, HeldLimits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def images(clock):
    limits = HeldLimits(visitor_images=2, visitor_bytes=100, images=3, bytes=150, seconds=10)
    return HeldImages(limits, clock)


def list_kept(images, *keys):
    return [key for key in keys if images.find(*key) is not None]


def test_a_file_is_found_by_its_own_visitor_alone(images):
    images.keep("ann", "1", b"file")
    assert images.find("ann", "1") == b"file"
    assert images.find("bob", "1") is None
    assert images.find("ann", "2") is None


def test_a_visitor_has_a_number_of_images_the_last_used_ones(images):
    images.keep("ann", "1", b"1")
    images.keep("ann", "2", b"2")
    images.find("ann", "1")
    images.keep("ann", "3", b"3")
    assert list_kept(images, ("ann", "1"), ("ann", "2"), ("ann", "3")) == [("ann", "1"), ("ann", "3")]


def test_a_visitor_has_a_number_of_bytes(images):
    images.keep("ann", "1", bytes(60))
    images.keep("ann", "2", bytes(41))
    assert list_kept(images, ("ann", "1"), ("ann", "2")) == [("ann", "2")]


def test_all_visitors_have_a_number_of_images(images):
    for visitor in "abcd":
        images.keep(visitor, "1", b"1")
    assert list_kept(images, *((visitor, "1") for visitor in "abcd")) == [("b", "1"), ("c", "1"), ("d", "1")]


def test_all_visitors_have_a_number_of_bytes(images):
    images.keep("a", "1", bytes(80))
    images.keep("b", "1", bytes(80))
    assert list_kept(images, ("a", "1"), ("b", "1")) == [("b", "1")]


def test_the_newest_image_is_kept_whatever_its_size(images):
    images.keep("a", "1", b"1")
    images.keep("b", "1", bytes(1000))
    assert list_kept(images, ("a", "1"), ("b", "1")) == [("b", "1")]
    images.keep("c", "1", b"1")
    assert list_kept(images, ("b", "1"), ("c", "1")) == [("c", "1")]


def test_the_same_image_again_takes_no_second_place(images):
    for _ in range(3):
        images.keep("a", "1", bytes(60))
    images.keep("b", "1", bytes(60))
    assert list_kept(images, ("a", "1"), ("b", "1")) == [("a", "1"), ("b", "1")]


def test_an_image_that_is_not_used_is_forgotten(images, clock):
    images.keep("a", "1", b"1")
    images.keep("a", "2", b"2")
    clock.now = 9
    assert images.find("a", "1") is not None
    clock.now = 11
    assert list_kept(images, ("a", "1"), ("a", "2")) == [("a", "1")]
