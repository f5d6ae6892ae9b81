"""Which packages a command imports: how long it takes to start, told in a way that no busy machine changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

_PROGRAM = """
import sys
from backend.cli.main import main
sys.argv[0] = "m2n2"  # the shell's completion asks it by this name
try:
    main()
finally:
    print(*sys.modules)
"""


def list_imported(*arguments: str, environment: Mapping[str, str]) -> frozenset[str]:
    """The modules that ``m2n2`` with these arguments has imported when it ends, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return frozenset(done.stdout.splitlines()[-1].split())
