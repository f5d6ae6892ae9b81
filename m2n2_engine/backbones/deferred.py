"""A network that is loaded by the first image that needs it: an image found on disk needs none."""

from __future__ import annotations

import threading
from collections.abc import Callable

from m2n2_engine.backbones import Backbone
from m2n2_engine.method.chain import AttentionFactors
from m2n2_engine.types import Image


class DeferredBackbone:
    """A backbone that is known but not loaded yet; implements ``backbones.Backbone``."""

    def __init__(self, name: str, grid: tuple[int, int], device: str, fingerprint: str, load: Callable[[], Backbone]):
        """name, grid, device, fingerprint: of the backbone that ``load`` gives. load: called once, by the first image;
        what it raises, that image and each after it raise."""
        self.name = name
        self.grid = grid
        self.device = device
        self.fingerprint = fingerprint
        self._load = load
        self._loaded: Backbone | None = None
        self._lock = threading.Lock()

    def extract(self, image: Image) -> AttentionFactors:
        """As ``Backbone.extract``. Raises what loading raises, too."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
        return self._loaded.extract(image)
