"""Files from the web that may take several runs to arrive."""

from __future__ import annotations

import os
from pathlib import Path

import requests
import urllib3
from rich.progress import Progress

from m2n2_engine.errors import DatasetError

_CHUNK_BYTES = 1 << 18
_TIMEOUT_SECONDS = (10, 60)
"""To connect; between two bytes."""


def download(url: str, target: Path, progress: Progress) -> None:
    """Fetch a file; what came before an earlier run was stopped, ``<target>.part``, is continued.

    Raises DatasetError where the address does not answer with the file, or stops before its end.
    """
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(url, part, progress)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise DatasetError(
            f"{url} could not be downloaded ({_reason(error)}): run the command again, it goes on where it stopped; "
            f"or put the file at {target} yourself"
        ) from None
    os.replace(part, target)


def _reason(error: Exception) -> object:
    """What went wrong in the end: the outer errors repeat the address."""
    inner = error.args[0] if error.args else error
    return getattr(inner, "reason", inner)


def _fetch(url: str, part: Path, progress: Progress) -> None:
    have = part.stat().st_size if part.is_file() else 0
    # Compressed on its way, the file could not be continued by the number of its bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return  # stopped after the last byte
            part.unlink()
            raise requests.RequestException(f"the {have} bytes of an earlier run are not the start of it")
        response.raise_for_status()
        continues = response.status_code == requests.codes.partial_content
        _receive(response, part, have if continues else 0, progress)


def _receive(response: requests.Response, part: Path, have: int, progress: Progress) -> None:
    """have: bytes of the part that stay."""
    length = response.headers.get("Content-Length")
    total = None if length is None else have + int(length)
    task = progress.add_task(f"downloading {part.stem}", total=total, completed=have)
    with part.open("ab") as file:
        file.truncate(have)
        # Undecoded: some servers declare a .tgz as compressed on its way.
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
            file.write(chunk)
            progress.advance(task, len(chunk))
    progress.remove_task(task)
