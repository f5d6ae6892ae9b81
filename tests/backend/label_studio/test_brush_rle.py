"""The RLE is bit for bit Label Studio's: held to what its SDK wrote and to what a real server stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.errors import InvalidRequest
from backend.label_studio.brush_rle import decode, encode

# Pairs mask_N, rle_N: masks of every kind (noise, discs, runs at each boundary, empty, full, thin) and the output of
# label_studio_sdk 2.1.2, converter.brush.mask2rle(mask.astype(uint8) * 255).
RECORDED = Path(__file__).parents[2] / "data" / "brush_rle" / "sdk_2_1_2.npz"


def test_encode_is_identical_to_the_sdk_and_decode_inverts_it():
    with np.load(RECORDED) as arrays:
        pairs = [(arrays[name], arrays[name.replace("mask", "rle")]) for name in arrays if name.startswith("mask")]
    assert len(pairs) > 200
    for mask, rle in pairs:
        assert encode(mask) == rle.tolist()
        np.testing.assert_array_equal(decode(rle.tolist(), mask.shape), mask)


def test_stored_annotations_survive_decoding_and_encoding(recorded):
    annotations = [recorded("webhook_ANNOTATION_CREATED")["annotation"]]
    annotations += [task["annotations"][0] for task in recorded("predict_batch_2_tasks")["tasks"]]
    for annotation in annotations:
        region = annotation["result"][0]
        mask = decode(region["value"]["rle"], (region["original_height"], region["original_width"]))
        assert 0 < mask.mean() < 0.1
        assert encode(mask) == region["value"]["rle"]


@pytest.mark.parametrize("arrange", [np.asfortranarray, np.transpose, lambda mask: mask[::2, ::3]])
def test_any_memory_layout_gives_the_same_rle(arrange):
    mask = np.random.default_rng(0).random((40, 60)) < 0.5
    assert encode(arrange(mask)) == encode(np.ascontiguousarray(arrange(mask)))


def test_encode_gives_plain_integers():
    assert {type(byte) for byte in encode(np.ones((3, 5), bool))} == {int}


def test_decode_reads_blocks_with_a_value_for_each_byte():
    """As the browser writes them for a brush stroke: one pixel of alpha 0, one of alpha 7."""
    bits = f"{8:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + "0" + "00" + f"{7:03b}"
    bits += "".join(f"{value:08b}" for value in (9, 9, 9, 0, 9, 9, 9, 7))
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]
    assert decode(rle, (1, 2)).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rle: rle[:6], "cut short"),
        (lambda rle: [], "cut short"),
        (lambda rle: [*rle[:-1], 256], "whole numbers from 0 to 255"),
        (lambda rle: ["a", *rle], "whole numbers from 0 to 255"),
        (lambda rle: [0, 0, 1, *rle[3:]], "describes"),
        (lambda rle: [*rle[:7], 255, 255, 255, *rle[10:]], "goes on after"),
    ],
)
def test_decode_refuses_damaged_data(change, message):
    rle = encode(np.eye(4, dtype=bool))
    with pytest.raises(InvalidRequest, match=message):
        decode(change(rle), (4, 4))
