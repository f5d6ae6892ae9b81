"""Once an engine is warm, no annotator waits for a kernel to be compiled."""

from __future__ import annotations

import subprocess
import sys

import pytest

from m2n2_engine.presets import PRESETS

# In a process of its own: this one has compiled what other tests asked for.
FIND_NEW_KERNELS = """
import gc, sys
import numpy as np
from numba.core.registry import CPUDispatcher
from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import load_engine
from m2n2_engine.types import Box, Click

def find_kernels():
    dispatchers = [found for found in gc.get_objects() if issubclass(type(found), CPUDispatcher)]
    return {(one.__module__, one.__name__, str(kind)) for one in dispatchers for kind in one.signatures}

engine = load_engine(EngineConfig(backbone="tiny", device="cpu", grid=12, threads=1, preset=sys.argv[1]))
engine.warm_up()
warm = find_kernels()
assert any(module.startswith("m2n2_engine.kernels") for module, *_ in warm)
for width in (60, 1100):
    image = np.random.default_rng(width).integers(0, 256, (50, width, 3), np.uint8)
    frozen = image[::-1].copy()
    frozen.setflags(write=False)
    for one in (image, frozen):
        engine.segment(one, [Click(10, 10), Click(50, 30, False), Click(30, 40)])
        engine.segment(one, [], Box(10, 10, 40, 40))
print(*sorted(find_kernels() - warm), sep="\\n")
"""


@pytest.mark.parametrize("preset", PRESETS)
def test_no_kernel_is_compiled_for_a_prompt(preset):
    command = [sys.executable, "-c", FIND_NEW_KERNELS, preset]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
