"""The commands of a document, as one script: what an operator types, block by block."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from ..paths import ROOT

OPERATE = ROOT / "docs" / "operate"
_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Page:
    """A page that is followed, or one section of it.

    path: of the page. heading: of the section, without its number signs; empty: the whole page. typed: what stands
    there -> what is typed in its place, such as a path that the reader is to name. left_out: the beginning of a block
    -> why it is not run.
    """

    path: Path
    heading: str = ""
    typed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the page, and of the section."""
        return f"{self.path.name} {self.heading}".strip()

    def read_blocks(self) -> list[str]:
        """Every block of the language ``bash``, in its order. Raises AssertionError where there is no such section."""
        text = self.path.read_text(encoding="utf-8")
        if self.heading:
            _, found, text = text.partition(f"\n## {self.heading}\n")
            assert found, f"{self.path.name} has no section {self.heading!r}"
            text = text.partition("\n## ")[0]
        return _BLOCK.findall(text)

    def make_script(self, **values: str) -> str:
        """The blocks as one script. Each command is printed before it runs, and the first that fails ends it.

        values: what stands in braces in ``typed``, such as a folder of this run.

        Raises:
            AssertionError: Something is typed otherwise or left out that the page does not have.
        """
        blocks = self.read_blocks()
        for beginning in self.left_out:
            assert any(block.startswith(beginning) for block in blocks), f"{self.name} has no block {beginning!r}"
        kept = [block for block in blocks if not block.startswith(tuple(self.left_out))]
        script = "\n".join(["set -euxo pipefail", *kept])
        for written, typed in self.typed.items():
            assert written in script, f"{self.name} does not say {written!r}"
            script = script.replace(written, typed.format(**values))
        assert not re.search(r"<[a-z ]+>", script), "the reader is asked for something that is not given here"
        return script
