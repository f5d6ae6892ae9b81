"""What the command line imports before it does anything: it answers at once where nothing is computed."""

from __future__ import annotations

import os

import pytest

from tests.helpers.imported import list_imported
from tests.helpers.paths import ROOT

SLOW = frozenset({"torch", "numba", "scipy", "cv2", "transformers", "pydantic", "flask", "gunicorn", "requests"})
"""Each takes a tenth of a second of processor time or more, but for gunicorn, which no command but one needs."""


def find_slow(*arguments: str, **variables: str) -> frozenset[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **variables}
    return SLOW & list_imported(*arguments, environment=environment)


def test_the_version_needs_nothing_slow() -> None:
    assert find_slow("--version") == frozenset()


@pytest.mark.parametrize(
    "arguments", [("--help",), ("segment", "--help"), ("benchmark", "serve", "--help"), ("label-studio", "--help")]
)
def test_help_needs_at_most_what_options_are_parsed_with(arguments: tuple[str, ...]) -> None:
    assert find_slow(*arguments) <= {"pydantic"}


def test_completion_needs_at_most_what_options_are_parsed_with() -> None:
    variables = {"_M2N2_COMPLETE": "complete_bash", "COMP_WORDS": "m2n2 seg", "COMP_CWORD": "1"}
    assert find_slow(**variables) <= {"pydantic"}


def test_a_labelling_configuration_is_printed_without_a_network() -> None:
    assert find_slow("label-studio", "config", "--labels", "Car") <= {"pydantic", "requests", "cv2"}
