"""Where numba keeps compiled kernels: a folder named by the sources of all of them.

By itself numba looks only at the file that a kernel is defined in. A kernel that was compiled before a change of what
it is made of, like ``simd.py``, would be taken for one of now.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import llvmlite
import numba

_SOURCES = Path(__file__).parent
_WRITABLE_BY_OTHERS = 0o022

logger = logging.getLogger(__name__)


@functools.cache
def hash_sources(folder: Path) -> str:
    """16 hex digits of a folder's Python files and the compiler's release, as they were when first asked for."""
    digest = hashlib.blake2b(f"{numba.__version__} {llvmlite.__version__}".encode(), digest_size=8)
    for path in sorted(folder.glob("*.py")):
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
        digest.update(path.name.encode())
    return digest.hexdigest()


@contextlib.contextmanager
def keeping_kernels() -> Iterator[bool]:
    """Kernels that are declared in the block are kept in the folder of their sources; False where there is none.

    It lies in ``NUMBA_CACHE_DIR`` where that is set, else beside the byte code, else among the user's caches.
    """
    chosen = numba.config.CACHE_DIR
    folder = find_folder(chosen)
    numba.config.CACHE_DIR = folder or chosen
    try:
        yield folder is not None
    finally:
        numba.config.CACHE_DIR = chosen


@functools.cache
def find_folder(chosen: str) -> str | None:
    """The first of these places that can be written to, and that nobody else can write to: what is kept there is run.

    chosen: by the user; empty where nothing is.
    """
    user_caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    places = [_SOURCES / "__pycache__", user_caches / "m2n2" / "kernels"]
    for place in [Path(chosen), *places] if chosen else places:
        folder = place / f"kernels-{hash_sources(_SOURCES)}"
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
            if status.st_uid not in (os.geteuid(), 0) or status.st_mode & _WRITABLE_BY_OTHERS:
                logger.warning(
                    "compiled kernels are not kept in %s: others may write there; run chmod go-w on it", folder
                )
            elif os.access(folder, os.W_OK | os.X_OK):
                return str(folder)
    logger.warning(
        "compiled kernels are kept nowhere, and each start compiles them for a minute: neither %s nor %s can be "
        "written to. Set NUMBA_CACHE_DIR to a folder that can",
        *places,
    )
    return None
