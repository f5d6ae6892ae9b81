"""The documents of the project, and what tests ask of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def list_documents() -> list[Path]:
    """Every Markdown file that belongs to the project."""
    named = [
        *ROOT.glob("*.md"),
        ROOT / "backend" / "guide" / "GUIDE.md",
        ROOT / "tests" / "data" / "parity" / "README.md",
    ]
    return sorted([*named, *(ROOT / "docs").rglob("*.md")])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``document`` runs once for each."""
    if "document" in metafunc.fixturenames:
        documents = list_documents()
        metafunc.parametrize("document", documents, ids=[str(path.relative_to(ROOT)) for path in documents])


@pytest.fixture
def text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


@pytest.fixture
def snippets(text: str) -> list[str]:
    """The text of every code block and of every piece of code within a line."""
    blocks = [block for _, block in FENCE.findall(text)]
    return [*blocks, *re.findall(r"`([^`]+)`", FENCE.sub("", text))]


@pytest.fixture
def commands(snippets: list[str]) -> list[list[str]]:
    """The words of every shell command in the snippets, without what follows a ``#``."""
    return [words for snippet in snippets for words in split_commands(snippet)]


def split_commands(snippet: str) -> Iterator[list[str]]:
    """``A=1 make run && m2n2 doctor`` -> ``[make, run]``, ``[m2n2, doctor]``."""
    joined = re.sub(r"\\\n\s*", " ", snippet)
    for line in joined.splitlines():
        for command in re.split(r"&&|\|\||[;|()]", re.sub(r"(^|\s)#.*", "", line)):
            words = re.findall(r"\"[^\"]*\"|'[^']*'|\S+", command)
            while words and re.fullmatch(r"[A-Z_][A-Z0-9_]*=.*", words[0]):
                words = words[1:]
            if words:
                yield words
