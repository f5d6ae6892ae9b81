"""The published names: their numbers against the reference implementation, and the published uses."""

from __future__ import annotations

import functools
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from m2n2_engine import (
    M2N2SegmentationModel,
    StableDiffusion2AttentionAggregator,
    adjust_temperature_and_ipf,
    create_markov_map_from_point,
)
from m2n2_engine.errors import ConfigurationError, InvalidClicks, InvalidImage, InvalidInput
from m2n2_engine.tools import demo
from m2n2_engine.tools.demo.window import Signal
from m2n2_engine.types import Image, Mask

Reference = dict[str, npt.NDArray[Any]]

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ["blobs_local_10x14", "ratio_11x13", "flowers_dinov2_16"]
PROMPTS = [(name, prompt) for name, count in zip(NAMES, [4, 3, 3], strict=True) for prompt in range(count)]
EXAMPLES = Path(__file__).parents[2] / "examples"
GRID = 16


class RecordedAggregator:
    """Anything with ``extract_attention`` is an aggregator. This one keeps what it returns."""

    def __init__(self, attention: npt.NDArray[np.float32]) -> None:
        self.attention = torch.from_numpy(attention.copy())

    def extract_attention(self, image: Image) -> torch.Tensor:
        return self.attention


@pytest.fixture
def load_reference(parity_folder: Path) -> Callable[[str], Reference]:
    return lambda name: dict(np.load(parity_folder / f"{name}.npz"))


@pytest.fixture
def reference(load_reference: Callable[[str], Reference]) -> Reference:
    return load_reference("ratio_11x13")


@pytest.fixture
def model(reference: Reference) -> M2N2SegmentationModel:
    return M2N2SegmentationModel(RecordedAggregator(reference["attention"]))


def relative_error(found: Any, expected: npt.NDArray[Any]) -> float:
    return float(np.abs(np.asarray(found).reshape(expected.shape) - expected).max() / expected.max())


# --- against the reference implementation


@pytest.mark.parametrize(("name", "prompt"), PROMPTS)
def test_prompts_have_the_masks_of_the_reference(
    load_reference: Callable[[str], Reference], iou: Callable[[Mask, Mask], float], name: str, prompt: int
) -> None:
    reference = load_reference(name)
    model = M2N2SegmentationModel(RecordedAggregator(reference["attention"]))
    points, labels = reference[f"prompt{prompt}_points"], reference[f"prompt{prompt}_labels"]
    found = model.segment(img=reference["image"], points=points, points_in_segment=labels)
    expected = reference[f"prompt{prompt}_mask"] > 0
    assert (found.dtype, found.shape) == (np.uint8, expected.shape)
    assert set(np.unique(found)) == {0, 1}
    assert iou(found > 0, expected) >= 0.999
    assert found.sum() == pytest.approx(expected.sum(), rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_steps_have_the_numbers_of_the_reference(load_reference: Callable[[str], Reference], name: str) -> None:
    reference = load_reference(name)
    transition = adjust_temperature_and_ipf(reference["attention"])
    assert relative_error(transition, reference["transition"]) <= 1e-5
    found = create_markov_map_from_point(image=reference["image"], A_tensor=transition, point=reference["click"])
    assert relative_error(found, reference["flood_filled"] * reference["upsampled"].max()) <= 1e-4


# --- what goes in and what comes out


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_steps_return_the_kind_they_are_given(reference: Reference, kind: Callable[[Any], Any]) -> None:
    attention = kind(reference["attention"])
    before = reference["attention"].copy()
    transition = adjust_temperature_and_ipf(attention)
    markov_map = create_markov_map_from_point(reference["image"], transition, (50, 40))
    for result, shape in ((transition, attention.shape), (markov_map, reference["image"].shape[:2])):
        assert isinstance(result, type(attention))
        assert result.shape == shape
        assert getattr(result, "device", None) == getattr(attention, "device", None)
    assert markov_map[40, 50] == 0
    np.testing.assert_array_equal(reference["attention"], before)


@pytest.mark.parametrize(
    "convert",
    [
        lambda points: points,
        lambda points: points.tolist(),
        lambda points: [tuple(point) for point in points],
        lambda points: list(points.astype(np.float32)),
        lambda points: points.astype(int),
        lambda points: torch.from_numpy(points),
    ],
)
def test_points_come_in_many_forms(reference: Reference, model: M2N2SegmentationModel, convert: Any) -> None:
    points = np.array([[20.0, 30.0], [60.0, 50.0]])
    found = model.segment(reference["image"], convert(points), [True, False])
    assert (found[30, 20], found[50, 60]) == (1, 0)
    np.testing.assert_array_equal(found, model.segment(reference["image"], [(20, 30), (60, 50)], (1, 0)))


def test_a_view_with_negative_strides_is_an_image(reference: Reference) -> None:
    view = reference["image"][:, :, ::-1]
    maps = [
        create_markov_map_from_point(image, reference["transition"].reshape(reference["attention"].shape), (50, 40))
        for image in (view, view.copy())
    ]
    np.testing.assert_array_equal(*maps)
    masks = [
        M2N2SegmentationModel(RecordedAggregator(reference["attention"])).segment(image, [(50, 40)], [True])
        for image in (view, view.copy())
    ]
    np.testing.assert_array_equal(*masks)


def test_what_an_aggregator_returns_stays_as_it_is(reference: Reference) -> None:
    aggregator = RecordedAggregator(reference["attention"])
    for image in (reference["image"], reference["image"][::-1]):
        M2N2SegmentationModel(aggregator).segment(image, [(50, 40)], [True])
    np.testing.assert_array_equal(aggregator.attention, reference["attention"])


def test_constants_are_keyword_arguments(reference: Reference) -> None:
    aggregator = RecordedAggregator(reference["attention"])
    areas = [
        M2N2SegmentationModel(aggregator, click_area_limit=limit).segment(reference["image"], [(50, 40)], [True]).mean()
        for limit in (0.02, 0.9)
    ]
    assert 0 < areas[0] <= 0.021 < areas[1]
    with pytest.raises(TypeError, match="sharpness"):
        M2N2SegmentationModel(aggregator, sharpness=2)


# --- what goes wrong


def test_every_point_needs_its_sign(reference: Reference, model: M2N2SegmentationModel) -> None:
    with pytest.raises(InvalidClicks, match="2 points but 1 signs: give one sign a point"):
        model.segment(reference["image"], [(1, 2), (3, 4)], [True])


@pytest.mark.parametrize("point", [(1, 2, 3), (1,), 5, "ab", ("x", "y"), (1, None)])
def test_a_point_is_two_numbers(reference: Reference, model: M2N2SegmentationModel, point: Any) -> None:
    with pytest.raises(InvalidClicks, match=r"a point must be two numbers \(x, y\), not"):
        model.segment(reference["image"], [point], [True])


def test_a_point_lies_in_the_image_and_the_image_is_rgb(reference: Reference) -> None:
    transition = reference["transition"].reshape(reference["attention"].shape)
    with pytest.raises(InvalidClicks, match=r"\(102, 5\) is outside the image: use 0 <= x <= 101"):
        create_markov_map_from_point(reference["image"], transition, (102, 5))
    with pytest.raises(InvalidImage, match=r"must be RGB uint8 \(H, W, 3\), not float64"):
        create_markov_map_from_point(reference["image"] / 255, transition, (5, 5))


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 3, 2), (2, 2, 2)])
def test_attention_has_four_axes_and_two_of_them_twice(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"the attention must have the shape \(h, w, h, w\), not \("):
        adjust_temperature_and_ipf(torch.ones(shape))


def test_an_aggregator_names_the_device_it_does_not_find() -> None:
    with pytest.raises(ConfigurationError, match="no device 'cuda:99' on this machine: use one of auto, cpu"):
        StableDiffusion2AttentionAggregator(device="cuda:99")


# --- the published uses


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, m2n2_engine, m2n2_engine.types; print(sorted({'torch', 'numba', 'cv2'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.fixture
def photograph(tmp_path: Path, parity_folder: Path) -> Path:
    """Large enough for the published points."""
    image = np.load(parity_folder / "flowers_dinov2_16.npz")["image"]
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), cv2.resize(image, (432, 288), interpolation=cv2.INTER_CUBIC)[:, :, ::-1])
    return path


@pytest.fixture
def aggregator(parity_folder: Path) -> StableDiffusion2AttentionAggregator:
    return StableDiffusion2AttentionAggregator(device="cpu", model_id=str(parity_folder / "tiny-sd2"), grid=GRID)


@pytest.fixture
def run_example(
    tmp_path: Path, parity_folder: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Image]:
    """Run an example as ``python`` would, on a tiny Stable Diffusion 2; the picture it writes."""

    def run(name: str, written: str = "output.png") -> Image:
        output = tmp_path / "output.png"
        model = ["--device", "cpu", "--model-id", str(parity_folder / "tiny-sd2"), "--grid", str(GRID)]
        monkeypatch.setattr(sys, "argv", [name, str(photograph), "--output", str(output), *model])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return np.asarray(cv2.imread(str(tmp_path / written), cv2.IMREAD_UNCHANGED), np.uint8)

    return run


def test_the_published_segmentation(
    run_example: Callable[..., Image], photograph: Path, aggregator: StableDiffusion2AttentionAggregator
) -> None:
    found = run_example("segment_image.py")
    image = np.ascontiguousarray(cv2.imread(str(photograph))[:, :, ::-1])
    points = np.array([(300, 175), (135, 140), (200, 150), (200, 286)])
    expected = M2N2SegmentationModel(aggregator).segment(image, points, np.array([1, 1, 1, 0]))
    np.testing.assert_array_equal(found, expected * 255)
    assert [found[y, x] for x, y in points] == [255, 255, 255, 0]


def test_the_published_markov_map(
    run_example: Callable[..., Image], photograph: Path, aggregator: StableDiffusion2AttentionAggregator
) -> None:
    found = run_example("markov_map.py")
    attention = aggregator.extract_attention(np.ascontiguousarray(cv2.imread(str(photograph))[:, :, ::-1]))
    assert attention.shape == (GRID,) * 4
    torch.testing.assert_close(attention.sum(dim=(2, 3)), torch.ones(GRID, GRID))
    assert (found.shape, found[175, 300], found.max()) == ((288, 432), 0, 255)
    assert len(np.unique(found)) > 20


def test_the_published_demo(
    run_example: Callable[..., Image],
    photograph: Path,
    aggregator: StableDiffusion2AttentionAggregator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    class Window:
        """Someone clicks once, and closes it when the mask is saved."""

        def __init__(self, title: str) -> None:
            self._signals = [Signal("i", 600, 350), Signal("o", 400, 572)]

        def show(self, picture: Image) -> None:
            assert picture.shape[:2] > (576, 864)  # twice the photograph, and text

        def poll(self) -> list[Signal]:
            if self._signals:
                return [self._signals.pop(0)]
            return [Signal("escape" if (tmp_path / "output.png_m2n2_mask.png").exists() else "s", 0, 0)]

        def close(self) -> None:
            """There is nothing to close."""

    monkeypatch.setattr(demo, "require_display", lambda: None)
    monkeypatch.setattr(demo, "run_demo", functools.partial(demo.run_demo, open_window=Window))
    found = run_example("interactive_demo.py", "output.png_m2n2_mask.png")
    image = np.ascontiguousarray(cv2.imread(str(photograph))[:, :, ::-1])
    points = [(300.25, 175.25), (200.25, 286.25)]
    np.testing.assert_array_equal(found, M2N2SegmentationModel(aggregator).segment(image, points, [True, False]) * 255)
