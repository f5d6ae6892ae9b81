"""Image and clicks to masks on the GPU's kernels, or in Triton's interpreter, against those of the processor."""

import dataclasses

import pytest
import torch

from m2n2_engine.backbones import load_backbone
from m2n2_engine.config import ChainConfig, Decision, EngineConfig, MethodConfig
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.prompt import Prompt
from m2n2_engine.session.session import Session, session_bytes
from m2n2_engine.types import Box, Click

# Few rounds and steps, because the interpreter is slow; both forms do as many.
METHOD = MethodConfig(ChainConfig(balancing_rounds=3), max_steps=8, box_seeds=2)
GRID = (8, 8)
CLICKS = [Click(10.4, 7.7), Click(3, 3, positive=False)]
"""Off the middle of the disc: there its maps are symmetrical, and which of two twins comes first is rounding."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def image(draw_disc):
    return draw_disc(24, 16, (10, 8), 4)[0]


@pytest.fixture
def factors(image, device):
    config = EngineConfig(backbone="tiny", device=device.type, grid=GRID[0], threads=1)
    with torch.inference_mode():
        return load_backbone(config).backbone.extract(image)


@pytest.fixture
def start(image, factors):
    """Kernels and method -> a session, and the matrix it is on."""

    def start_session(kernels, method):
        with torch.inference_mode():
            _, matrix = kernels.balance_factors(factors, method.chain)
        return Session(image, matrix.reshape(*GRID, *GRID), kernels, method, 2**20)

    return start_session


def test_memory_and_restoring(image, factors, kernels, start):
    with torch.inference_mode():
        balanced, transition = kernels.balance_factors(factors, METHOD.chain)
        restored = kernels.restore_transition(balanced.to("cpu"), METHOD.chain)
    assert transition.dtype == kernels.matrix_dtype == torch.float16
    torch.testing.assert_close(restored, transition, rtol=0, atol=0)
    tables_bytes = image.nbytes + 4 * (2 * 6 + 1) * (2 * 9 + 2)
    expected_bytes = session_bytes(image.shape[:2], 64, METHOD, kernels)
    assert expected_bytes <= start(kernels, METHOD).nbytes <= expected_bytes + tables_bytes


@pytest.mark.parametrize("decision", Decision)
@pytest.mark.parametrize("prompt", [Prompt(tuple(CLICKS)), Prompt(box=Box(0, 0, 24, 16))], ids=["clicks", "box"])
def test_masks_are_those_of_the_processor(image, kernels, start, iou, decision, prompt):
    method = dataclasses.replace(METHOD, decision=decision)
    found, score = start(kernels, method).segment(image, prompt)
    expected, expected_score = start(choose_kernels("cpu"), method).segment(image, prompt)
    assert iou(found, expected) >= 0.99
    assert score == pytest.approx(expected_score, abs=0.01)
