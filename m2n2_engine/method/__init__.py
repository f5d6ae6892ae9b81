"""The algorithm, to be read: torch, numpy and OpenCV, no device and no speed. ``kernels`` has the same steps, fast.

Steps 1, 2, 4 and 5 and the borders of step 6 are in ``reference``, step 3 in ``chain``, the rest of steps 6 and 7 in
``thresholds``. ``correction`` is what may take the place of these two.
"""
