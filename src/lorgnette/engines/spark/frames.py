"""DataFrames of Spark: what is in them, writing them down once, working on their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lorgnette.engines.base import Task
from lorgnette.engines.frames import Field
from lorgnette.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

ROW_GROUP_BYTES = 32 << 20
"""Of what `spool` writes: a worker that begins inside a row group reads what lies before it."""
VECTOR = "lorgnette_vector_"
"""Before the name of a column that holds a vector as a list while rows are worked on."""


def fields(frame: DataFrame) -> dict[str, Field]:
    """What each column of a DataFrame holds, by name."""
    return {field.name: Field(_kind(field.dataType), _name(field)) for field in frame.schema}


def spool(
    frame: DataFrame, columns: Mapping[str, str], known: Mapping[str, Field], location: str
) -> int:
    """Write some columns as Parquet, by the executors; nothing comes to the driver.

    Args:
        frame: evaluated once.
        columns: name in the files -> column of the frame. What is called `path` holds paths, and
            `content` encoded images.
        known: what the columns hold; see `fields`.
        location: a directory or URL that all executors reach; replaced where it is there.

    Returns:
        How many rows were written.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    chosen = [_column(source, known[source], name).alias(name) for name, source in columns.items()]
    observation = Observation()
    counted = frame.select(*chosen).observe(observation, F.count(F.lit(1)).alias("rows"))
    (
        counted.write.mode("overwrite")
        .option("parquet.block.size", ROW_GROUP_BYTES)
        # How often the size is looked at, in rows: by default a hundred, which of large images may
        # not fit into an executor.
        .option("parquet.block.size.row.check.min", 10)
        .option("parquet.page.size.row.check.min", 10)
        .parquet(address(location))
    )
    return int(observation.get["rows"])


def address(location: str) -> str:
    """A location as Spark writes it: local paths are URLs, and S3 has another name."""
    storage = Storage.at(location)
    if storage.is_local:
        return f"file://{storage.root}"
    return f"s3a://{storage.root[5:]}" if storage.root.startswith("s3://") else storage.root


def extend(
    frame: DataFrame,
    task: Task[pa.Table, pa.Table],
    classes: Sequence[str],
    known: Mapping[str, Field],
    rows: int,
) -> DataFrame:
    """The frame with the columns that a task adds; nothing runs until somebody asks for rows.

    Args:
        frame: keeps its columns.
        task: given some rows, returns what it adds for each: a text `prediction`, a float32 for
            each class, a text `error`. Vectors of Spark ML come as lists.
        classes: the names of the columns of probabilities.
        known: what the columns hold.
        rows: at most so many are given to the task at once.
    """
    from pyspark.sql import types as T

    vectors = [name for name, field in known.items() if field.kind == "vector"]
    # Vectors go back and forth as they are stored, which the task need not know.
    lists = {VECTOR + name: _column(name, known[name], "") for name in vectors}
    wide = frame.withColumns(lists) if lists else frame
    # Every batch of Arrow ends with what the task added.
    added = [
        T.StructField("prediction", T.StringType()),
        *(T.StructField(name, T.FloatType()) for name in classes),
        T.StructField("error", T.StringType()),
    ]
    schema = T.StructType([*wide.schema.fields, *added])
    worked = wide.mapInArrow(partial(_extended, task=task, vectors=vectors, rows=rows), schema)
    return worked.drop(*lists)


def read_images(spark: SparkSession, folder: str, label: str | None) -> DataFrame:
    """The files of a folder; see `lorgnette.frames.read_images`."""
    from pyspark.sql import functions as F

    root = Storage.at(folder).root
    files = (
        spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(address(folder))
    )
    path = _local(F.col("path"))
    below = F.expr(f"substring(path, {len(root.rstrip('/')) + 2})")
    chosen = files.select(path.alias("path"), "content").select(
        below.alias("id"), "path", "content"
    )
    if label is None:
        return chosen
    # What lies in the folder itself has no label.
    inside = F.col("id").contains("/")
    return chosen.withColumn("label", F.when(inside, F.element_at(F.split("path", "/"), -2)))


def _extended(
    batches: Iterator[pa.RecordBatch],
    task: Task[pa.Table, pa.Table],
    vectors: Sequence[str],
    rows: int,
) -> Iterator[pa.RecordBatch]:
    """What an executor runs: the batches with the columns that the task adds."""
    for batch in batches:
        for start in range(0, len(batch), rows):
            part = pa.table(batch.slice(start, rows))
            shown = part
            for name in vectors:
                place = shown.column_names.index(name)
                shown = shown.set_column(place, name, part[VECTOR + name])
            found = task(shown)
            for name in found.column_names:
                part = part.append_column(name, found[name])
            yield from part.combine_chunks().to_batches()


def _column(source: str, field: Field, name: str) -> Column:
    """A column of the frame as it is written down or worked on."""
    from pyspark.sql import functions as F

    quoted = source.replace("`", "``")
    column = F.col(f"`{quoted}`")
    if field.kind == "vector":
        from pyspark.ml.functions import vector_to_array

        return vector_to_array(column, "float32")
    if name == "content" and field.type.startswith("struct"):
        return column.getField("bytes")
    return _local(column) if name == "path" else column


def _local(column: Column) -> Column:
    """Paths as Hadoop writes them, made those of this package."""
    from pyspark.sql import functions as F

    return F.regexp_replace(F.regexp_replace(column, "^file:/+", "/"), "^s3[an]://", "s3://")


def _kind(kind: Any) -> Any:
    from pyspark.sql import types as T

    if isinstance(kind, T.UserDefinedType):
        return "vector" if type(kind).__name__ == "VectorUDT" else "other"
    if isinstance(kind, T.StructType):
        inside = {field.name: field.dataType for field in kind}
        return "bytes" if isinstance(inside.get("bytes"), T.BinaryType) else "other"
    if isinstance(kind, T.ArrayType):
        return "numbers" if isinstance(kind.elementType, T.NumericType) else "other"
    if isinstance(kind, T.BinaryType):
        return "bytes"
    if isinstance(kind, T.StringType):
        return "text"
    return "number" if isinstance(kind, T.NumericType) else "other"


def _name(field: Any) -> str:
    return str(field.dataType.simpleString())
