"""The commands of a document, as one script: what an operator types, block by block."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def make_script(document: Path, substitutions: Mapping[str, str], left_out: Mapping[str, str]) -> str:
    """Every block of a document in its order. Each command is printed before it runs, and the first that fails ends it.

    Args:
        document: A page with blocks of the language ``bash``.
        substitutions: What stands there -> what is typed in its place, such as a path that the reader is to name.
        left_out: The beginning of a block -> why it is not run.

    Raises:
        AssertionError: A substitution or a block is named that the document does not have.
    """
    blocks = _BLOCK.findall(document.read_text(encoding="utf-8"))
    for beginning in left_out:
        assert any(block.startswith(beginning) for block in blocks), f"{document.name} has no block {beginning!r}"
    kept = [block for block in blocks if not block.startswith(tuple(left_out))]
    script = "\n".join(["set -euxo pipefail", *kept])
    for written, typed in substitutions.items():
        assert written in script, f"{document.name} does not say {written!r}"
        script = script.replace(written, typed)
    assert not re.search(r"<[a-z ]+>", script), "the reader is asked for something that is not given here"
    return script
