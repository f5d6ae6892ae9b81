"""``m2n2 evaluate --propose``: proposals from examples against the truth, beside two simple ways to the same."""
