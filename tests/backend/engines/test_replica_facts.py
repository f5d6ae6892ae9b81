from __future__ import annotations

from backend.engines.readiness import read_readiness
from backend.engines.replica_facts import ReplicaFacts

FACTS = {
    "model_version": "m2n2-1",
    "device": "cpu",
    "device_usable": True,
    "session_images": 3,
    "session_hits": 10,
    "disk_images": 40,
    "disk_misses": 5,
    "disk_write_failures": 1,
}


def test_what_replicas_hold_is_summed_and_a_disk_that_all_share_counts_once():
    merged = ReplicaFacts().merge({"a": FACTS, "b": {**FACTS, "session_images": 4, "disk_images": 41}})
    assert merged == {
        **FACTS,
        "session_images": 7,
        "session_hits": 20,
        "disk_images": 41,
        "disk_misses": 10,
        "disk_write_failures": 2,
        "replicas": 2,
    }


def test_counters_of_a_replica_that_is_gone_stay_in_the_sum_and_what_it_held_does_not():
    facts = ReplicaFacts()
    facts.merge({"a": FACTS, "b": FACTS})
    merged = facts.merge({"a": {**FACTS, "session_hits": 12}, "c": {**FACTS, "session_hits": 1}})
    assert (merged["session_hits"], merged["session_images"], merged["replicas"]) == (12 + 10 + 1, 6, 2)


def test_a_fact_that_some_replicas_do_not_know_is_summed_over_the_others():
    merged = ReplicaFacts().merge({"a": FACTS, "b": {**FACTS, "device_memory_bytes": 8, "session_images": None}})
    assert (merged["device_memory_bytes"], merged["session_images"]) == (8, 3)


def test_one_usable_device_is_enough():
    broken = {**FACTS, "device_usable": False}
    assert read_readiness(ReplicaFacts().merge({"a": broken, "b": FACTS})).is_ready
    assert not read_readiness(ReplicaFacts().merge({"a": broken})).is_ready


def test_without_an_answer_the_engine_is_not_ready_and_says_where_to_look():
    readiness = read_readiness(ReplicaFacts().merge({}))
    assert (readiness.is_ready, readiness.state) == (False, "loading")
    assert "serve status" in str(readiness.reason)
