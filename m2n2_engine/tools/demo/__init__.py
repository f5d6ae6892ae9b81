"""``m2n2 demo``: click on an object in a window and watch its mask.

``state`` is what is known and what a click changes, ``view`` draws it, ``window`` is OpenCV's, ``run`` joins the three
to a segmenter.
"""

from m2n2_engine.tools.demo.display import require_display
from m2n2_engine.tools.demo.run import run_demo

__all__ = ["require_display", "run_demo"]
