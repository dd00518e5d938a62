"""Small folders of pictures for tests; everything in them is drawn here."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, label: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """Noise with a bright left half (label 0) or right half (label 1), or top half (label 2)."""
    rng = np.random.default_rng(seed)
    width, height = size
    pixels = rng.integers(0, 120, (height, width, 3))
    if label == 0:
        pixels[:, : width // 2] += 100
    elif label == 1:
        pixels[:, width // 2 :] += 100
    else:
        pixels[: height // 2] += 100
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


def folder_of(root: Path, per_class: int = 20, classes: tuple[str, ...] = ("a", "b")) -> Path:
    """ROOT/<class>/<number>.png."""
    for label, name in enumerate(classes):
        directory = root / name
        directory.mkdir(parents=True)
        for number in range(per_class):
            image = picture(1000 * label + number, label)
            (directory / f"{number:04d}.png").write_bytes(encoded(image))
    return root


def with_oddities(root: Path) -> Path:
    """Add to a folder of classes a and b: one truncated, one empty, one text, three copies."""
    whole = (root / "a" / "0000.png").read_bytes()
    (root / "a" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "empty.jpg").write_bytes(b"")
    (root / "b" / "text.png").write_bytes(b"this is not an image\n")
    (root / "a" / "zcopy.png").write_bytes(whole)  # the same class
    (root / "b" / "zcopy.png").write_bytes(whole)  # another class
    return root
