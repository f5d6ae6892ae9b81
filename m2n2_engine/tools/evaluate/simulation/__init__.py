"""The simulated annotator: where it clicks, the box it draws, and what is kept of its work."""
