"""Odd and bad files, pixels against Pillow's, and bytes that nobody foresaw."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys
import threading
import warnings
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odd_files import LIMIT, Bad, Good, Pixels, bad_files, encode, good_files, luminance, picture
from odd_files import png as write_png
from PIL import Image, ImageOps

from lorgnette.dataset import decode as module
from lorgnette.dataset import shortcuts
from lorgnette.dataset.decode import Color, Decoded, Fit, Rejected, decode

GOOD = good_files()
BAD = bad_files()
BICUBIC = Image.Resampling.BICUBIC
PLENTY = 100_000_000


def reference(image: Image.Image, size: int, color: Color, fit: Fit) -> NDArray[np.int64]:
    """The definition: an upright, opaque picture to a square, by Pillow's plain functions."""
    image = image.convert("L" if color == "gray" else "RGB")
    square = (size, size)
    white = 255 if color == "gray" else (255, 255, 255)
    if fit == "crop":
        image = ImageOps.fit(image, square, BICUBIC)
    elif fit == "pad":
        longer = max(image.size)
        edges = [max(1, round(edge / longer * size)) for edge in image.size]
        inner = image.resize((edges[0], edges[1]), BICUBIC)
        image = Image.new(image.mode, square, white)
        image.paste(inner, (round((size - edges[0]) / 2), round((size - edges[1]) / 2)))
    else:
        image = image.resize(square, BICUBIC)
    return np.asarray(image, np.int64).reshape(size, size, -1)


def error(decoded: Decoded, expected: NDArray[np.int64], index: int = 0) -> float:
    """Mean difference in grey levels."""
    pixels = decoded.pixels[index]
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    return float(np.abs(pixels - expected).mean())


def natural(width: int, height: int, seed: int = 0, contrast: float = 45.0) -> Pixels:
    """A picture with the statistics of a photograph: amplitude falls as 1/frequency, plus grain."""
    rng = np.random.default_rng(seed)
    edge = max(width, height)
    frequency = np.hypot(np.fft.rfftfreq(edge)[None], np.fft.fftfreq(edge)[:, None])
    amplitude = 1 / np.maximum(frequency, 1 / edge)

    def pink() -> NDArray[np.float64]:
        phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
        values = np.fft.irfft2(amplitude * phase, s=(edge, edge))
        return np.asarray(values / values.std())

    shared, own = pink(), np.stack([pink() for _ in range(3)], axis=2)
    grain = rng.normal(0, 4, (edge, edge, 3))
    pixels = 128 + contrast * shared[:, :, None] + contrast / 4 * own + grain
    return pixels.clip(0, 255).astype(np.uint8)[:height, :width]


def test_the_corpus_is_large() -> None:
    assert len(GOOD) + len(BAD) >= 200
    names = [file.name for file in GOOD] + [file.name for file in BAD]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.name)
@pytest.mark.parametrize("color", get_args(Color))
def test_odd_files_decode_to_the_right_pixels(file: Good, color: Color) -> None:
    expected = Image.fromarray(file.pixels)
    for fit in get_args(Fit):
        decoded = decode(file.data, (48, 16), color, fit, LIMIT)
        assert (decoded.width, decoded.height) == expected.size
        for index, size in enumerate((48, 16)):
            wanted = reference(expected, size, color, fit)
            assert error(decoded, wanted, index) <= file.tolerance, (fit, size)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.name)
def test_bad_files_are_rejected_with_a_sentence(file: Bad) -> None:
    with pytest.raises(Rejected) as caught:
        decode(file.data, (16,), "rgb", "crop", LIMIT)
    assert caught.value.status == file.status
    assert file.word in caught.value.reason
    assert caught.value.reason.endswith(".")
    assert len(caught.value.reason) < 160
    assert str(caught.value) == caught.value.reason


@pytest.mark.parametrize(
    "file",
    [file for file in GOOD if not file.name.startswith(("wide", "tall", "exactly"))],
    ids=lambda file: file.name,
)
def test_a_truncated_file_is_never_a_partly_filled_picture(file: Good) -> None:
    whole = decode(file.data, (24,), "rgb", "stretch", LIMIT).pixels[0]
    total = len(file.data)
    # Nothing tells that the last of some ASCII digits are missing.
    least = 6 if "ascii" in file.name else 1
    cuts = {*range(20), *np.linspace(0, total - least, 25).astype(int), *range(total - 12, total)}
    for cut in sorted(cut for cut in cuts if 0 <= cut <= total - least):
        try:
            decoded = decode(file.data[:cut], (24,), "rgb", "stretch", LIMIT)
        except Rejected:
            continue
        if "comments" not in file.name:
            np.testing.assert_array_equal(decoded.pixels[0], whole, f"cut at {cut} of {total}")


SHAPES = [
    ((1024, 1024), 64),
    ((1024, 1024), 128),
    ((1000, 700), 128),
    ((700, 1000), 64),
    ((512, 512), 64),
    ((256, 256), 64),
    ((333, 517), 50),
    ((641, 479), 101),
    ((40, 30), 64),
    ((9, 200), 32),
]


@pytest.mark.parametrize(("shape", "size"), SHAPES)
@pytest.mark.parametrize("kind", ["png", "jpeg", "jpeg-subsampled", "jpeg-gray"])
def test_natural_pictures_agree_with_pillow_within_a_grey_level(
    kind: str, shape: tuple[int, int], size: int
) -> None:
    pixels = natural(*shape, seed=size)
    data = {
        "png": lambda: encode(pixels, "PNG", compress_level=1),
        "jpeg": lambda: encode(pixels, "JPEG", quality=92, subsampling=0),
        "jpeg-subsampled": lambda: encode(pixels, "JPEG", quality=90),
        "jpeg-gray": lambda: encode(luminance(pixels), "JPEG", quality=90),
    }[kind]()
    full = Image.open(BytesIO(data))
    for color, fit in product(get_args(Color), get_args(Fit)):
        decoded = decode(data, (size,), color, fit, PLENTY)
        assert error(decoded, reference(full, size, color, fit)) < 1.0, (color, fit)


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photographs_agree_with_pillow_within_a_grey_level(name: str, kind: str) -> None:
    folder = importlib.resources.files("sklearn.datasets.images")  # scikit-learn brings two
    data = folder.joinpath(name).read_bytes()
    if kind != "JPEG":
        data = encode(Image.open(BytesIO(data)), kind)
    full = Image.open(BytesIO(data))
    for color, fit, size in product(get_args(Color), get_args(Fit), (16, 26, 40, 64, 100, 128)):
        decoded = decode(data, (size,), color, fit, PLENTY)
        assert error(decoded, reference(full, size, color, fit)) < 1.0, (color, fit, size)


@pytest.mark.parametrize("shape", [(512, 512), (481, 650)])
def test_cmyk_and_oriented_jpegs_may_be_scaled_too(shape: tuple[int, int]) -> None:
    image = Image.fromarray(natural(*shape, seed=3))
    block = Image.Exif()
    block[0x0112] = 6
    for data in (
        encode(image.convert("CMYK"), "JPEG", quality=92),
        encode(image, "JPEG", quality=92, exif=block.tobytes()),
        encode(image, "JPEG", quality=92, progressive=True),
        encode(image, "JPEG", quality=92, keep_rgb=True),
    ):
        full = ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB")
        for color, fit in product(get_args(Color), get_args(Fit)):
            decoded = decode(data, (40,), color, fit, PLENTY)
            assert (decoded.width, decoded.height) == full.size
            assert error(decoded, reference(full, 40, color, fit)) < 1.0, (color, fit)


def test_several_sizes_come_from_one_decode_at_the_largest_scale() -> None:
    data = encode(natural(800, 800), "JPEG", quality=90)
    full = Image.open(BytesIO(data))
    decoded = decode(data, (32, 200, 64), "rgb", "crop", PLENTY)
    assert [pixels.shape for pixels in decoded.pixels] == [(n, n, 3) for n in (32, 200, 64)]
    for index, size in enumerate((32, 200, 64)):
        assert error(decoded, reference(full, size, "rgb", "crop"), index) < 1.0


def test_padding_is_white_and_the_picture_is_in_the_middle() -> None:
    data = encode(np.zeros((20, 80, 3), np.uint8), "PNG")
    pixels = decode(data, (40,), "rgb", "pad", LIMIT).pixels[0]
    assert (pixels[:15] == 255).all()
    assert (pixels[15:25] == 0).all()
    assert (pixels[25:] == 255).all()


def test_the_pixel_limit_is_inclusive_and_counts_pixels() -> None:
    data = encode(picture(40, 30), "PNG")
    assert decode(data, (8,), "rgb", "crop", 1200).width == 40
    with pytest.raises(Rejected, match="40×30 pixels, more than the pixel limit of 1,199"):
        decode(data, (8,), "rgb", "crop", 1199)


def test_a_higher_limit_than_pillows_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encode(picture(40, 30), "BMP")
    assert decode(data, (8,), "rgb", "crop", 1200).width == 40


@pytest.mark.parametrize("failure", [ValueError, MemoryError, "panic"])
def test_pillow_decides_where_kornia_fails(monkeypatch: pytest.MonkeyPatch, failure: Any) -> None:
    full = picture()
    data = encode(full, "PNG")
    kind = type("PanicException", (BaseException,), {}) if failure == "panic" else failure

    def fail(*_: object) -> None:
        raise kind

    monkeypatch.setattr(shortcuts, "decode_image_png_u8", fail)
    wanted = reference(Image.fromarray(full), 32, "rgb", "crop")
    assert error(decode(data, (32,), "rgb", "crop", LIMIT), wanted) <= 1
    taller = write_png(full, 8, 2, size=(88, 61))
    with pytest.raises(Rejected, match="less pixel data"):
        decode(taller, (32,), "rgb", "crop", LIMIT)


def test_an_interruption_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shortcuts, "decode_image_png_u8", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode(encode(picture(), "PNG"), (32,), "rgb", "crop", LIMIT)


@pytest.mark.parametrize("failure", [MemoryError(), RecursionError("too deep")])
def test_running_out_of_memory_or_stack_is_a_rejection(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(module, "_opaque", fail)
    with pytest.raises(Rejected):
        decode(encode(picture(), "BMP"), (32,), "rgb", "crop", LIMIT)


def test_threads_may_decode_at_once_and_leave_warnings_as_they_were() -> None:
    filters = list(warnings.filters)
    data = [encode(picture(), kind) for kind in ("JPEG", "PNG", "GIF", "TIFF")]
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for _ in range(20):
                decode(data[index], (16,), "rgb", "crop", LIMIT)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == filters


def assert_a_verdict(data: bytes) -> None:
    try:
        decoded = decode(data, (8,), "gray", "pad", LIMIT)
    except Rejected:
        return
    assert decoded.pixels[0].shape == (8, 8, 1)
    assert 0 < decoded.width * decoded.height <= LIMIT


SEEDS = [file for file in GOOD if len(file.data) < 60_000]


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_get_a_verdict(data: bytes) -> None:
    assert_a_verdict(data)


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"MM\0*",
                     b"\0\0\1\0", b"\0\0\2\0", b"RIFF\0\0\0\0WEBP", b"P2 ", b"P6\n", b"8BPS",
                     b"qoif", b"icns", b"DDS ", b"\x01\xda", b"\x0a\x05\x01", b"\0\0\0\x1cftypavif",
                     b"\xff\x4f\xff\x51"]),
    st.binary(max_size=300),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_any_bytes_after_a_signature_get_a_verdict(magic: bytes, data: bytes) -> None:
    assert_a_verdict(magic + data)


@given(st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_damage_gets_a_verdict(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(SEEDS), label="file")
    damaged = bytearray(file.data)
    # Headers are where damage does most harm.
    places = st.one_of(st.integers(0, min(120, len(damaged) - 1)), st.integers(0, len(damaged) - 1))
    for place in data.draw(st.lists(places, min_size=1, max_size=6), label="changed"):
        damaged[place] = data.draw(st.integers(0, 255))
    kind = data.draw(st.sampled_from(["keep", "cut", "insert", "remove"]), label="kind")
    place = data.draw(places, label="place")
    if kind == "cut":
        del damaged[place:]
    elif kind == "insert":
        damaged[place:place] = data.draw(st.binary(min_size=1, max_size=30))
    elif kind == "remove":
        del damaged[place : place + data.draw(st.integers(1, 30))]
    assert_a_verdict(bytes(damaged))


@pytest.mark.real_data
def test_real_images_agree_with_pillow_within_a_grey_level(real_data: Path) -> None:
    files = sorted(path for path in real_data.rglob("*") if path.suffix in (".png", ".pgm"))
    assert files
    for path in files[:: max(1, len(files) // 60)]:
        original = path.read_bytes()
        image = Image.open(BytesIO(original)).convert("RGB")
        for data in (original, encode(image, "JPEG", quality=90), encode(image, "BMP")):
            full = Image.open(BytesIO(data)).convert("RGB")
            for color, fit, size in product(get_args(Color), get_args(Fit), (32, 64)):
                decoded = decode(data, (size,), color, fit, PLENTY)
                difference = error(decoded, reference(full, size, color, fit))
                assert difference < 1.0, (path.name, data[:4], color, fit, size)


def test_importing_the_decoder_imports_nothing_heavy() -> None:
    code = "import sys, lorgnette.dataset.decode; print(*sys.modules)"
    names = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "sklearn", "matplotlib", "scipy", "pyarrow"} & set(names)
