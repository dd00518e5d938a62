"""Draw the contact sheets of the documents: `python benchmarks/contact_sheets.py`.

A hundred portraits of seed 0 in each style, the same people in the same places, not chosen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lorgnette.sources.portraits.draw import STYLES, draw
from lorgnette.sources.portraits.latent import vectors

IMAGES = Path(__file__).parent.parent / "docs/images"
ROWS, SIZE, MARGIN = 10, 120, 4


def main() -> None:
    latents = vectors(0, 0, ROWS * ROWS)
    step = SIZE + MARGIN
    gap = np.full((MARGIN, ROWS * step - MARGIN, 3), 255, np.uint8)
    strips = []
    for style in STYLES:
        sheet = np.full((ROWS * step - MARGIN, ROWS * step - MARGIN, 3), 255, np.uint8)
        for number, vector in enumerate(latents):
            y, x = (step * place for place in divmod(number, ROWS))
            sheet[y : y + SIZE, x : x + SIZE] = draw(vector, SIZE, style)
        Image.fromarray(sheet).save(IMAGES / f"portraits-{style}.jpg", quality=85)
        strips.append(sheet[: 2 * step - MARGIN])
    Image.fromarray(np.concatenate([strips[0], gap, strips[1]])).save(
        IMAGES / "portraits.jpg", quality=88
    )


if __name__ == "__main__":
    main()
