"""Kernels that were compiled before are loaded without what only compiling needs.

By itself numba readies its compiler before it looks for a kept kernel: some 200 modules, scipy.linalg among them, and
all that it knows of types. That takes 0.3 s of each process's first click, most often for nothing.

numba has no public door for this. The classes used here are of the version that requirements.txt pins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core.caching import FunctionCache
from numba.core.registry import CPUDispatcher
from numba.core.runtime import rtsys

Kernel = Callable[..., Any]


class _KeptCode(FunctionCache):  # type: ignore[misc]
    """The machine code of one kernel, in the folder that numba's setting names when this is made."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for arguments of these types; None where it is not kept, and numba readies its compiler and compiles
        it."""
        # Machine code calls this to make arrays, and nothing else of numba.
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)
        return None  # where there is an error that the block ignores


class _KeptKernel(CPUDispatcher):  # type: ignore[misc]
    """What ``numba.njit`` makes of a function, but for how kept code is loaded."""

    def enable_caching(self) -> None:
        """Keep machine code on disk."""
        self._cache = _KeptCode(self.py_func)


def keep_kernel(function: Kernel, *, fastmath: bool) -> Kernel:
    """``numba.njit(function, nogil=True, cache=True, fastmath=fastmath)``, whose kept code is loaded as said above."""
    kernel = _KeptKernel(function, targetoptions={"nopython": True, "nogil": True, "fastmath": fastmath})
    kernel.enable_caching()
    return kernel
