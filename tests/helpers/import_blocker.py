"""Packages that are not there: importing one of them fails, as where it was never installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class ImportBlocker:
    """A finder that is asked before all others and refuses some packages with all that is in them."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = frozenset(packages)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder.find_spec`."""
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def block(*packages: str) -> None:
    """For the rest of this process; nothing of them may have been imported yet."""
    imported = {name.partition(".")[0] for name in sys.modules} & set(packages)
    if imported:
        raise RuntimeError(f"imported before they were blocked: {', '.join(sorted(imported))}")
    sys.meta_path.insert(0, ImportBlocker(packages))
