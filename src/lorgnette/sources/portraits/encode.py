"""Pixels become files."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

JPEG_QUALITY = 95

Pixels = npt.NDArray[np.uint8]


def png(pixels: Pixels) -> bytes:
    """A PNG of RGB pixels, shape (height, width, 3).

    Written here because drawing must not wait for it: rows are stored as differences to the row
    above and compressed by run lengths alone, as the usual search for repetitions finds next to
    nothing in a photograph. On photos of 1024×1024: 19 ms and 1.7 MiB; Pillow at its quickest
    65 ms and 1.7 MiB, kornia-rs 130 ms and 1.8 MiB.
    """
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, width * 3)
    filtered = np.empty((height, 1 + width * 3), np.uint8)
    filtered[:, 0] = 2  # "up", the filter of every row
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packer = zlib.compressobj(level=1, memLevel=9, strategy=zlib.Z_RLE)
    data = packer.compress(filtered.data) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg(pixels: Pixels) -> bytes:
    """A JPEG of RGB pixels, shape (height, width, 3), quality 95."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
