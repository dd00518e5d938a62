"""What a camera, a scraper or a designer leaves behind: files in every dress, and what is not one.

`good_files` are written from one known picture of four coloured quadrants, so what each must decode
to is known without decoding it; `bad_files` come with the status they must end with.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

LIMIT = 1_000_000
"""The pixel limit that the tests decode under."""


@dataclass(frozen=True)
class Good:
    """A file that must decode.

    Attributes:
        name: what is odd about it.
        data: the file.
        pixels: (height, width, 3), upright and over white.
        tolerance: how far the mean difference may be off, in grey levels: 1, or more where the
            format itself loses colour.
    """

    name: str
    data: bytes
    pixels: Pixels
    tolerance: float = 1.0


@dataclass(frozen=True)
class Bad:
    """A file that must be rejected with this status and a reason that holds this word."""

    name: str
    data: bytes
    status: Literal["corrupt", "unsupported"]
    word: str = ""


def picture(width: int = 88, height: int = 60) -> Pixels:
    """Four quadrants of red, green, blue and sand, softly shaded."""
    y, x = np.mgrid[0:height, 0:width]
    colors = np.array([[[214, 48, 36], [44, 188, 72]], [[36, 64, 208], [222, 196, 96]]])
    shade = 14 * np.sin(x / 9) * np.cos(y / 7)
    quadrants = colors[(y >= height // 2).astype(int), (x >= width // 2).astype(int)]
    return np.asarray((quadrants + shade[:, :, None]).round(), np.uint8)


def luminance(pixels: Pixels) -> Pixels:
    """ITU-R 601, as (height, width)."""
    return np.asarray((pixels @ np.array([0.299, 0.587, 0.114])).round(), np.uint8)


def rgb(gray: Pixels) -> Pixels:
    """(height, width) as three equal channels."""
    return np.repeat(gray[:, :, None], 3, axis=2)


def over_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Composite (height, width, 3) with its alpha (height, width) over white."""
    share = alpha[:, :, None] / 255
    return np.asarray((pixels * share + 255 * (1 - share)).round(), np.uint8)


def encode(image: Image.Image | Pixels, kind: str, **options: Any) -> bytes:
    """A file as Pillow writes it."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, payload: bytes) -> bytes:
    """One chunk of a PNG file."""
    crc = zlib.crc32(name + payload)
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", crc)


def png(
    samples: NDArray[Any],
    depth: int,
    color: int,
    *,
    before: tuple[tuple[bytes, bytes], ...] = (),
    after: tuple[tuple[bytes, bytes], ...] = (),
    interlaced: bool = False,
    size: tuple[int, int] | None = None,
) -> bytes:
    """A PNG file from samples of any depth, (height, width) or (height, width, channels)."""
    height, width = samples.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
        passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x, y, dx, dy in passes:
        for row in samples[y::dy, x::dx]:
            if depth == 16:
                raw += b"\0" + row.astype(">u2").tobytes()
            else:
                bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
                raw += b"\0" + np.packbits(bits.ravel()).tobytes()
    header = struct.pack(">IIBBBBB", *(size or (width, height)), depth, color, 0, 0, interlaced)
    chunks = ((b"IHDR", header), *before, (b"IDAT", zlib.compress(raw)), *after, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def tiff(
    samples: NDArray[Any], *, order: Literal["<", ">"] = "<", white_is_zero: bool = False
) -> bytes:
    """An uncompressed one-strip TIFF file of gray samples, (height, width)."""
    height, width = samples.shape
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    tags = [(256, width), (257, height), (258, samples.dtype.itemsize * 8), (259, 1)]
    tags += [(262, 0 if white_is_zero else 1), (273, 134), (277, 1), (278, height)]
    tags += [(279, len(data)), (339, kind)]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return start + entries + bytes(4) + data


def tiff_12(gray: Pixels) -> bytes:
    """A TIFF file of 12-bit gray samples, as microscopes and X-ray cameras leave them."""
    first, second = (gray.ravel()[at::2] * np.uint32(4095) // 255 for at in (0, 1))
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    head = bytearray(tiff(gray)[:134])
    for tag, old, new in ((258, 8, 12), (279, gray.size, packed.size)):
        at = head.index(struct.pack("<HHII", tag, 4, 1, old)) + 8
        head[at : at + 4] = struct.pack("<I", new)
    return bytes(head) + packed.astype(np.uint8).tobytes()


def bmp_rle(indices: Pixels, palette: Pixels) -> bytes:
    """A run-length encoded BMP file with 256 colours."""
    height, width = indices.shape
    body = b""
    for row in indices[::-1]:
        starts = np.flatnonzero(np.diff(row.astype(int), prepend=-1))
        for start, end in zip(starts, [*starts[1:], width], strict=True):
            body += bytes((end - start, row[start]))
        body += b"\0\0"
    body += b"\0\1"
    table = np.pad(palette[:, ::-1], ((0, 256 - len(palette)), (0, 1))).astype(np.uint8).tobytes()
    offset = 54 + len(table)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return struct.pack("<2sIII", b"BM", offset + len(body), 0, offset) + info + table + body


def bmp(rows: bytes, width: int, height: int, depth: int) -> bytes:
    """An uncompressed BMP file."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, 0, len(rows), 0, 0, 0, 0)
    return struct.pack("<2sIII", b"BM", 54 + len(rows), 0, 54) + info + rows


def psd(pixels: Pixels) -> bytes:
    """A Photoshop document without layers."""
    height, width = pixels.shape[:2]
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, height, width, 8, 3)
    return header + bytes(12) + bytes(2) + pixels.transpose(2, 0, 1).tobytes()


def ycck(pixels: Pixels) -> bytes:
    """A JPEG file as print shops make it: luminance and chroma of the inks, and black."""
    inks = Image.fromarray(255 - pixels).convert("YCbCr")
    bands = [band.point(lambda value: 255 - value) for band in inks.split()]
    image = Image.merge("CMYK", [*bands, Image.new("L", inks.size, 0)])
    data = bytearray(encode(image, "JPEG", quality=95, subsampling=0))
    data[data.index(b"Adobe") + 11] = 2  # the transform: YCCK
    return bytes(data)


def exif(orientation: int) -> bytes:
    """An EXIF block that says how the camera was held."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def laid_down(pixels: Pixels, orientation: int) -> Pixels:
    """The stored pixels that `orientation` turns back into `pixels`."""
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels.transpose(1, 0, 2)[::-1],
        7: pixels.transpose(1, 0, 2)[::-1, ::-1],
        8: pixels.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    return np.ascontiguousarray(turned)


def good_files() -> list[Good]:
    """Every file that must decode, with the pixels that it must decode to."""
    return [*_png_files(), *_jpeg_files(), *_turned_files(), *_other_files(), *_extreme_files()]


def _png_files() -> Iterator[Good]:
    full = picture()
    gray = luminance(full)
    height, width = gray.shape
    alpha = np.linspace(0, 255, width).round().astype(np.uint8)[None].repeat(height, axis=0)
    clear = over_white(full, alpha)
    gray_clear = over_white(rgb(gray), alpha)
    yield Good("png", encode(full, "PNG"), full)
    yield Good("png-gray", encode(gray, "PNG"), rgb(gray))
    yield Good("png-interlaced", png(full, 8, 2, interlaced=True), full)
    yield Good("png-gray-interlaced", png(gray, 8, 0, interlaced=True), rgb(gray))
    yield Good("png-rgba", encode(np.dstack([full, alpha]), "PNG"), clear)
    yield Good("png-rgba-opaque", encode(Image.fromarray(full).convert("RGBA"), "PNG"), full)
    yield Good("png-la", png(np.dstack([gray, alpha]), 8, 4), gray_clear)
    yield Good("png-16-gray", png(gray * np.uint16(257), 16, 0), rgb(gray))
    yield Good("png-16-rgb", png(full * np.uint16(257), 16, 2), full)
    yield Good("png-16-rgba", png(np.dstack([full, alpha]) * np.uint16(257), 16, 6), clear)
    yield Good("png-16-la", png(np.dstack([gray, alpha]) * np.uint16(257), 16, 4), gray_clear)
    for depth in (1, 2, 4):
        step = 255 // (2**depth - 1)
        low = (gray / step).round().astype(np.uint8)
        yield Good(f"png-{depth}-bit", png(low, depth, 0), rgb(low * np.uint8(step)))
        key = int(low[0, 0])
        opaque = np.where(low == key, 0, 255).astype(np.uint8)
        yield Good(
            f"png-{depth}-bit-color-key",
            png(low, depth, 0, before=((b"tRNS", struct.pack(">H", key)),)),
            over_white(rgb(low * np.uint8(step)), opaque),
        )
    few = Image.fromarray(full).quantize(15)
    shown = np.asarray(few.convert("RGB"))
    yield Good("png-palette", encode(few, "PNG"), shown)
    yield Good("png-palette-4-bit", encode(few, "PNG", bits=4), shown)
    index = np.asarray(few)
    hole = np.where(index == index[0, 0], 0, 255).astype(np.uint8)
    yield Good(
        "png-palette-one-clear",
        encode(few, "PNG", transparency=int(index[0, 0])),
        over_white(shown, hole),
    )
    steps = np.arange(0, 255, 17, dtype=np.uint8)
    yield Good(
        "png-palette-alpha",
        encode(few, "PNG", transparency=steps.tobytes()),
        over_white(shown, steps[index]),
    )
    for name, samples, depth, color in (
        ("gray", gray, 8, 0),
        ("rgb", full, 8, 2),
        ("16-gray", gray * np.uint16(257), 16, 0),
        ("16-rgb", full * np.uint16(257), 16, 2),
    ):
        key_color = np.atleast_1d(samples[4, 5])
        matches = (samples.reshape(height, width, -1) == key_color).all(axis=2)
        block = struct.pack(f">{len(key_color)}H", *key_color)
        yield Good(
            f"png-color-key-{name}",
            png(samples, depth, color, before=((b"tRNS", block),)),
            over_white(full if color else rgb(gray), np.where(matches, 0, 255).astype(np.uint8)),
        )
    yield Good("png-with-profile-and-text", encode(full, "PNG", dpi=(72, 72), gamma=1.0), full)
    frames = [Image.fromarray(full), Image.new("RGB", (width, height))]
    yield Good("apng", encode(frames[0], "PNG", save_all=True, append_images=frames[1:]), full)
    yield Good("png-trailing-garbage", encode(full, "PNG") + b"\0garbage" * 50, full)
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0" + b'<x tiff:Orientation="6"/>'
    yield Good(
        "png-xmp-orientation",
        png(laid_down(full, 6), 8, 2, before=((b"iTXt", xmp),)),
        full,
    )


def _jpeg_files() -> Iterator[Good]:
    full = picture()
    gray = luminance(full)
    best = {"quality": 95, "subsampling": 0}
    plain = encode(full, "JPEG", **best)
    yield Good("jpeg", plain, full, 1.5)
    yield Good("jpeg-subsampled", encode(full, "JPEG", quality=80), full, 4)
    yield Good("jpeg-progressive", encode(full, "JPEG", progressive=True, **best), full, 1.5)
    yield Good("jpeg-gray", encode(gray, "JPEG", quality=95), rgb(gray), 1.5)
    yield Good(
        "jpeg-restart-markers", encode(full, "JPEG", restart_marker_blocks=3, **best), full, 1.5
    )
    yield Good("jpeg-rgb", encode(full, "JPEG", quality=95, keep_rgb=True), full, 1.5)
    inks = Image.fromarray(full).convert("CMYK")
    yield Good("jpeg-cmyk", encode(inks, "JPEG", quality=95), full, 2)
    yield Good("jpeg-ycck", ycck(full), full, 2)
    yield Good("jpeg-trailing-garbage", plain + b"\r\n--boundary--" * 9, full, 1.5)
    second = Image.new("RGB", (20, 10))
    mpo = encode(full, "MPO", save_all=True, append_images=[second], **best)
    yield Good("mpo", mpo, full, 1.5)
    preview = encode(picture(32, 24), "JPEG")
    app = b"\xff\xe5" + struct.pack(">H", len(preview) + 2) + preview
    yield Good("jpeg-embedded-preview", plain[:2] + app + plain[2:], full, 1.5)
    garbled = b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 40
    yield Good("jpeg-damaged-exif", encode(full, "JPEG", exif=garbled, **best), full, 1.5)
    yield Good("jpeg-orientation-of-99", encode(full, "JPEG", exif=exif(99), **best), full, 1.5)


def _turned_files() -> Iterator[Good]:
    full = picture()
    for orientation in range(1, 9):
        stored = Image.fromarray(laid_down(full, orientation))
        block = exif(orientation)
        for kind, tolerance, options in (
            ("JPEG", 1.5, {"quality": 95, "subsampling": 0}),
            ("PNG", 1.0, {}),
            ("WEBP", 1.0, {"lossless": True}),
            ("TIFF", 1.0, {}),
        ):
            data = encode(stored, kind, exif=block, **options)
            yield Good(f"{kind.lower()}-orientation-{orientation}", data, full, tolerance)
    after = png(laid_down(full, 8), 8, 2, after=((b"eXIf", exif(8).removeprefix(b"Exif\0\0")),))
    yield Good("png-orientation-after-pixels", after, full)


def _other_files() -> Iterator[Good]:
    full = picture()
    image = Image.fromarray(full)
    gray = luminance(full)
    height, width = gray.shape
    wide = gray * np.uint16(257)
    alpha = np.linspace(0, 255, width).round().astype(np.uint8)[None].repeat(height, axis=0)
    rgba = Image.fromarray(np.dstack([full, alpha]))
    clear = over_white(full, alpha)
    bits = gray > 110
    black_white = rgb(np.where(bits, 255, 0).astype(np.uint8))
    bilevel = Image.fromarray(bits)
    few = image.quantize(15)
    shown = np.asarray(few.convert("RGB"))
    index = np.asarray(few)
    hole = np.where(index == index[0, 0], 0, 255).astype(np.uint8)
    other = Image.new("RGB", (width, height), "black")

    yield Good("ppm", encode(full, "PPM"), full)
    yield Good("pgm", encode(gray, "PPM"), rgb(gray))
    yield Good("pbm", encode(bilevel, "PPM"), black_white)
    size = f"{width} {height}"
    flat = " ".join(map(str, full.ravel()))
    yield Good("ppm-ascii", f"P3\n{size}\n255\n{flat}\n".encode(), full)
    flat = " ".join(map(str, gray.ravel()))
    yield Good("pgm-ascii", f"P2 {size} 255\n{flat}".encode(), rgb(gray))
    yield Good(
        "pgm-ascii-comments", f"P2\n# by hand\n{size}\n255\n{flat}\n# end\n".encode(), rgb(gray)
    )
    flat = " ".join(map(str, wide.ravel()))
    yield Good("pgm-ascii-16", f"P2\n{size}\n65535\n{flat}\n".encode(), rgb(gray))
    flat = "\n".join(map(str, (gray * (100 / 255)).round().astype(int).ravel()))
    yield Good("pgm-ascii-maximum-of-100", f"P2\n{size}\n100\n{flat}\n".encode(), rgb(gray), 1.5)
    flat = " ".join("01"[not bit] for bit in bits.ravel())
    yield Good("pbm-ascii", f"P1\n{size}\n{flat}\n".encode(), black_white)
    head = f"P5 {size} 65535\n".encode()
    yield Good("pgm-16", head + wide.astype(">u2").tobytes(), rgb(gray))
    head = f"P6 {size} 65535\n".encode()
    yield Good("ppm-16", head + (full * np.uint16(257)).astype(">u2").tobytes(), full)
    rows = np.flipud(gray / np.float32(255)).astype("<f4").tobytes()
    yield Good("pfm", f"Pf\n{size}\n-1.0\n".encode() + rows, rgb(gray))

    yield Good("bmp-24", encode(full, "BMP"), full)
    four = np.dstack([full[::-1, :, ::-1], np.zeros_like(gray)])
    yield Good("bmp-32", bmp(four.tobytes(), width, height, 32), full)
    yield Good("bmp-palette", encode(few, "BMP"), shown)
    yield Good("bmp-gray", encode(gray, "BMP"), rgb(gray))
    yield Good("bmp-1-bit", encode(bilevel, "BMP"), black_white)
    table = np.array(few.getpalette()).reshape(-1, 3).astype(np.uint8)
    yield Good("bmp-run-lengths", bmp_rle(index, table), shown)
    yield Good("bmp-run-lengths-trailing-garbage", bmp_rle(index, table) + b"garbage", shown)

    yield Good("tiff", encode(full, "TIFF"), full)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield Good(f"tiff-{compression}", encode(full, "TIFF", compression=compression), full)
    yield Good("tiff-group4", encode(bilevel, "TIFF", compression="group4"), black_white)
    jpeg = encode(full, "TIFF", compression="jpeg", quality=95)
    yield Good("tiff-jpeg", jpeg, full, 4)
    tiles = {322: 32, 323: 32}
    yield Good("tiff-tiled", encode(full, "TIFF", compression="tiff_lzw", tiffinfo=tiles), full)
    yield Good("tiff-big-endian", tiff(gray, order=">"), rgb(gray))
    yield Good("tiff-white-is-zero", tiff(255 - gray, white_is_zero=True), rgb(gray))
    yield Good("tiff-1-bit", encode(bilevel, "TIFF"), black_white)
    yield Good("tiff-palette", encode(few, "TIFF"), shown)
    yield Good("tiff-rgba", encode(rgba, "TIFF"), clear)
    yield Good("tiff-cmyk", encode(image.convert("CMYK"), "TIFF"), full)
    yield Good("tiff-ycbcr", encode(image.convert("YCbCr"), "TIFF"), full, 2)
    yield Good("tiff-lab", encode(_lab(image), "TIFF"), full, 3)
    yield Good("tiff-16", tiff(wide), rgb(gray))
    yield Good("tiff-16-big-endian", tiff(wide, order=">"), rgb(gray))
    yield Good("tiff-16-white-is-zero", tiff(65535 - wide, white_is_zero=True), rgb(gray))
    yield Good("tiff-12", tiff_12(gray), rgb(gray))
    yield Good("tiff-float", tiff(gray / np.float32(255)), rgb(gray))
    yield Good("tiff-float-of-255", tiff(gray.astype(np.float32)), rgb(gray))
    pages = encode(full, "TIFF", save_all=True, append_images=[other])
    yield Good("tiff-pages", pages, full)

    yield Good("webp-lossy", encode(full, "WEBP", quality=95), full, 5)
    yield Good("webp-lossless", encode(full, "WEBP", lossless=True), full)
    yield Good("webp-alpha", encode(rgba, "WEBP", lossless=True, exact=True), clear)
    moving = {"save_all": True, "append_images": [other], "lossless": True}
    yield Good("webp-animated", encode(full, "WEBP", **moving), full)
    yield Good("gif", encode(few, "GIF"), shown)
    yield Good("gif-gray", encode(gray, "GIF"), rgb(gray))
    yield Good(
        "gif-transparent",
        encode(few, "GIF", transparency=int(index[0, 0])),
        over_white(shown, hole),
    )
    yield Good("gif-animated", encode(few, "GIF", save_all=True, append_images=[other]), shown)
    yield Good("gif-trailing-garbage", encode(few, "GIF") + b"garbage" * 9, shown)
    for kind in ("png", "bmp"):
        icon = encode(full[:32, :32], "ICO", sizes=[(16, 16), (32, 32)], bitmap_format=kind)
        yield Good(f"ico-{kind}", icon, full[:32, :32])
    cursor = bytearray(icon)
    cursor[2] = 2
    yield Good("cur", bytes(cursor), full[:32, :32])
    yield Good("jpeg-2000", encode(full, "JPEG2000"), full)
    yield Good("jpeg-2000-stream", encode(full, "JPEG2000", no_jp2=True), full)
    yield Good("avif", encode(full, "AVIF", quality=95, subsampling="4:4:4"), full, 3)
    yield Good("tga", encode(full, "TGA"), full)
    yield Good("tga-run-lengths-alpha", encode(rgba, "TGA", compression="tga_rle"), clear)
    yield Good("qoi", encode(full, "QOI"), full)
    yield Good("pcx", encode(full, "PCX"), full)
    yield Good("sgi", encode(full, "SGI"), full)
    yield Good("dds", encode(full, "DDS"), full)
    yield Good("psd", psd(full), full)


def _lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted


def _extreme_files() -> Iterator[Good]:
    dot = np.array([[[200, 30, 60]]], np.uint8)
    yield Good("one-pixel-png", encode(dot, "PNG"), dot)
    yield Good("one-pixel-jpeg", encode(dot, "JPEG", quality=100, subsampling=0), dot, 2)
    yield Good("one-pixel-gif", encode(Image.fromarray(dot).quantize(2), "GIF"), dot)
    for name, shape in (("wide", (2, 9001)), ("tall", (10_000, 1))):
        line = picture(shape[1], shape[0]) if name == "wide" else np.full((*shape, 3), 77, np.uint8)
        yield Good(f"{name}-png", encode(line, "PNG"), line)
        best = {"quality": 98, "subsampling": 0}
        yield Good(f"{name}-jpeg", encode(line, "JPEG", **best), line, 2)
    yield Good(
        "exactly-the-limit",
        encode(Image.new("L", (1000, 1000), 9), "PNG"),
        np.full((1000, 1000, 3), 9, np.uint8),
    )


def bad_files() -> list[Bad]:
    """Every file that must be rejected."""
    return [*_not_images(), *_damaged(), *_bombs()]


def _not_images() -> Iterator[Bad]:
    yield Bad("empty", b"", "corrupt", "empty")
    yield Bad("zeros", bytes(5000), "corrupt", "zero")
    for name, data, word in (
        ("text", b"just some words\nin lines\n", "text"),
        ("text-utf8", "schöne Grüße, 図\n".encode(), "text"),
        ("html", b"\n<!DOCTYPE html><html><body>404 not found</body></html>", "HTML"),
        ("html-with-svg", b"<!doctype html><svg></svg>", "HTML"),
        ("svg", b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="x"></svg>', "SVG"),
        ("svg-bare", b"<svg/>", "SVG"),
        ("xml", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        ("json", b'{"error": "rate limit"}', "JSON"),
        ("pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        ("postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        ("heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "HEIC"),
        ("mp4", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(64), "video"),
        ("matroska", b"\x1aE\xdf\xa3" + bytes(range(64)), "video"),
        ("mpeg", b"\0\0\1\xb3\x16\0\xf0\xc4" + bytes(64), "video"),
        ("zip", b"PK\x03\x04\x14\0" + bytes(64), "ZIP"),
        ("gzip", b"\x1f\x8b\x08\0" + bytes(64), "archive"),
        ("program", b"\x7fELF\2\1\1" + bytes(64), "program"),
        ("numpy", b"\x93NUMPY\1\0v\0{'descr': '|u1'}", "numbers"),
        ("noise", bytes(np.random.default_rng(5).integers(128, 255, 999, np.uint8)) + b"\0", ""),
    ):
        yield Bad(name, data, "unsupported", word)
    unknown = tiff(picture()[:, :, 0]).replace(
        struct.pack("<HHII", 258, 4, 1, 8), struct.pack("<HHII", 258, 4, 1, 24)
    )
    yield Bad("tiff-of-24-bit-gray", unknown, "unsupported", "unknown")
    infinite = np.full((9, 9), np.inf, np.float32)
    yield Bad("tiff-of-infinities", tiff(infinite), "unsupported", "white")
    yield Bad(
        "tiff-of-no-numbers", tiff(np.full((9, 9), np.nan, np.float32)), "unsupported", "white"
    )
    yield Bad("tiff-of-heights", tiff(np.full((9, 9), -70000, np.int32)), "unsupported", "white")


def _damaged() -> Iterator[Bad]:
    full = picture()
    few = Image.fromarray(full).quantize(15)
    png_file = encode(full, "PNG")
    idat = png_file.index(b"IDAT")
    for name, data in (
        ("png", png_file),
        ("png-palette", encode(few, "PNG")),
        ("jpeg", encode(full, "JPEG")),
        ("jpeg-progressive", encode(full, "JPEG", progressive=True)),
        ("gif", encode(few, "GIF")),
        ("webp", encode(full, "WEBP")),
        ("webp-lossless", encode(full, "WEBP", lossless=True)),
        ("tiff", tiff(full[:, :, 0])),
        ("bmp", encode(full, "BMP")),
        ("bmp-run-lengths", bmp_rle(np.asarray(few), np.zeros((15, 3), np.uint8))),
        ("ppm", encode(full, "PPM")),
        ("qoi", encode(full, "QOI")),
        ("psd", psd(full)),
    ):
        yield Bad(f"{name}-half", data[: len(data) // 2], "corrupt")
        yield Bad(f"{name}-header-only", data[:40], "corrupt")
        yield Bad(f"{name}-last-bytes-missing", data[:-2], "corrupt")
    yield Bad(
        "jpeg-tail-of-zeros", encode(full, "JPEG")[:900] + bytes(9000), "corrupt", "truncated"
    )
    yield Bad("png-signature-only", png_file[:8], "corrupt", "truncated")
    yield Bad("png-part-of-signature", png_file[:5], "corrupt", "signature")
    yield Bad("jpeg-marker-only", b"\xff\xd8\xff", "corrupt")
    for name, at in (("header", 20), ("pixels", idat + 30), ("end", -1)):
        flipped = bytearray(png_file)
        flipped[at] ^= 1
        yield Bad(f"png-checksum-of-{name}", bytes(flipped), "corrupt", "checksum")
    for samples, depth, color in ((full, 8, 2), (np.asarray(few), 8, 3), (full[:, :, 0], 8, 0)):
        before = ((b"PLTE", bytes(768)),) if color == 3 else ()
        taller = png(samples, depth, color, before=before, size=(88, 61))
        yield Bad(f"png-{color}-fewer-rows-than-promised", taller, "corrupt")
        huge = png(samples[:1, :8], depth, color, before=before, size=(1000, 999))
        yield Bad(f"png-{color}-lying-dimensions", huge, "corrupt", "promises")
    yield Bad("png-no-width", png(full, 8, 2, size=(0, 60)), "corrupt", "no pixels")
    yield Bad("png-color-type-of-5", png(full, 8, 5), "corrupt")
    yield Bad("png-depth-of-3", png(full[:, :, 0] >> 5, 3, 0), "corrupt")
    yield Bad("png-no-pixels", png_file[: idat - 4] + chunk(b"IEND", b""), "corrupt", "lacks")
    yield Bad("bmp-no-height", bmp(b"", 9, 0, 24), "corrupt")
    yield Bad("pgm-no-width", b"P5 0 9 255\n", "corrupt")
    yield Bad("pgm-ascii-half", b"P2 9 9 255\n" + b"8 " * 40, "corrupt")


def _bombs() -> Iterator[Bad]:
    full = picture()
    for edge in (1001, 60_000):
        size = (edge, edge)
        yield Bad(f"png-of-{edge}", png(full, 8, 2, size=size), "unsupported", "limit")
        yield Bad(
            f"png-palette-of-{edge}", png(full[:, :, 0], 8, 3, size=size), "unsupported", "limit"
        )
        jpeg = bytearray(encode(full, "JPEG"))
        at = jpeg.index(b"\xff\xc0") + 5
        jpeg[at : at + 4] = struct.pack(">HH", *size)
        yield Bad(f"jpeg-of-{edge}", bytes(jpeg), "unsupported", "limit")
        gif = bytearray(encode(full, "GIF"))
        gif[6:10] = struct.pack("<HH", *size)
        yield Bad(f"gif-of-{edge}", bytes(gif), "unsupported", "limit")
        frame = bytearray(encode(full, "GIF"))
        at = frame.index(b"\x2c", 13 + (6 << (frame[10] & 7))) + 5
        frame[at : at + 4] = struct.pack("<HH", *size)
        yield Bad(f"gif-frame-of-{edge}", bytes(frame), "unsupported", "limit")
        big = tiff(full[:, :, 0]).replace(
            struct.pack("<HHII", 256, 4, 1, 88), struct.pack("<HHII", 256, 4, 1, edge)
        )
        big = big.replace(
            struct.pack("<HHII", 257, 4, 1, 60), struct.pack("<HHII", 257, 4, 1, edge)
        )
        yield Bad(f"tiff-of-{edge}", big, "unsupported", "limit")
        yield Bad(f"bmp-of-{edge}", bmp(bytes(99), edge, edge, 24), "unsupported", "limit")
        yield Bad(
            f"pgm-of-{edge}", f"P5 {edge} {edge} 255\n".encode() + bytes(99), "unsupported", "limit"
        )
        yield Bad(
            f"pgm-ascii-of-{edge}", f"P2 {edge} {edge} 255\n9 9 9".encode(), "unsupported", "limit"
        )
    webp = bytearray(encode(Image.new("RGBA", (9, 9), (1, 2, 3, 4)), "WEBP", exif=exif(1)))
    webp[24:30] = (59_999).to_bytes(3, "little") * 2
    yield Bad("webp-of-60000", bytes(webp), "unsupported", "limit")
    wide = encode(Image.new("L", (2000, 501)), "WEBP", lossless=True)
    yield Bad("webp-over-the-limit", wide, "unsupported", "limit")
    frames = bytearray(encode(Image.new("RGB", (48, 48)), "ICO", sizes=[(48, 48)]))
    at = frames.index(b"IHDR") + 4
    header = frames[at : at + 13]
    header[:8] = struct.pack(">II", 60_000, 60_000)
    frames[at - 8 : at + 17] = chunk(b"IHDR", bytes(header))
    yield Bad("ico-of-60000", bytes(frames), "unsupported", "limit")
