"""What CVAT's page sends for the function as it is announced: each sequence is asked for, and answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.cvat_page import BOX, NEGATIVE, POSITIVE, Generation, asks

from .conftest import CvatServer, FindMask
from .test_calls import Gateway

PLACES: dict[str, Any] = {BOX: [[10, 20], [100, 110]], POSITIVE: [30.5, 40.25], NEGATIVE: [140, 100.5]}
NEWEST = (Generation.BOXES, Generation.COMMANDS)


def render(shapes: list[str]) -> dict[str, Any]:
    return {
        "pos_points": [PLACES[POSITIVE]] * shapes.count(POSITIVE),
        "neg_points": [PLACES[NEGATIVE]] * shapes.count(NEGATIVE),
        "obj_bbox": PLACES[BOX] if BOX in shapes else [],
    }


@pytest.mark.parametrize("generation", Generation)
@pytest.mark.parametrize("drawn", [[POSITIVE, NEGATIVE], [BOX, POSITIVE, NEGATIVE], [BOX, NEGATIVE]])
def test_every_request_of_a_sequence_has_the_engine_s_mask(
    server: CvatServer, image: str, find_mask: FindMask, drawn: list[str], generation: Generation
) -> None:
    gateway = Gateway(server.port)
    annotations = gateway.get("m2n2")["metadata"]["annotations"]
    sequences = [drawn[:count] for count in range(1, len(drawn) + 1)]
    asked = [shapes for shapes in sequences if asks(annotations, shapes, generation)]
    # No generation keeps a point from being asked for, and the newer ones no box.
    assert asked == [shapes for shapes in sequences if generation in NEWEST or shapes[-1] != BOX]
    for shapes in asked:
        prompt = render(shapes)
        found = np.array(gateway.invoke("m2n2", {"image": image, **prompt}).json()["mask"])
        np.testing.assert_array_equal(found, find_mask(prompt["pos_points"], prompt["neg_points"], prompt["obj_bbox"]))


@pytest.mark.parametrize("generation", Generation)
def test_a_negative_point_alone_is_no_error_wherever_the_page_asks_for_it(
    server: CvatServer, image: str, generation: Generation
) -> None:
    gateway = Gateway(server.port)
    annotations = gateway.get("m2n2")["metadata"]["annotations"]
    assert asks(annotations, [NEGATIVE], generation) is (generation is not Generation.BOXES)
    for shapes in ([NEGATIVE], []):
        assert not np.array(gateway.invoke("m2n2", {"image": image, **render(shapes)}).json()["mask"]).any()


@pytest.mark.parametrize("generation", Generation)
def test_one_positive_point_announced_as_necessary_would_keep_a_box_from_being_asked_for(
    generation: Generation,
) -> None:
    announced = {"min_pos_points": "1", "min_neg_points": "0"}
    assert not asks(announced, [BOX], generation)
    assert not asks(announced, [BOX, NEGATIVE], generation)
    assert asks(announced, [BOX, POSITIVE], generation)


def test_negative_points_are_allowed_only_where_they_are_announced() -> None:
    assert asks({"min_pos_points": "0", "min_neg_points": "0"}, [POSITIVE, NEGATIVE], Generation.COMMANDS)
    assert asks({"min_pos_points": "0"}, [POSITIVE], Generation.COMMANDS)
