"""How many portraits one core draws in a second, and what it takes to store them.

    python benchmarks/portraits.py          # an idle machine

The same portraits are drawn at each size in both styles, the styles in turn within each round; what
counts is the median over rounds. "Drawing" is from the latent vector to RGB pixels; "with the file"
adds the PNG or JPEG encoding and the writing, as `lorgnette portraits` does it in each of its
workers.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from lorgnette.sources.portraits.draw import STYLES, Style, draw
from lorgnette.sources.portraits.encode import jpeg, png
from lorgnette.sources.portraits.latent import Vectors, vectors
from record import RESULTS, save

SIZES = (128, 256, 1024)


def rates(latents: Vectors, size: int, style: Style, folder: Path) -> tuple[float, float, float]:
    """Portraits a second drawn, and drawn and stored; and kilobytes of a file."""
    encode = png if style == "photo" else jpeg
    drawing = storing = size_of_files = 0.0
    for number, vector in enumerate(latents):
        start = time.perf_counter()
        pixels = draw(vector, size, style)
        drawn = time.perf_counter()
        data = encode(pixels)
        (folder / f"{number}").write_bytes(data)
        storing += time.perf_counter() - start
        drawing += drawn - start
        size_of_files += len(data)
    n = len(latents)
    return n / drawing, n / storing, size_of_files / n / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=60, help="portraits in a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    found: dict[tuple[int, Style], list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.rounds + 1):  # the first warms up
            latents = vectors(0, turn * arguments.n, (turn + 1) * arguments.n)
            for size in SIZES:
                for style in STYLES:
                    result = rates(latents, size, style, Path(folder))
                    if turn:
                        found.setdefault((size, style), []).append(result)
    rows = []
    for (size, style), results in found.items():
        drawn, stored, kilobytes = (statistics.median(each) for each in zip(*results, strict=True))
        low, high = min(each[0] for each in results), max(each[0] for each in results)
        rows.append((size, style, *(round(x, 1) for x in (drawn, low, high, stored, kilobytes))))
        print(
            f"{size:5d} {style:6s} {drawn:7.1f} portraits/s ({low:.1f}-{high:.1f}), "
            f"{stored:7.1f} with the file, {kilobytes:7.1f} kB each"
        )
    columns = ("size", "style", "drawn_per_s", "lowest", "highest", "stored_per_s", "kilobytes")
    save(RESULTS / "portraits.csv", columns, rows, packages=("skia-python", "numpy", "pillow"))


if __name__ == "__main__":
    main()
