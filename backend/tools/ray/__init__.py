"""Replicas of the engine on a Ray cluster of this machine: to try them, and to hold ``m2n2 plan`` to them."""
