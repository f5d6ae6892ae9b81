"""``data:`` URIs -> bytes, as browsers read them."""

from __future__ import annotations

import base64
from urllib.parse import unquote_to_bytes

from backend.net.download import check_size
from m2n2_engine.errors import InvalidImage


def decode_data_uri(uri: str, max_bytes: int) -> bytes:
    """The payload. Raises ImageRefused where it must be larger than ``max_bytes``, InvalidImage where damaged."""
    head, comma, payload = uri.partition(",")
    if not comma:
        raise InvalidImage("a data: URI needs a comma before its data")
    is_base64 = head.lower().endswith(";base64")
    smallest = len(payload) - 2 * payload.count("%")
    check_size(smallest * 3 // 4 - 2 if is_base64 else smallest, max_bytes)
    try:
        data = unquote_to_bytes(payload)
        return _decode_base64(data) if is_base64 else data
    except ValueError as error:
        raise InvalidImage(f"the data: URI is damaged: {error}") from None


def _decode_base64(data: bytes) -> bytes:
    """White space is skipped and the padding may be missing."""
    data = data.translate(None, b" \t\r\n\f")
    return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
