"""How the compiled kernels are built and spread over threads.

Kernels are compiled by numba for the processor they run on, keep no state and release the GIL. They never use numba's
own threading layers: its default pool aborts the process when threads enter it together, and OpenMP's does after a
fork. Instead a kernel works on a band of rows or columns, and the bands run on a plain thread pool, which any number
of request threads may share.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba

from m2n2_engine.kernels.cpu.kept_kernel import Kernel, keep_kernel
from m2n2_engine.kernels.cpu.kernel_folder import keeping_kernels
from m2n2_engine.processors import count_processors

_BANDS_PER_THREAD = 4  # bands differ in cost; a few for each thread even that out
_thread_count = count_processors()


def compiled(function: Kernel) -> Kernel:
    """Compile a kernel with exact IEEE semantics; the machine code is kept on disk where it can be."""
    return _compiled(function, fastmath=False)


def compiled_fast(function: Kernel) -> Kernel:
    """Compile a kernel whose float sums may be reordered. Its values must be finite."""
    return _compiled(function, fastmath=True)


def _compiled(function: Kernel, *, fastmath: bool) -> Kernel:
    with keeping_kernels() as is_kept:
        kernel: Kernel
        if is_kept:
            kernel = keep_kernel(function, fastmath=fastmath)
        else:
            kernel = numba.njit(nogil=True, fastmath=fastmath)(function)
    return kernel


def set_thread_count(count: int) -> None:
    """How many threads ``run_in_bands`` uses from now on."""
    global _thread_count
    _thread_count = count


def thread_count() -> int:
    """Threads that ``run_in_bands`` uses; at first the processors this process may run on."""
    return _thread_count


def run_in_bands(kernel: Callable[[int, int], None], length: int) -> None:
    """Call ``kernel(start, stop)`` for bands that cover ``range(length)``, on the shared pool; waits for all."""
    bands = min(length, _BANDS_PER_THREAD * _thread_count)
    if bands <= 1:
        kernel(0, length)
        return
    edges = [length * band // bands for band in range(bands + 1)]
    pool = _pool(os.getpid(), _thread_count)
    for _ in pool.map(kernel, edges[:-1], edges[1:]):
        pass


@functools.lru_cache(maxsize=4)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # Keyed by process: a forked child inherits the object but not its threads.
    del process
    return ThreadPoolExecutor(threads, thread_name_prefix="m2n2-kernel")
