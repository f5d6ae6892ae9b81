"""The algorithm, to be read: torch, numpy and OpenCV, no device and no speed. ``kernels`` has the same steps, fast."""
