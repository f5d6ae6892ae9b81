"""Where numba keeps compiled kernels: a folder named by the sources of all of them.

By itself numba looks only at the file that a kernel is defined in. A kernel that was compiled before a change of what
it is made of, like ``simd.py``, would be taken for one of now.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import llvmlite
import numba

_SOURCES = Path(__file__).parent


@functools.cache
def hash_sources(folder: Path) -> str:
    """16 hex digits of a folder's Python files and the compiler's release, as they were when first asked for."""
    digest = hashlib.blake2b(f"{numba.__version__} {llvmlite.__version__}".encode(), digest_size=8)
    for path in sorted(folder.glob("*.py")):
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
        digest.update(path.name.encode())
    return digest.hexdigest()


@contextlib.contextmanager
def keeping_kernels() -> Iterator[None]:
    """Kernels that are declared in the block are kept in the folder of their sources.

    It lies in ``NUMBA_CACHE_DIR`` where that is set, else beside the byte code, else among the user's caches. Where
    none of them can be written to, numba decides.
    """
    chosen = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = next(_find_folders(chosen), chosen)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = chosen


def _find_folders(chosen: str) -> Iterator[str]:
    """Folders that can be written to, the best first. chosen: by the user; empty where there is none."""
    user_caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    for parent in [Path(chosen)] if chosen else [_SOURCES / "__pycache__", user_caches / "m2n2" / "kernels"]:
        folder = parent / f"kernels-{hash_sources(_SOURCES)}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                yield str(folder)
