"""What a file's first bytes say it is, and whether all of it is there.

Pillow decides what a picture looks like; this module decides, from the bytes alone, which of its
decoders may try, what a file is that none of them reads, and whether a file ends where its own
structure says it must. Pillow fills what is missing at the end of some files with black or grey
and says nothing: a half-downloaded picture must not pass for a whole one.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\1\0", "ICO"),
    *((bytes((0, 0, kind, 0, 0, 0, 0, 0)), "TGA") for kind in (2, 3, 10, 11)),
    (b"\0\0\2\0", "CUR"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"8BPS", "PSD"),
    (b"qoif", "QOI"),
    (b"icns", "ICNS"),
    (b"DDS ", "DDS"),
    (b"\x01\xda", "SGI"),
    (b"\x0a\x05\x01", "PCX"),
)
"""How a file begins and what Pillow calls its format."""

FOREIGN: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), name)
    for pattern, name in (
        (rb"%PDF", "a PDF document"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript drawing"),
        (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive"),
        (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "a compressed archive"),
        (rb".{4}ftyp(hei|hev|mif1|msf1)", "a HEIC picture"),
        (rb".{4}ftyp|.{4}moov|.{4}mdat|\x1aE\xdf\xa3|FLV\x01|RIFF.{4}AVI ", "a video"),
        (rb"\x00\x00\x01[\xb3\xba]|OggS|ID3|RIFF.{4}WAVE|fLaC", "a sound or video recording"),
        (rb"\x7fELF|MZ", "a program"),
        (rb"\x93NUMPY|\x89HDF", "an array of numbers"),
        (
            rb"(\xef\xbb\xbf)?\s*(<[?!](?!doctype html)[^>]*>\s*)*<svg",
            "an SVG drawing",
        ),
        (rb"(\xef\xbb\xbf)?\s*(<!doctype html|<html|<head|<body)", "an HTML page"),
        (rb"(\xef\xbb\xbf)?\s*<\?xml", "an XML document"),
        (rb"\s*[{\[]\s*[\"{\[\]}0-9]", "a JSON document"),
    )
)
"""What people take for images, or servers send in their place."""


TIFF_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes per value of TIFF's types."""

TIFF_VITAL = frozenset((258, 273, 279, 320, 324, 325, 339, 347))
"""Tags without which pixels cannot be read: depth, places and lengths, palette, JPEG's tables."""


class Rejected(Exception):  # noqa: N818 - a verdict on a file, not a mistake
    """The bytes do not become an array of pixels.

    Attributes:
        status: `corrupt` for a damaged image, `unsupported` for anything that is left out on
            purpose: not an image, a format without a decoder, more pixels than allowed.
        reason: one short sentence.
    """

    def __init__(self, status: Literal["corrupt", "unsupported"], reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def sniff(data: bytes) -> str:
    """What Pillow calls the format of the file; its name's extension plays no part.

    Raises:
        Rejected: the file is empty, or not an image in a format that can be read.
    """
    for magic, name in MAGIC:
        if data.startswith(magic):
            return name
    head = data[:512]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if re.match(rb"P[1-6][\s#]|P[fF]\s", head):
        return "PPM"
    if re.match(rb"....ftyp(avif|avis)|....ftyp(mif1|msf1).{4}(....)*?avi[fs]", head, re.DOTALL):
        return "AVIF"
    if data[-18:] == b"TRUEVISION-XFILE.\0":  # a TGA file says so at its end, if at all
        return "TGA"
    if not data:
        raise Rejected("corrupt", "The file is empty.")
    if any(len(data) < len(magic) and magic.startswith(data) for magic, _ in MAGIC):
        raise Rejected("corrupt", f"The file ends after {len(data)} bytes, inside its signature.")
    if not any(head) and not data.strip(b"\0"):
        raise Rejected("corrupt", f"All {len(data):,} bytes of the file are zero.")
    what = next((name for pattern, name in FOREIGN if pattern.match(head)), None)
    if what is None and _is_text(head):
        what = "text"
    looks = f": it looks like {what}" if what else ""
    raise Rejected("unsupported", f"The file is not an image in a format that can be read{looks}.")


def _is_text(head: bytes) -> bool:
    control = re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", head)
    # The cut may go through a character of up to four bytes.
    return control is None and len(head.decode("utf-8", "ignore").encode()) > len(head) - 4


def truncated(name: str) -> Rejected:
    """The rejection of a file that ends too early."""
    return Rejected("corrupt", f"The {name} file is truncated: it ends before the image does.")


def check_pixels(width: int, height: int, limit: int) -> None:
    """Refuse a picture before any memory is taken for it.

    Raises:
        Rejected: there are no pixels, or more than `limit`.
    """
    if width <= 0 or height <= 0:
        raise Rejected("corrupt", f"The image has no pixels: its header says {width}×{height}.")
    if width * height > limit:
        raise Rejected(
            "unsupported",
            f"The image has {width}×{height} pixels, more than the pixel limit of {limit:,}.",
        )


def check_whole(name: str, data: bytes, limit: int) -> None:
    """Refuse what Pillow would complete, or allocate, without a word; PNG has `read_png`.

    Raises:
        Rejected: the file ends too early, or its header claims more than `limit` pixels.
    """
    if name == "JPEG":
        _check_jpeg(data)
    elif name == "GIF":
        _check_gif(data, limit)
    elif name == "WEBP":
        _check_webp(data, limit)
    elif name == "BMP":
        _check_bmp(data)
    elif name == "TIFF":
        _check_tiff(data)
    elif name == "QOI" and b"\0\0\0\0\0\0\0\1" not in data[-4096:]:
        raise truncated(name)


def _check_jpeg(data: bytes) -> None:
    # libjpeg makes up an end marker where there is none. Inside entropy-coded data the end marker
    # cannot occur, before it (in the preview that a camera embeds) it can: look after the header.
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:
            break
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    if data.rfind(b"\xff\xd9", position) < 0:
        raise truncated("JPEG")


def _check_bmp(data: bytes) -> None:
    # Pillow notices the missing end of plain pixels, but not of run-length encoded ones.
    if len(data) < 34:
        raise truncated("BMP")
    offset, header = struct.unpack_from("<II", data, 10)
    if header < 40 or struct.unpack_from("<I", data, 30)[0] not in (1, 2):
        return
    length = int.from_bytes(data[34:38], "little")
    body = data[offset : offset + length] if length else data[offset:]
    if len(body) < length or b"\0\1" not in body[-4:]:
        raise truncated("BMP")


def _check_tiff(data: bytes) -> None:
    # The directory of the first page, and what its entries point at: Pillow would go by those that
    # are left. Files over 4 GiB have another layout and are left to it.
    order = "<" if data.startswith(b"I") else ">"
    try:
        if struct.unpack_from(order + "H", data, 2)[0] != 42:
            return
        start = struct.unpack_from(order + "I", data, 4)[0]
        for index in range(struct.unpack_from(order + "H", data, start)[0]):
            entry = struct.unpack_from(order + "HHII", data, start + 2 + 12 * index)
            tag, kind, count, offset = entry
            length = count * TIFF_WIDTHS.get(kind, 0)
            if tag in TIFF_VITAL and length > 4 and offset + length > len(data):
                raise truncated("TIFF")
    except struct.error:
        raise truncated("TIFF") from None


def _check_gif(data: bytes, limit: int) -> None:
    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        check_pixels(width, height, limit)
        position = 13 + _gif_palette(flags)
        while (block := data[position]) != 0x3B:
            if block == 0x2C:
                position += 11 + _gif_palette(data[position + 9])
            elif block == 0x21:
                position += 2
            else:  # padding between blocks
                position += 1
                continue
            while length := data[position]:
                position += 1 + length
            position += 1
    except (IndexError, struct.error):
        raise truncated("GIF") from None


def _gif_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _check_webp(data: bytes, limit: int) -> None:
    # Pillow's decoder takes memory for the whole canvas as soon as the file is opened.
    if len(data) < 30 or len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise truncated("WEBP")
    kind = data[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    check_pixels(width, height, limit)


@dataclass(frozen=True, slots=True)
class Png:
    """The header of a PNG file whose chunks are all there.

    Attributes:
        width, height: in pixels.
        depth: bits per sample.
        color: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGB and alpha.
        interlaced: whether the pixels come in seven passes.
        plain: nothing outside the pixels says how they look: no transparent colour, no
            orientation, no animation.
        parts: where the pixel data lies, as (start, end).
    """

    width: int
    height: int
    depth: int
    color: int
    interlaced: bool
    plain: bool
    parts: tuple[tuple[int, int], ...]

    @property
    def raw_bytes(self) -> int:
        """The length of the pixel data once inflated: per row a filter byte and the samples."""
        bits = self.depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[self.color]
        # Adam7: the first column and row of each pass, and its steps.
        passes = (
            ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
             (0, 1, 1, 2)) if self.interlaced else ((0, 0, 1, 1),)
        )  # fmt: skip
        total = 0
        for x, y, dx, dy in passes:
            columns, rows = -(-(self.width - x) // dx), -(-(self.height - y) // dy)
            if columns > 0 and rows > 0:
                total += rows * (1 + -(-columns * bits // 8))
        return total


def read_png(data: bytes, limit: int) -> Png:
    """Read a PNG file's structure: its header and where its chunks lie.

    Checksums are verified but for the pixel data's; see `check_png_pixels`.

    Raises:
        Rejected: a chunk is missing, cut off or damaged, or there are more than `limit` pixels.
    """
    position, parts, plain = 8, [], True
    header: tuple[int, ...] | None = None
    while True:
        end = position + 12
        if end > len(data):
            raise truncated("PNG")
        length = int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        start, end = position + 8, end + length
        if end > len(data):
            raise truncated("PNG")
        if name == b"IDAT":
            parts.append((start, start + length))
        else:
            _check_crc(data, start, start + length)
            if name == b"IHDR" and length == 13 and header is None:
                header = struct.unpack_from(">IIBBBBB", data, start)
                check_pixels(header[0], header[1], limit)
            elif name == b"IEND":
                break
            elif name in (b"tRNS", b"eXIf", b"acTL") or (
                # XMP, or ImageMagick's copy of EXIF: either can hold an orientation.
                name in (b"iTXt", b"zTXt", b"tEXt")
                and data.startswith((b"XML:com.adobe.xmp", b"Raw profile type "), start)
            ):
                plain = False
        position = end
    if header is None or not parts or header[3] not in (0, 2, 3, 4, 6):
        raise Rejected("corrupt", "The PNG file lacks its header or its pixels.")
    width, height, depth, color, *_, interlace = header
    png = Png(width, height, depth, color, bool(interlace), plain, tuple(parts))
    # No stream inflates by more than a factor of 1032: what a lying header claims beyond that is
    # refused before it costs memory.
    if png.raw_bytes > 1032 * sum(end - start for start, end in parts):
        raise Rejected("corrupt", "The PNG file has less pixel data than its header promises.")
    return png


def check_png_pixels(data: bytes, png: Png) -> None:
    """Verify what Pillow does not: the pixel data's checksums, and that no pixel is missing.

    Raises:
        Rejected: the pixel data is damaged or too short.
    """
    inflate = zlib.decompressobj()
    missing = png.raw_bytes
    try:
        for start, end in png.parts:
            _check_crc(data, start, end)
            piece: bytes | memoryview = memoryview(data)[start:end]
            while piece and missing > 0:  # at most a megabyte at a time
                missing -= len(inflate.decompress(piece, 1 << 20))
                piece = inflate.unconsumed_tail
        while missing > 0 and (more := inflate.decompress(b"", 1 << 20)):
            missing -= len(more)
    except zlib.error as error:
        raise Rejected("corrupt", f"The PNG file's pixel data is damaged ({error}).") from None
    if missing > 0:
        raise Rejected("corrupt", "The PNG file has less pixel data than its header promises.")


def _check_crc(data: bytes, start: int, end: int) -> None:
    if zlib.crc32(memoryview(data)[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
        name = data[start - 4 : start].decode("ascii", "replace")
        raise Rejected("corrupt", f"The PNG file is damaged: the checksum of {name} is wrong.")
