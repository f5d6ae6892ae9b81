"""The documents are written for a reader in a hurry who is no native speaker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```[^\n]*\n.*?^```$", re.MULTILINE | re.DOTALL)
MOST_WORDS_A_SENTENCE = 45


def read_paragraphs(path: Path) -> list[str]:
    """Paragraphs and items of lists, without code, tables and pictures."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    text = re.sub(r"`[^`]*`|<!--.*?-->", "X", text, flags=re.DOTALL)
    lines = ["" if line.startswith(("|", "#", "!")) else line for line in text.splitlines()]
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_paragraph_has_at_most_one_semicolon(path: Path) -> None:
    assert [paragraph for paragraph in read_paragraphs(path) if paragraph.count(";") > 1] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_are_short(path: Path) -> None:
    paragraphs = [paragraph for paragraph in read_paragraphs(path) if " by X; processor " not in paragraph]
    sentences = [sentence for paragraph in paragraphs for sentence in re.split(r"(?<=[.!?:]) +", paragraph)]
    assert [sentence for sentence in sentences if len(sentence.split()) > MOST_WORDS_A_SENTENCE] == []
