from __future__ import annotations

import collections
import random

import pytest

from backend.tools.plan.router import Router


@pytest.fixture
def make_router():
    return lambda replicas, images=64, hands=16: Router(replicas, images, hands, random.Random(0))


def test_clicks_go_to_the_replica_that_has_the_image(make_router):
    router = make_router(4)
    homes = {image: router.choose(image) for image in range(20)}
    for image, home in homes.items():
        assert router.choose(image) == home


def test_new_images_go_where_the_fewest_are(make_router):
    router = make_router(4)
    assert collections.Counter(router.choose(image) for image in range(20)) == dict.fromkeys(range(4), 5)


def test_a_replica_with_its_hands_full_is_passed_by_and_the_image_has_two_homes(make_router):
    router = make_router(2, hands=1)
    home = router.choose(1)
    other = router.choose(1)
    assert {home, other} == {0, 1}
    # All are full: nobody is refused here.
    assert router.choose(1) in {0, 1}
    router.give_back(home)
    router.give_back(home)
    assert router.choose(1) == home


def test_of_two_homes_the_less_busy_one_is_taken(make_router):
    router = make_router(2, hands=3)
    first = [router.choose(1) for _ in range(4)]
    busy, idle = first[0], first[3]
    assert busy != idle
    assert router.choose(1) == idle


def test_an_image_that_a_replica_dropped_has_no_home(make_router):
    router = make_router(2, images=1)
    home = router.choose(1)
    while router.choose(len(router.in_hand) + sum(router.in_hand)) != home:
        pass
    # Now the one with the least to do is as good as the other, and not passed by for the image's sake.
    idle = 1 - home
    for _ in range(router.in_hand[idle]):
        router.give_back(idle)
    assert router.in_hand[home] > router.in_hand[idle]
    assert router.choose(1) == idle
