"""``m2n2 evaluate``: simulated annotators refine the objects of a dataset, and how many clicks they need is counted."""
