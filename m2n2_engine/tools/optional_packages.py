"""Packages that some tools need and no server does: a command that lacks one says in one line what to install."""

from __future__ import annotations

import dataclasses
import importlib.util

from m2n2_engine.errors import ConfigurationError


@dataclasses.dataclass(frozen=True, slots=True)
class OptionalPackage:
    """A package that may be missing.

    Args:
        module: Its name in Python.
        name: Its name in prose.
        requirement: What to give to pip, as a shell takes it.
    """

    module: str
    name: str
    requirement: str

    def require(self, purpose: str) -> None:
        """Pass where the package is installed; does not import it, so that it costs nothing to ask early.

        Args:
            purpose: What needs it, as the beginning of a sentence.

        Raises:
            ConfigurationError: It is not installed.
        """
        if not self._is_installed():
            raise ConfigurationError(f"{purpose} needs {self.name}: pip install {self.requirement}")

    def _is_installed(self) -> bool:
        try:
            return importlib.util.find_spec(self.module) is not None
        except ImportError:
            return False


MATPLOTLIB = OptionalPackage("matplotlib", "matplotlib", "matplotlib")
SCIKIT_IMAGE = OptionalPackage("skimage", "scikit-image", "scikit-image")
SIMPY = OptionalPackage("simpy", "SimPy", "simpy")
PYCOCOTOOLS = OptionalPackage("pycocotools", "pycocotools", "pycocotools")
"""Comes with the product, but only data sets use it."""
