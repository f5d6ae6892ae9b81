"""``m2n2 segment``: images and prompts -> files of masks."""
