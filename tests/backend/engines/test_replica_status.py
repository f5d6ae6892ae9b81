from __future__ import annotations

import dataclasses

from backend.engines.replica_status import ReplicaStatus
from m2n2_engine.types import EngineStatus, State, Tier, TierStatus

TIER = TierStatus(images=3, bytes=300, budget_bytes=1000, hits=10, misses=5, evictions=1)
DISK = TierStatus(images=40, bytes=400, budget_bytes=9000, hits=0, misses=5, evictions=0)
STATUS = EngineStatus("m2n2-1", device="cpu", disk_write_failures=1, tiers={Tier.DEVICE: TIER, Tier.DISK: DISK})
BROKEN = dataclasses.replace(STATUS, state=State.FAILED, reason="the device does not answer")


def change(tier, **values):
    changed = dataclasses.replace(STATUS.tiers[tier], **values)
    return dataclasses.replace(STATUS, tiers={**STATUS.tiers, tier: changed})


def test_what_replicas_hold_is_summed_and_a_disk_that_all_share_counts_once():
    merged = ReplicaStatus().merge({"a": STATUS, "b": change(Tier.DISK, images=41)})
    assert merged.tiers == {
        Tier.DEVICE: TierStatus(images=6, bytes=600, budget_bytes=2000, hits=20, misses=10, evictions=2),
        Tier.DISK: TierStatus(images=41, bytes=400, budget_bytes=9000, hits=0, misses=10, evictions=0),
    }
    assert (merged.disk_write_failures, merged.replicas, merged.device) == (2, 2, "cpu")


def test_counters_of_a_replica_that_is_gone_stay_in_the_sum_and_what_it_held_does_not():
    replicas = ReplicaStatus()
    replicas.merge({"a": STATUS, "b": STATUS})
    merged = replicas.merge({"a": change(Tier.DEVICE, hits=12), "c": change(Tier.DEVICE, hits=1)})
    device = merged.tiers[Tier.DEVICE]
    assert (device.hits, device.images, merged.replicas) == (12 + 10 + 1, 6, 2)


def test_what_some_replicas_do_not_know_is_summed_over_the_others():
    merged = ReplicaStatus().merge({"a": STATUS, "b": dataclasses.replace(STATUS, device_memory_bytes=8)})
    assert (merged.device_memory_bytes, merged.device_memory_used_bytes) == (8, None)


def test_one_usable_device_is_enough():
    assert ReplicaStatus().merge({"a": BROKEN, "b": STATUS}).is_ready
    assert not ReplicaStatus().merge({"a": BROKEN}).is_ready


def test_without_an_answer_the_engine_is_not_ready_and_says_where_to_look():
    status = ReplicaStatus().merge({})
    assert (status.is_ready, status.state, status.replicas) == (False, State.LOADING, 0)
    assert "serve status" in str(status.reason)
