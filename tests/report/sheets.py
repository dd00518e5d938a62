"""What tests of the further pages share: whole pages checked, and datasets of vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from report_runs import row
from test_page import Page, check

from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.store import (
    ROW,
    STATUSES,
    Dataset,
    DatasetInfo,
    ShardInfo,
    write_array,
    write_rows,
)
from lorgnette.storage import Storage

__all__ = ["Page", "check", "vectors"]


def vectors(
    root: Path,
    x: np.ndarray[Any, Any],
    labels: list[str | None],
    *,
    shard: int = 50,
    missing: Any = "error",
    groups: list[str] | None = None,
) -> Dataset:
    """A dataset of vectors (n, F) in shards, written as `prepare` leaves it."""
    storage = Storage.at(root)
    shards = []
    for index, start in enumerate(range(0, len(x), shard)):
        name, part = f"{index:05d}", range(start, min(start + shard, len(x)))
        rows = [
            row(f"item-{n}", label=labels[n], group=groups[n] if groups else None,
                width=None, height=None, bytes=None)
            for n in part
        ]  # fmt: skip
        write_array(storage, f"shards/{name}.npy", x[part.start : part.stop].astype(np.float32))
        table = pa.Table.from_pylist(rows, schema=ROW)
        write_rows(storage, f"shards/{name}.parquet", table, {})
        shards.append(ShardInfo(name=name, items=len(rows), rows=len(rows)))
    names = sorted({label for label in labels if label is not None})
    info = DatasetInfo(
        format=1,
        version="0.1.0",
        source=SourceConfig(location="/somewhere/latents.csv", kind="table", features="v*"),
        images="/somewhere",
        prepare=PrepareConfig(missing=missing),
        classes=tuple(names),
        counts={status: len(x) if status == "ok" else 0 for status in STATUSES},
        labels={name: labels.count(name) for name in names},
        unlabelled=labels.count(None),
        conflicts=0,
        features=tuple(f"v{k + 1}" for k in range(x.shape[1])),
        channels=0,
        mean=(),
        deviation=(),
        shards=tuple(shards),
        source_digest="0",
    )
    storage.write("dataset.json", info.model_dump_json().encode())
    return Dataset.load(str(root))
