"""Datasets of Ray: what is in them, writing them down once, working on their rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lorgnette.engines.base import Task
from lorgnette.engines.frames import Field
from lorgnette.errors import StorageError
from lorgnette.storage import Storage

if TYPE_CHECKING:
    from ray.data import Dataset

GROUP_ROWS = 64
"""Rows in a row group of images: a worker that begins inside one reads what lies before it."""

_VERDICT = re.compile(r"lorgnette\.errors\.StorageError: (.+)")


def fields(dataset: Dataset) -> dict[str, Field]:
    """What each column of a Dataset holds, by name; runs as much of it as Ray needs to tell."""
    schema = dataset.schema()
    if schema is None:
        return {}
    return {
        name: Field(_kind(kind), str(kind))
        for name, kind in zip(schema.names, schema.types, strict=True)
    }


def spool(
    dataset: Dataset, columns: Mapping[str, str], known: Mapping[str, Field], location: str
) -> None:
    """Write some columns as Parquet, by the workers; nothing comes to the driver.

    Args:
        dataset: run once.
        columns: name in the files -> column of the dataset.
        known: what the columns hold; see `fields`.
        location: a directory or URL that all workers reach, and that is there; what is in it is
            replaced.

    Raises:
        StorageError: a worker does not find the directory.
    """
    storage = Storage.at(location)
    chosen = dataset.map_batches(
        _chosen,
        fn_kwargs={"columns": dict(columns), "location": storage.root},
        batch_format="pyarrow",
        batch_size=None,
    )
    images = any(known[source].kind == "bytes" for source in columns.values())
    limits: dict[str, Any] = {"row_group_size": GROUP_ROWS} if images else {}
    storage.filesystem.delete_dir_contents(storage.resolve(""), missing_dir_ok=True)
    try:
        # By pyarrow's own file system, which the environment configures as for all else here.
        chosen.write_parquet(
            storage.resolve(""), filesystem=storage.filesystem, try_create_dir=False, **limits
        )
    except Exception as error:
        # Of what a worker raised, nothing but the text of its traceback arrives.
        if said := _VERDICT.search(str(error)):
            raise StorageError(said[1]) from error
        raise


def extend(dataset: Dataset, task: Task[pa.Table, pa.Table], rows: int) -> Dataset:
    """The dataset with the columns that a task adds; nothing runs until somebody asks for rows.

    Args:
        dataset: keeps its columns.
        task: given some rows, returns what it adds for each.
        rows: at most so many are given to the task at once.
    """
    return dataset.map_batches(
        _extended, fn_kwargs={"task": task}, batch_format="pyarrow", batch_size=rows
    )


def _chosen(batch: pa.Table, *, columns: dict[str, str], location: str) -> pa.Table:
    """What a worker writes of its rows; a directory that it lacks would take them with it."""
    storage = Storage.at(location)
    if storage.is_local and not storage.is_directory():
        raise StorageError(
            f"A worker of the cluster does not find {location}: prepare into storage that all its "
            "machines reach under the same name."
        )
    return pa.table({name: batch[source] for name, source in columns.items()})


def _extended(batch: pa.Table, *, task: Task[pa.Table, pa.Table]) -> pa.Table:
    found = task(batch)
    for name in found.column_names:
        batch = batch.append_column(name, found[name])
    return batch


def _kind(kind: Any) -> Any:
    """What a type of Arrow, or of Ray's over it, is."""
    if isinstance(kind, pa.BaseExtensionType):
        # A tensor of one axis is a list of numbers; images that somebody decoded are not.
        shape = getattr(kind, "shape", None)
        if shape is None or len(shape) != 1:
            return "other"
        kind = kind.storage_type
    if not isinstance(kind, pa.DataType):
        return "other"
    if pa.types.is_struct(kind):
        return "bytes" if any(f.name == "bytes" and _binary(f.type) for f in kind) else "other"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return "numbers" if _number(kind.value_type) else "other"
    if _binary(kind):
        return "bytes"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "number" if _number(kind) else "other"


def _binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
