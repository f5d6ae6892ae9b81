from __future__ import annotations

import random

import pytest

from backend.tools.plan.replica_model import Budgets, ReplicaModel, Shelf
from m2n2_engine.types import Tier

ROOM_FOR_ALL = 1 << 40


@pytest.fixture
def make_replica(times):
    """A replica with room for so many bytes at each tier, by default for none but the newest session."""

    def make(session_bytes=0, host_bytes=0, disk_bytes=0, disk=None):
        budgets = Budgets(session_bytes, host_bytes, disk_bytes, images=64)
        return ReplicaModel(budgets, disk or Shelf(disk_bytes), times, random.Random(0))

    return make


def test_the_least_recently_used_make_room_and_a_shelf_may_keep_its_newest():
    shelf = Shelf(10)
    assert [shelf.put(image, 5) for image in (1, 2, 1)] == [[], [], []]
    assert shelf.put(3, 5) == [2]
    assert shelf.put(3, 10) == [1]
    assert shelf.put(4, 11) == [3, 4]
    assert 4 not in shelf
    newest = Shelf(10, keep_newest=True)
    newest.put(1, 5)
    assert newest.put(2, 11) == [1]
    assert 2 in newest


def test_a_new_image_is_prepared_once_and_its_clicks_find_it(make_replica):
    replica = make_replica()
    assert replica.prepare(1) == (Tier.NETWORK, 16.0)
    assert replica.prepare(1) == (Tier.DEVICE, 0.0)
    assert replica.segment(1, 1) == (Tier.DEVICE, 2.0)
    assert replica.segment(1, 2) == (Tier.DEVICE, 1.0)
    # Another object on it.
    assert replica.segment(1, 1) == (Tier.DEVICE, 2.0)


@pytest.mark.parametrize(
    ("budgets", "tier", "seconds"),
    [
        ({}, Tier.NETWORK, 16.0),
        ({"disk_bytes": ROOM_FOR_ALL}, Tier.DISK, 8.0),
        ({"disk_bytes": ROOM_FOR_ALL, "host_bytes": ROOM_FOR_ALL}, Tier.HOST, 4.0),
        ({"host_bytes": ROOM_FOR_ALL}, Tier.HOST, 4.0),
        ({"session_bytes": ROOM_FOR_ALL}, Tier.DEVICE, 0.0),
    ],
)
def test_an_image_is_found_at_the_highest_tier_that_has_kept_it(make_replica, budgets, tier, seconds):
    replica = make_replica(**budgets)
    replica.prepare(1)
    replica.prepare(2)
    assert replica.prepare(1) == (tier, seconds)


def test_a_session_that_was_dropped_sees_all_clicks_of_its_object_again(make_replica):
    replica = make_replica(host_bytes=ROOM_FOR_ALL)
    replica.segment(1, 1)
    replica.segment(1, 2)
    replica.prepare(2)
    assert replica.segment(1, 3) == (Tier.HOST, 4.0 + 2.0 + 1.0 + 1.0)


def test_clicks_take_room_among_the_sessions(make_replica):
    replica = make_replica(session_bytes=21, host_bytes=ROOM_FOR_ALL)
    replica.prepare(1)
    replica.segment(2, 1)
    assert replica.prepare(1)[0] is Tier.DEVICE
    replica.segment(1, 1)
    assert replica.prepare(2)[0] is Tier.HOST


def test_a_shared_disk_has_what_another_replica_prepared(make_replica):
    disk = Shelf(ROOM_FOR_ALL)
    one, other = make_replica(disk=disk), make_replica(disk=disk)
    one.prepare(1)
    assert other.prepare(1) == (Tier.DISK, 8.0)
