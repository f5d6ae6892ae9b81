"""Where the simulated annotator clicks, on masks small enough to see it."""

from __future__ import annotations

import numpy as np
import pytest

from m2n2_engine.tools.evaluate.options import Rule
from m2n2_engine.tools.evaluate.simulation.clicks import next_click
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Click, Mask

BOTH_RULES = pytest.mark.parametrize("rule", Rule)


def draw(*rows: str) -> Mask:
    """``#`` is True."""
    return np.array([[character == "#" for character in row] for row in rows])


def everywhere(pixels: Mask) -> Truth:
    return Truth(pixels, np.ones_like(pixels))


EMPTY = np.zeros((5, 7), bool)
OBJECT = draw("       ", " ####  ", " ####  ", " ####  ", " ####  ")


@BOTH_RULES
def test_the_first_click_is_the_first_of_the_deepest_pixels(rule: Rule) -> None:
    assert next_click(rule, EMPTY, everywhere(OBJECT), []) == Click(2, 2, positive=True)


@BOTH_RULES
def test_the_border_of_the_image_is_an_edge(rule: Rule) -> None:
    assert next_click(rule, EMPTY, everywhere(~EMPTY), []) == Click(2, 2)
    at_border = draw("###    ", "###    ", "###    ", "       ", "       ")
    assert next_click(rule, EMPTY, everywhere(at_border), []) == Click(1, 1)


@BOTH_RULES
def test_an_object_of_one_pixel(rule: Rule) -> None:
    pixel = draw("       ", "       ", "      #", "       ", "       ")
    assert next_click(rule, EMPTY, everywhere(pixel), []) == Click(6, 2)


@BOTH_RULES
def test_what_is_wrongly_taken_gets_a_negative_click(rule: Rule) -> None:
    truth = draw("##     ", "##     ", "       ", "       ", "       ")
    mask = draw("##     ", "##  ###", "    ###", "    ###", "       ")
    assert next_click(rule, mask, everywhere(truth), [Click(0, 0)]) == Click(5, 2, positive=False)


def test_m2n2_looks_at_all_errors_together_and_ritm_at_each_kind() -> None:
    missed, taken = np.zeros((9, 8), bool), np.zeros((9, 8), bool)
    missed[:, :3] = taken[:, 3:6] = True
    # Together six columns wide, the deepest of them where three pixels lie to each side.
    assert next_click(Rule.M2N2, taken, everywhere(missed), []) == Click(2, 2, positive=True)
    # Each three wide and as deep as the other: RITM takes the false positives.
    assert next_click(Rule.RITM, taken, everywhere(missed), []) == Click(4, 1, positive=False)
    missed[:, 7] = False
    wider = missed.copy()
    wider[:, 6] = wider[:, 7] = True
    assert next_click(Rule.RITM, taken, everywhere(missed), [Click(4, y) for y in range(9)]) == Click(1, 1)


@BOTH_RULES
def test_the_unknown_band_is_never_clicked(rule: Rule) -> None:
    truth = Truth(
        draw("       ", "  #    ", "       ", "       ", "       "),
        ~draw("####   ", "## #   ", "####   ", "####   ", "####   "),
    )
    everything = ~EMPTY
    click = next_click(rule, everything, truth, [Click(2, 1)])
    assert click == Click(5, 1, positive=False)
    assert next_click(rule, EMPTY, truth, []) == Click(2, 1, positive=True)


def test_where_nothing_is_wrong_the_deepest_pixel_of_the_object() -> None:
    clicks = [Click(2, 2)]
    assert next_click(Rule.M2N2, OBJECT, everywhere(OBJECT), clicks) == Click(2, 2)
    assert next_click(Rule.RITM, OBJECT, everywhere(OBJECT), clicks) == Click(3, 2)


def test_ritm_never_clicks_a_pixel_twice_and_then_has_none_left() -> None:
    block = draw("       ", "  ##   ", "  ##   ", "       ", "       ")
    clicks: list[Click] = []
    while (click := next_click(Rule.RITM, EMPTY, everywhere(block), clicks)) is not None:
        clicks.append(click)
    assert clicks == [Click(2, 1), Click(3, 1), Click(2, 2), Click(3, 2)]


def test_m2n2_may_click_again_what_does_not_change() -> None:
    assert next_click(Rule.M2N2, EMPTY, everywhere(OBJECT), [Click(2, 2)]) == Click(2, 2)
