"""One image of the attention cache as bytes: a safetensors file, and behind it the signature of an installation's key.

The signature also stands in for waiting until the disk has the file: after a power cut a file may be there with other
content.
"""

from __future__ import annotations

import hashlib
import hmac
import json

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors, LayerFactors

FORMAT = "2"
"""Changes with the layout of the files; files of another format are never found, and go as the least recently used."""

IMAGE_SUFFIX = ".safetensors"
SIGNATURE_BYTES = 32


class UnusableFile(Exception):
    """A file in an image's place that does not hold that image; the message says why."""


def render_file_name(key: AttentionKey) -> str:
    """Of an image's file."""
    text = "\n".join((FORMAT, key.image, key.fingerprint))
    return f"attention-{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}{IMAGE_SUFFIX}"


def serialise(key: AttentionKey, balanced: BalancedFactors) -> bytes:
    """The content of an image's file, but for its signature. balanced: in host memory."""
    layers = balanced.factors.layers
    tensors = {"rows": balanced.rows, "columns": balanced.columns}
    for i, layer in enumerate(layers):
        tensors[f"key.{i}"] = layer.key
        if layer.query is not layer.key:
            tensors[f"query.{i}"] = layer.query
    # Copies: tensors of two layers may be views of the same memory, which the format does not take.
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    metadata = {
        "format": FORMAT,
        "image": key.image,
        "fingerprint": key.fingerprint,
        "grid": json.dumps(balanced.factors.grid),
        "layers": json.dumps([(layer.weight, layer.special_tokens, layer.scale) for layer in layers]),
    }
    content: bytes = save(tensors, metadata)
    return content


def sign(body: bytes, secret: bytes) -> bytes:
    """What stands behind the content of a file, ``SIGNATURE_BYTES`` long."""
    return hmac.digest(secret, body, "sha256")


def parse(name: str, content: bytes, secret: bytes) -> BalancedFactors:
    """What a file of this name holds. Raises UnusableFile unless this key has signed all of it, for this name."""
    body, signature = content[:-SIGNATURE_BYTES], content[-SIGNATURE_BYTES:]
    # Before anything of it is parsed.
    if not hmac.compare_digest(signature, sign(body, secret)):
        raise UnusableFile("its signature is not of this installation's key, or its content has changed since")
    try:
        return _parse_signed(name, body)
    except (SafetensorError, LookupError, ValueError, TypeError) as error:
        raise UnusableFile(f"it cannot be read: {error}") from error


def _parse_signed(name: str, body: bytes) -> BalancedFactors:
    header_bytes = int.from_bytes(body[:8], "little")
    metadata = json.loads(body[8 : 8 + header_bytes])["__metadata__"]
    if metadata["format"] != FORMAT:
        raise UnusableFile(f"it is of format {metadata['format']}, not {FORMAT}")
    if name != render_file_name(AttentionKey(metadata["image"], metadata["fingerprint"])):
        raise UnusableFile("it is another image's")
    tensors = load(body)
    layers = tuple(
        LayerFactors(tensors.get(f"query.{i}", tensors[f"key.{i}"]), tensors[f"key.{i}"], weight, special_tokens, scale)
        for i, (weight, special_tokens, scale) in enumerate(json.loads(metadata["layers"]))
    )
    height, width = json.loads(metadata["grid"])
    return BalancedFactors(AttentionFactors(layers, (height, width)), tensors["rows"], tensors["columns"])
