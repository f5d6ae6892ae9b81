"""Files below one folder, and of no other place."""

from __future__ import annotations

import os
from pathlib import Path

from backend.errors import ImageRefused, ImageUnavailable, image_too_large


def read_file(root: Path, name: str, max_bytes: int) -> bytes:
    """Bytes of a file strictly below the root, also after every symbolic link.

    root: a folder without symbolic links. name: relative to it, or a full path. Raises ImageRefused for other places
    and for more than ``max_bytes``, ImageUnavailable where there is no such file or it cannot be read.
    """
    try:
        path = root / name
        if root not in Path(os.path.normpath(path)).parents:
            raise ImageRefused("the path leads out of the folder of M2N2_LOCAL_FILES_ROOT, which alone is open")
        path = path.resolve()
        if root not in path.parents:
            raise ImageRefused("a symbolic link leads out of the folder of M2N2_LOCAL_FILES_ROOT, which alone is open")
        if not path.is_file():
            raise ImageUnavailable("no such file in the folder of M2N2_LOCAL_FILES_ROOT: check both")
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > max_bytes:
                raise image_too_large(max_bytes)
            data = file.read(max_bytes + 1)
    except (OSError, RuntimeError, ValueError) as error:
        raise ImageUnavailable(f"the file cannot be read ({type(error).__name__}): check its permissions") from None
    if len(data) > max_bytes:
        raise image_too_large(max_bytes)
    return data
