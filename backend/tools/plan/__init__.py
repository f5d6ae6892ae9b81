"""How many replicas so many annotators need: annotators, server and replicas of the engine as a simulation, whose times
are measured ones."""
