"""Ways to have an engine: in this process, loaded in the background, or on the replicas of a Ray cluster."""
