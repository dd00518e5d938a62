"""Datasets of rows alone, with a ledger: nothing here reads pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.store import ROW, STATUSES, Dataset, DatasetInfo, ShardInfo, write_rows
from lorgnette.storage import Storage


def labelled(
    folder: Path,
    labels: Sequence[str | None],
    *,
    ids: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    given: Sequence[str | None] | None = None,
    source: SourceConfig | None = None,
) -> Dataset:
    """A dataset in a folder, of one shard; ids are `i0`, `i1` and so on if not given."""
    n = len(labels)
    rows = {
        "id": ids or [f"i{number}" for number in range(n)],
        "path": ["x"] * n,
        "status": ["ok"] * n,
        "label": labels,
        "group": groups or [None] * n,
        "split": given or [None] * n,
    }
    columns = [pa.array(rows.get(field.name, [None] * n), field.type) for field in ROW]
    storage = Storage.at(folder)
    write_rows(storage, "shards/00000.parquet", pa.Table.from_arrays(columns, schema=ROW), {})
    classes = sorted({label for label in labels if label is not None})
    info = DatasetInfo(
        format=1,
        version="0",
        source=source or SourceConfig(location="nowhere.csv"),
        images="nowhere",
        prepare=PrepareConfig(),
        classes=tuple(classes),
        counts={status: n if status == "ok" else 0 for status in STATUSES},
        labels={name: sum(label == name for label in labels) for name in classes},
        unlabelled=sum(label is None for label in labels),
        conflicts=0,
        channels=3,
        mean=(0.0,) * 3,
        deviation=(1.0,) * 3,
        shards=(ShardInfo(name="00000", items=n, rows=n),),
        source_digest="0",
    )
    storage.write("dataset.json", info.model_dump_json().encode())
    return Dataset.load(str(folder))
