"""Masks in and out of Label Studio's brush format, a bit stream of runs over RGBA bytes.

Layout, most significant bit first: the number of bytes that the runs describe (32 bits), the width of a value less one
(5 bits), four widths of run lengths less one (4 bits each), then the blocks. A block is one bit (1: one value for the
whole run, 0: a value for each byte), the index of its length's width (2 bits), its length less one, its value or
values. Zero bits, at least one, fill the last byte.

A mask pixel is four equal bytes, 255 inside and 0 outside; the fourth, alpha, is the one that counts. `encode` writes
the very bytes that Label Studio's own SDK writes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from backend.errors import InvalidRequest
from m2n2_engine.types import Mask

_Integers = npt.NDArray[np.int64]

_CHANNELS = 4
_COUNT_BITS = 32
_VALUE_BITS = 8
_LENGTH_BITS = np.array([3, 4, 8, 16])
_LONGEST_BLOCK = 1 << 16
_WORD_BITS = 32


def encode(mask: Mask) -> list[int]:
    """The brush RLE, bytes 0 to 255, of a bool (H, W) mask of at least one pixel and less than 2**30."""
    codes, lengths, values = _build_blocks(mask)
    length_bits = _LENGTH_BITS[codes]
    blocks = (((0b100 | codes) << length_bits | (lengths - 1)) << _VALUE_BITS) | values
    header, header_bits = _build_header(mask.size * _CHANNELS)
    fields = np.concatenate([header, blocks])
    return _pack_bits(fields, np.concatenate([header_bits, 1 + 2 + length_bits + _VALUE_BITS]))


def decode(rle: Sequence[int], shape: tuple[int, int]) -> Mask:
    """The bool (H, W) mask of a brush RLE, also of one painted in the browser: True where alpha is not 0.

    Raises InvalidRequest where it is no list of bytes, is cut short, or describes another size than ``shape``.
    """
    height, width = shape
    size = height * width * _CHANNELS
    stream = _BitStream(rle)
    described = stream.read(_COUNT_BITS)
    if described != size:
        raise InvalidRequest(f"the brush RLE describes {described} bytes, but {width} x {height} pixels are {size}")
    value_bits = stream.read(5) + 1
    length_bits = [stream.read(4) + 1 for _ in _LENGTH_BITS]
    samples = np.empty(size, np.bool_)
    start = 0
    while start < size:
        is_run = stream.read(1)
        end = start + stream.read(length_bits[stream.read(2)]) + 1
        if end > size:
            raise InvalidRequest(f"the brush RLE goes on after its {size} bytes: it is damaged")
        values = [stream.read(value_bits) for _ in range(1 if is_run else end - start)]
        samples[start:end] = np.array(values) != 0
        start = end
    return samples.reshape(height, width, _CHANNELS)[:, :, -1].copy()


def _build_blocks(mask: Mask) -> tuple[_Integers, _Integers, _Integers]:
    """For each block its length's code, its length in bytes and its value; a run too long for one block has several."""
    pixels = mask.ravel()
    ends = np.append(np.flatnonzero(pixels[1:] != pixels[:-1]) + 1, pixels.size)
    runs = np.diff(ends, prepend=0) * _CHANNELS
    values = pixels[ends - 1] * np.int64(255)
    # The code follows the whole run, not the block: the short rest of a long run is written in 16 bits.
    codes = np.searchsorted(1 << _LENGTH_BITS[:-1], runs)
    counts = -(-runs // _LONGEST_BLOCK)
    lengths = np.full(counts.sum(), _LONGEST_BLOCK)
    lengths[np.cumsum(counts) - 1] = runs - (counts - 1) * _LONGEST_BLOCK
    return np.repeat(codes, counts), lengths, np.repeat(values, counts)


def _build_header(size: int) -> tuple[_Integers, _Integers]:
    """The fields before the blocks and their widths in bits."""
    header = [(size, _COUNT_BITS), (_VALUE_BITS - 1, 5), *((int(bits) - 1, 4) for bits in _LENGTH_BITS)]
    fields, widths = np.array(header, np.int64).T
    return fields, widths


def _pack_bits(fields: _Integers, widths: _Integers) -> list[int]:
    """Bytes of the fields written one after the other; no field is wider than a word of 32 bits."""
    ends = np.cumsum(widths)
    starts = ends - widths
    words, offsets = starts // _WORD_BITS, starts % _WORD_BITS
    # Each field lies in a 64-bit window over the word it starts in and the next one. Fields share no bit, so adding
    # is writing, and sums below 2**32 are exact in the float64 of bincount.
    windows = fields.astype(np.uint64) << (2 * _WORD_BITS - offsets - widths).astype(np.uint64)
    count = int(words[-1]) + 2
    high = np.bincount(words, windows >> np.uint64(_WORD_BITS), count)
    low = np.bincount(words + 1, windows & np.uint64(2**_WORD_BITS - 1), count)
    return list((high + low).astype(">u4").tobytes()[: int(ends[-1]) // 8 + 1])


class _BitStream:
    """Reads fields off a list of bytes, most significant bit first."""

    def __init__(self, rle: Sequence[int]) -> None:
        try:
            self._data = bytes(rle)
        except (TypeError, ValueError) as error:
            raise InvalidRequest("a brush RLE is a list of bytes: whole numbers from 0 to 255") from error
        self._position = 0

    def read(self, bits: int) -> int:
        """The next field of 1 to 32 bits. Raises InvalidRequest where the data ends before."""
        end = self._position + bits
        if end > 8 * len(self._data):
            raise InvalidRequest(f"the brush RLE is cut short: its {len(self._data)} bytes end within a field")
        window = int.from_bytes(self._data[self._position // 8 : (end + 7) // 8])
        self._position = end
        return window >> (-end % 8) & ((1 << bits) - 1)
