"""``m2n2 benchmark``: what an image and a click cost at every tier of the attention cache, and directly."""
