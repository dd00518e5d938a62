"""Near-duplicates among generated hashes: seconds, peak memory, planted ones found.

    python benchmarks/near_duplicates.py          # about a minute; Linux only

Random 64-bit hashes, of which each of 1,000 has a second one that differs in 1 to the radius many
bits, drawn evenly; and, as one row more, a million equal hashes, as blank pictures have. Each
search runs in a process of its own, whose memory is the kernel's high-water mark; `memory_mib` is
what that is above the same process with the hashes made and nothing searched, NumPy and SciPy
imported. The search misses nothing within the radius, so all planted pairs must be found.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from lorgnette.audit.hashes import clusters, near
from record import RESULTS, Cell, save

NUMBERS = (10_000, 100_000, 1_000_000)
RADII = (2, 4, 6, 8)
PLANTED = 1000
COLUMNS = (
    "hashes", "kind", "radius", "seconds", "peak_mib", "memory_mib", "pairs", "planted", "found",
    "clusters", "searched_radius",
)  # fmt: skip


def generate(n: int, radius: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Hashes, (n,), and places (planted, 2) of the planted pairs."""
    if kind == "equal":
        return np.zeros(n, np.uint64), np.empty((0, 2), np.int64)
    rng = np.random.default_rng([n, radius])
    hashes = rng.integers(0, 2**64, n, np.uint64)
    places = rng.permutation(n)[: 2 * PLANTED].reshape(-1, 2)
    for first, second in places:
        changed = rng.choice(64, rng.integers(1, radius + 1), replace=False)
        flips = np.bitwise_or.reduce(np.uint64(1) << changed.astype(np.uint64))
        hashes[second] = hashes[first] ^ flips
    return hashes, places


def search(n: int, radius: int, kind: str) -> dict[str, float]:
    """One search, in this process."""
    import scipy.sparse.csgraph  # noqa: F401  (its memory is not that of the search)

    hashes, planted = generate(n, radius, kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = near(hashes, radius)
    cluster = clusters(found)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    together = cluster[planted[:, 0]] == cluster[planted[:, 1]]
    return {
        "seconds": seconds,
        "peak_mib": peak / 1024,
        "memory_mib": (peak - before) / 1024,
        "pairs": len(found.left),
        "planted": len(planted),
        "found": int((together & (cluster[planted[:, 0]] >= 0)).sum()),
        "clusters": int(cluster.max() + 1),
        "searched_radius": found.radius,
    }


def measure(n: int, radius: int, kind: str) -> list[Cell]:
    """One search, in a process of its own."""
    command = [sys.executable, __file__, "--one", str(n), str(radius), kind]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    facts = json.loads(output)
    shown: list[Cell] = [round(facts[name], 1) for name in ("seconds", "peak_mib", "memory_mib")]
    counts: list[Cell] = [
        facts[name] for name in ("pairs", "planted", "found", "clusters", "searched_radius")
    ]
    row = [n, kind, radius, *shown, *counts]
    print(*row, sep="\t", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--one", nargs=3, metavar=("N", "RADIUS", "KIND"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--csv", type=Path, default=RESULTS / "near_duplicates.csv", help="where the figures go"
    )
    options = parser.parse_args()
    if options.one:
        n, radius, kind = options.one
        print(json.dumps(search(int(n), int(radius), kind)))
        return
    print(*COLUMNS, sep="\t")
    rows = [measure(n, radius, "random") for n in NUMBERS for radius in RADII]
    rows.append(measure(NUMBERS[-1], RADII[-1], "equal"))
    save(
        options.csv,
        COLUMNS,
        rows,
        packages=("numpy", "scipy"),
        remark="one run each, on a machine that others used at the same time; planted: pairs that "
        "differ in 1 to radius bits; found: planted pairs in one cluster",
    )


if __name__ == "__main__":
    main()
