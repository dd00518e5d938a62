"""The data of the published Spark pipeline: tables and images of the glasses set as DataFrames.

Furia 2021: both tables with a schema, their union, a join with the corrections; the latents
assembled, scaled and projected by stages of Spark's own pipelines; images read as `binaryFile`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorgnette.engines.spark.frames import address, read_images
from lorgnette.errors import SourceError
from lorgnette.sources.kaggle import find
from lorgnette.sources.labels import BLANK, Labels
from lorgnette.sources.published import CLASSES, TABLES, Place
from lorgnette.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

LATENTS = "v"
"""What the names of the columns of latents begin with."""
SCALED = "scaled"
COMPONENTS = "components"


def place_of(folder: str, *, images: bool) -> Place:
    """Where the parts of the glasses set are, in a directory.

    Raises:
        SourceError: they are not there.
    """
    place = find(folder, images=images)
    if place is None or place.layout != "glasses":
        raise SourceError(
            f"The published Spark pipeline is for the glasses set ({' and '.join(TABLES)}, and the "
            f"portraits), and {folder} holds none: give the folder that the download was "
            "unpacked into."
        )
    return place


def labelled(spark: SparkSession, place: Place, corrections: str | None) -> DataFrame:
    """The rows of both tables that have a label: id (int), label, and the latents (double).

    Args:
        spark: the session.
        place: where the tables are.
        corrections: a table of labels that go over the given ones; blank: the row is left out.

    Raises:
        SourceError: a table has other columns.
    """
    from functools import reduce

    from pyspark.sql import functions as F

    storage = Storage.at(place.tables)
    tables = []
    for name in filter(storage.exists, TABLES):
        location = storage.locate(name)
        tables.append(
            spark.read.csv(
                address(location),
                schema=schema_of(location),
                header=True,
                enforceSchema=False,  # so that the header is compared with the schema
                mode="FAILFAST",
            )
        )
    frame = reduce(lambda one, two: one.unionByName(two, allowMissingColumns=True), tables)
    given = F.col("glasses").cast("int")
    if corrections:
        # A few thousand rows, which this process reads: those without ids go by their order.
        table = Labels(corrections, blank_rows=True)
        table.need("glasses")
        rows = [
            (int(id_), int(code))
            for _, ids, codes in table.rows()
            for id_, code in zip(ids, codes, strict=True)
        ]
        frame = frame.join(spark.createDataFrame(rows, "id INT, corrected INT"), "id", "left")
        right = F.when(F.col("corrected") != BLANK, F.col("corrected"))
        given = F.when(F.col("corrected").isNull(), given).otherwise(right)
    names = F.array(*[F.lit(name) for name in CLASSES])
    latents = [name for name in frame.columns if name.startswith(LATENTS)]
    coded = frame.withColumn("code", given).filter(F.col("code").isNotNull())
    return coded.select("id", F.element_at(names, F.col("code") + 1).alias("label"), *latents)


def schema_of(location: str) -> StructType:
    """The schema of one of the published tables: an id, latents, and a label where it has one.

    Raises:
        SourceError: it has other columns.
    """
    from pyspark.sql import types as T

    table = Labels(location)
    table.need("id")
    names = list(table.table.columns)
    others = [name for name in names if name not in ("id", "glasses")]
    expected = [f"{LATENTS}{place + 1}" for place in range(len(others))]
    if not others or others != expected:
        strange = next((a for a, b in zip(others, expected, strict=True) if a != b), "nothing")
        raise SourceError(
            f"{location} must have the columns id, {LATENTS}1, {LATENTS}2, … and glasses, and it "
            f"has {strange} where a latent is expected: give the published table."
        )
    kinds = {"id": T.IntegerType()}
    return T.StructType([T.StructField(name, kinds.get(name, T.DoubleType())) for name in names])


def scaled(frame: DataFrame) -> DataFrame:
    """The latents as one vector of mean 0 and deviation 1, and their two principal components.

    The stages are fitted to all rows, as published. That tells a network nothing of the test part:
    training standardises by the training part alone, which undoes any other scaling.

    Args:
        frame: what `labelled` returns.

    Returns:
        The columns id, label, scaled (vector) and components (vector of 2).
    """
    from pyspark.ml import Pipeline
    from pyspark.ml.feature import PCA, StandardScaler, VectorAssembler

    latents = [name for name in frame.columns if name.startswith(LATENTS)]
    stages = Pipeline(
        stages=[
            VectorAssembler(inputCols=latents, outputCol="assembled"),
            StandardScaler(inputCol="assembled", outputCol=SCALED, withMean=True, withStd=True),
            PCA(inputCol=SCALED, outputCol=COMPONENTS, k=2),
        ]
    )
    fitted = stages.fit(frame).transform(frame)
    return fitted.select("id", "label", SCALED, COMPONENTS)


def pictured(spark: SparkSession, frame: DataFrame, place: Place) -> DataFrame:
    """The portraits of labelled rows, read where they are worked on: id, label, content (bytes)."""
    from pyspark.sql import functions as F

    files = read_images(spark, place.images, None)
    number = F.regexp_extract("path", r"face-([0-9]+)\.png$", 1)
    numbered = files.filter(number != "").select(number.cast("int").alias("id"), "content")
    return numbered.join(frame.select("id", "label"), "id")


def components(frame: DataFrame, most: int, seed: int) -> list[tuple[str, float, float]]:
    """Label and the two principal components of at most so many rows, drawn at random."""
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    some = frame.select("label", vector_to_array(COMPONENTS).alias("at"))
    rows = some.orderBy(F.rand(seed)).limit(most).collect()
    return [(row.label, float(row.at[0]), float(row.at[1])) for row in rows]


def picture(points: Sequence[tuple[str, float, float]]) -> bytes:
    """Labels and their two coordinates as dots in a PNG."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for name in sorted({label for label, _, _ in points}):
        x = [point[1] for point in points if point[0] == name]
        y = [point[2] for point in points if point[0] == name]
        axes.scatter(x, y, s=6, alpha=0.6, linewidths=0, label=name)
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second principal component")
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
