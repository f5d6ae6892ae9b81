"""Around every ``from_pretrained``: silence in the logs, and this product's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from safetensors import SafetensorError

from m2n2_engine.errors import WeightsCorrupt
from m2n2_engine.weights.store import root_reason


@contextmanager
def loading(name: str, folder: Path, library_log: ModuleType) -> Iterator[None]:
    """While weights ``name`` load from ``folder``, let the library report errors only, as WeightsCorrupt.

    library_log: ``utils.logging`` of transformers or diffusers; what was set there before comes back after.
    """
    verbosity, progress_bar = library_log.get_verbosity(), library_log.is_progress_bar_enabled()
    library_log.set_verbosity_error()
    library_log.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise WeightsCorrupt(
            f"the weights of {name} in {folder} cannot be loaded: {root_reason(error)}. "
            f"Run `m2n2 weights get {name} --force`, or put a sound copy there."
        ) from error
    finally:
        library_log.set_verbosity(verbosity)
        if progress_bar:
            library_log.enable_progress_bar()
