"""How this server shows itself to CVAT: as a function of a nuclio dashboard."""

from __future__ import annotations

from typing import Any

from m2n2_engine.types import State

NAME = "m2n2"

_DESCRIPTION = "Training-free interactive segmentation (M2N2)"
_STATES = {State.LOADING: "building", State.READY: "ready", State.FAILED: "error"}
"""Our states -> nuclio's."""

# All are strings, as nuclio has them. CVAT takes any string for true, "false" too, so that startswith_box is left out.
# CVAT's page waits for so many positive points, and a box is none of them: with "1" a box alone would ask for nothing.
_ANNOTATIONS = {
    "name": "M2N2",
    "type": "interactor",
    # Below 2 the user interface refuses.
    "version": "2",
    "spec": "",
    "min_pos_points": "0",
    # Left out, negative points would be forbidden.
    "min_neg_points": "0",
    "startswith_box_optional": "true",
    "help_message": "Draw a box around the object or click it; right-click what does not belong to it",
    "animated_gif": "",
}


def describe_function(state: State, port: int) -> dict[str, Any]:
    """What nuclio's dashboard says of a function. port: where CVAT's invoke method "direct" sends its requests to."""
    return {
        "metadata": {"name": NAME, "namespace": "nuclio", "annotations": _ANNOTATIONS},
        "spec": {"description": _DESCRIPTION},
        "status": {"state": _STATES[state], "httpPort": port},
    }
