"""Write the checksums of some portraits: `python tests/golden/make_portraits.py`.

They hold for one version of Skia; a portrait is drawn differently only on purpose.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import skia

from lorgnette.sources.portraits.draw import STYLES, draw
from lorgnette.sources.portraits.latent import vectors

PATH = Path(__file__).with_name("portraits.json")


def checksums() -> dict[str, str]:
    """Name of a portrait -> SHA-256 of its pixels; half a dozen people in every style and size."""
    drawn = vectors(0, 2020, 2026)
    sums = {"vectors": hashlib.sha256(drawn.astype("<f4").tobytes()).hexdigest()}
    for style in STYLES:
        for size in (32, 128, 500):
            pixels = np.stack([draw(vector, size, style) for vector in drawn])
            sums[f"{style} {size}"] = hashlib.sha256(pixels.tobytes()).hexdigest()
    return sums


if __name__ == "__main__":
    facts = {"skia": skia.__version__, "sha256": checksums()}
    PATH.write_text(json.dumps(facts, indent=2) + "\n")
