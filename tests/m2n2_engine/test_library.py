"""The library as a newcomer uses it: without a configuration, with the numbers and arrays that are at hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import m2n2_engine
from m2n2_engine import (
    Box,
    Click,
    Dinov2AttentionAggregator,
    EngineConfig,
    M2N2SegmentationModel,
    Stroke,
    WeightsConfig,
    load_engine,
)
from m2n2_engine.engine import Engine
from m2n2_engine.errors import InvalidClicks, InvalidInput, WeightsUnavailable
from m2n2_engine.types import Image, Mask
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def image(draw_disc: Callable[..., tuple[Image, Mask]]) -> Image:
    return draw_disc()[0]


# --- loading


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run a program whose home holds no weights, and that knows nothing of this machine's settings."""
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return lambda code: subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_without_a_configuration_the_embedded_network_has_its_own_preset(
    embedded_weights: WeightsConfig, run_python: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "m2n2").symlink_to(embedded_weights.cache_folder)
    done = run_python(
        "from m2n2_engine import load_engine; status = load_engine(offline=True).status();"
        "print(status.backbone, status.preset)"
    )
    assert (done.stdout, done.stderr) == ("dinov2-small consensus\n", "")


def test_offline_no_connection_is_opened() -> None:
    nowhere = WeightsConfig(cache_folder=Path("/nowhere"), hub_cache_folder=Path("/nowhere"))
    with pytest.raises(WeightsUnavailable, match="offline mode forbids fetching the weights of dinov2-small"):
        load_engine(EngineConfig(weights=nowhere, backbone="dinov2-small"), offline=True)


def test_offline_an_aggregator_opens_no_connection(run_python: Callable[..., Any]) -> None:
    done = run_python("from m2n2_engine import *; Dinov2AttentionAggregator(device='cpu', offline=True)")
    assert "WeightsUnavailable: offline mode forbids fetching the weights of dinov2-small" in done.stderr
    assert Dinov2AttentionAggregator.__init__.__kwdefaults__["offline"] is False


def test_the_public_names_are_found_by_completion() -> None:
    assert set(m2n2_engine.__all__) <= set(dir(m2n2_engine))
    assert (ROOT / "m2n2_engine" / "py.typed").is_file()


# --- clicks and boxes


@pytest.mark.parametrize("preset", ["paper", "consensus"])
def test_a_sign_of_1_or_0_is_that_of_true_or_false(image: Image, preset: str) -> None:
    engine = load_engine(EngineConfig(backbone="tiny", device="cpu", threads=1, preset=preset))

    def segment(positive: Any, negative: Any) -> Mask:
        clicks = [Click(40.5, 36, positive), Stroke([(85, 10), (88, 12)], negative)]  # type: ignore[arg-type]
        return engine.segment(image, clicks).mask

    expected = segment(True, False)
    assert 0 < expected.mean() < 0.5
    for positive, negative in ((1, 0), (1.0, 0.0), (np.int64(1), np.int64(0)), (np.bool_(True), np.bool_(False))):
        np.testing.assert_array_equal(segment(positive, negative), expected)


@pytest.mark.parametrize("make", [lambda sign: Click(1, 2, sign), lambda sign: Stroke(((1, 2),), sign)])
@pytest.mark.parametrize("sign", [2, -1, 0.5, "1", None, float("nan"), np.array([1, 1])])
def test_any_other_sign_is_refused(make: Callable[[Any], object], sign: Any) -> None:
    with pytest.raises(InvalidClicks, match="must be True or 1 on the object, False or 0 outside of it, not "):
        make(sign)


@pytest.mark.parametrize("number", ["1", None, [1, 2], np.array([1.0, 2.0]), torch.ones(2), 1j])
def test_a_coordinate_that_is_no_number_is_refused(number: Any) -> None:
    for make in (
        lambda: Click(number, 2),
        lambda: Click(1, number),
        lambda: Box(1, 2, number, 4),
        lambda: Stroke(((1, 2), (number, 4))),
    ):
        with pytest.raises(InvalidClicks, match=r"number of pixels, not "):
            make()


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    assert Click(np.float32(1.5), torch.tensor(2)) == Click(1.5, 2)
    assert {Box(np.int64(1), 2, np.uint8(3), 4), Box(1, 2, 3, 4)} == {Box(1, 2, 3, 4)}
    assert Stroke(np.array([[1, 2], [3, 4]])) == Stroke(((1, 2), (3, 4)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clicks", "told"),
    [
        (Click(1, 2), r"the clicks must be a list of Click and Stroke, not Click\(x=1, "),
        (7, "the clicks must be a list of Click and Stroke, not 7"),
        ([(1, 2)], r"a click must be a Click or a Stroke, not \(1, 2\): write Click\(x, y\)"),
        (np.array([[1, 2], [3, 4]]), r"a click must be a Click or a Stroke, not array"),
    ],
)
def test_what_is_no_list_of_clicks_is_refused(image: Image, clicks: Any, told: str) -> None:
    engine = load_engine(EngineConfig(backbone="tiny", device="cpu", threads=1))
    with pytest.raises(InvalidClicks, match=told):
        engine.segment(image, clicks)


def test_a_box_of_four_numbers_is_refused(image: Image) -> None:
    engine = load_engine(EngineConfig(backbone="tiny", device="cpu", threads=1))
    with pytest.raises(InvalidClicks, match=r"the box must be a Box, not \(1, 2, 3, 4\): write Box\(left, top, "):
        engine.segment(image, [], (1, 2, 3, 4))  # type: ignore[arg-type]


# --- any object with `extract_attention`


class Recorded:
    """Returns what it was given."""

    def __init__(self, attention: Any) -> None:
        self.attention = attention

    def extract_attention(self, image: Image) -> Any:
        return self.attention


@pytest.fixture
def attention(parity_folder: Path) -> npt.NDArray[np.float32]:
    with np.load(parity_folder / "ratio_11x13.npz") as arrays:
        return np.asarray(arrays["attention"])


def to_array(given: Any) -> npt.NDArray[Any]:
    return given.detach().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = array.copy()
    array.setflags(write=False)
    return array


@pytest.mark.parametrize(
    "convert",
    [
        lambda array: array,
        read_only,
        lambda array: array.astype(np.float64),
        lambda array: array.astype(">f4"),
        lambda array: np.asfortranarray(array),
        lambda array: torch.from_numpy(array.copy()).double(),
        lambda array: torch.from_numpy(array.copy()).requires_grad_(),
        lambda array: torch.from_numpy(array.transpose(2, 3, 0, 1).copy()).permute(2, 3, 0, 1),
        lambda array: array.tolist(),
    ],
)
def test_attention_of_every_kind_gives_the_same_mask(
    image: Image, attention: npt.NDArray[np.float32], convert: Callable[[Any], Any]
) -> None:
    expected = M2N2SegmentationModel(Recorded(torch.from_numpy(attention))).segment(image, [(40, 36)], [1])
    given = convert(attention)
    before = to_array(given).copy()
    np.testing.assert_array_equal(M2N2SegmentationModel(Recorded(given)).segment(image, [(40, 36)], [1]), expected)
    np.testing.assert_array_equal(to_array(given), before)


@pytest.mark.parametrize(
    "convert", [lambda array: array.astype(np.float16), lambda array: torch.from_numpy(array).half()]
)
def test_attention_in_16_bits_gives_a_mask_close_to_it(
    image: Image, attention: npt.NDArray[np.float32], iou: Callable[[Mask, Mask], float], convert: Callable[[Any], Any]
) -> None:
    expected, found = (
        M2N2SegmentationModel(Recorded(given)).segment(image, [(40, 36)], [1]) > 0
        for given in (attention, convert(attention))
    )
    assert iou(found, expected) > 0.95


def spoil(value: float) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    def change(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        array = array.copy()
        array[1, 2, 3, 4] = value
        return array

    return change


def silence(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    array = array.copy()
    array[1, 2] = 0
    return array


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda array: array[0], r"must have the shape \(h, w, h, w\), not \(13, 11, 13\)"),
        (lambda array: array[:2], r"must have the shape \(h, w, h, w\), not \(2, 13, 11, 13\)"),
        (lambda array: array[:1, :1, :1, :1], r"needs at least 2 x 2 cells, not the shape \(1, 1, 1, 1\)"),
        (lambda array: array.astype(int), "must be of floating point numbers, not int64"),
        (lambda array: array.astype(complex), "must be of floating point numbers, not complex128"),
        (lambda array: None, r"must be a tensor or an array \(h, w, h, w\), not NoneType"),
        (lambda array: "attention", r"must be a tensor or an array \(h, w, h, w\), not str"),
        (spoil(np.nan), "numbers that are negative or not finite"),
        (spoil(np.inf), "numbers that are negative or not finite"),
        (spoil(-0.1), "numbers that are negative or not finite"),
        (silence, r"the cell \(1, 2\) attends to nothing"),
    ],
)
def test_attention_that_cannot_be_used_is_refused(
    image: Image, attention: npt.NDArray[np.float32], change: Callable[[Any], Any], told: str
) -> None:
    model = M2N2SegmentationModel(Recorded(change(attention)))
    with pytest.raises(InvalidInput, match=told):
        model.segment(image, [(40, 36)], [1])


def test_an_object_without_attention_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"needs a method extract_attention\(image\), which type has not"):
        M2N2SegmentationModel(Engine)  # type: ignore[arg-type]
