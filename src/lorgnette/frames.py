"""The verbs on frames: DataFrames of Spark and Datasets of Ray, whose rows are on a cluster.

A frame is a source like others: what of it is needed is written once, by the cluster, as Parquet
beside the dataset, and prepared from there. So a dataset can be made again, and continued, without
the frame. Predictions come back as a frame of the same kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from lorgnette.config import EngineConfig, PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import PLAN
from lorgnette.dataset.prepare import prepare as prepare_source
from lorgnette.dataset.store import INFO, Dataset
from lorgnette.engines import open_engine
from lorgnette.engines.base import Engine, Task
from lorgnette.engines.frames import Field
from lorgnette.errors import ConfigError, DatasetError, SourceError, StorageError
from lorgnette.lock import locked
from lorgnette.predictions import PREFIX
from lorgnette.progress import say
from lorgnette.rundir import Run
from lorgnette.sources.frames import Asked, asked_of, features_of, listed
from lorgnette.sources.reader import open_parquet, parquet_files
from lorgnette.storage import Storage

if TYPE_CHECKING:
    from lorgnette.model import ModelSpec

SPOOL = "source"
"""The directory inside a dataset where the rows of a frame are written."""
NOTE = "source.json"
"""What was written there; `rows` is there when all of it was."""
ROWS = 128
"""Images that are decoded and predicted at once."""
SPOOLED = ("id", "label", "group", "split")
"""The columns of a spool beside images or features, under these names."""


def is_frame(value: object) -> bool:
    """Whether this is a DataFrame of Spark or a Dataset of Ray; neither is imported."""
    return _cluster(value) is not None


def prepare(
    frame: Any,
    out: str | os.PathLike[str],
    *,
    image: str | None = None,
    label: str = "label",
    id: str | None = None,
    group: str | None = None,
    split: str | None = None,
    features: str | Sequence[str] | None = None,
    settings: PrepareConfig | None = None,
    engine: EngineConfig | Engine | None = None,
    overwrite: bool = False,
) -> Dataset:
    """Prepare the images or vectors in a frame; see `lorgnette.dataset.prepare.prepare`.

    The rows are written to `out/source` once. After that the frame is not looked at again, so a
    change of it goes unnoticed: `overwrite` writes them anew.

    Args:
        frame: a DataFrame of Spark or a Dataset of Ray.
        out: the dataset's directory or URL, which all machines of the cluster reach.
        image: the column of encoded images (bytes, or structs with a field `bytes`) or of paths;
            found by its usual names if not given.
        label: the column of labels.
        id: the column of unique ids; `id` where there is such a one. Otherwise paths, or the places
            of images in what was written, are the ids.
        group: the column of what belongs together; `group` where there is such a one.
        split: the column of given splits (train, val or test); `split` where there is such a one.
        features: columns of numbers, of lists of numbers or of vectors of Spark ML, as names or as
            one description (`v1..v512`, `v*`); rows are then vectors.
        settings: sizes, colour, fit.
        engine: where shards are prepared; the cluster that the frame is on if not given.
        overwrite: begin again whatever is in `out`.

    Raises:
        ConfigError: this is no frame, or what was asked for does not go together.
        SourceError: a column is missing or holds something else.
        DatasetError: `out` holds something else.
        StorageError: the cluster wrote where this process finds nothing.
    """
    cluster = _cluster(frame)
    if cluster is None:
        raise ConfigError(
            "A frame is a DataFrame of Spark or a Dataset of Ray, and this is a "
            f"{type(frame).__module__}.{type(frame).__qualname__}: write it to a table, which "
            "lorgnette.prepare takes."
        )
    known = _fields(frame, cluster)
    asked = asked_of(
        known, image, features, {"label": label, "id": id, "group": group, "split": split}
    )
    storage = Storage.at(out)
    with locked(storage, ".source.lock"):
        rows = _spool(frame, cluster, asked, known, storage, overwrite=overwrite)
    say(f"{rows:,} rows of the frame are in {storage.locate(SPOOL)}.")
    described = SourceConfig(
        location=storage.locate(SPOOL),
        kind="table",
        features=",".join(asked.features) or None,
        path="path" if "path" in asked.columns else None,
        # An empty name: a feature may be called so.
        **{role: role if role in asked.columns else "" for role in SPOOLED},
    )
    if engine is None:
        engine = EngineConfig(name=cluster)
    where = open_engine(engine) if isinstance(engine, EngineConfig) else engine
    return prepare_source(
        described, storage.root, settings or PrepareConfig(), where, overwrite=overwrite
    )


def predict(
    run: str | os.PathLike[str] | Run,
    frame: Any,
    *,
    image: str | None = None,
    features: str | Sequence[str] | None = None,
) -> Any:
    """Predict the class of each row of a frame, on its cluster.

    Nothing runs until somebody asks for rows, as always with frames. Rows are never dropped: what
    cannot be decoded has an `error`, and null elsewhere.

    Args:
        run: a trained run, in a directory that all machines of the cluster reach.
        frame: a DataFrame of Spark or a Dataset of Ray.
        image: the column of encoded images or of paths; found by its usual names if not given.
        features: where the model takes vectors, their columns, in the order that it was trained on;
            found by the names that it was trained on if not given.

    Returns:
        The frame, of the same kind, with the columns `prediction` (the class), `p_<class>` for each
        class, and `error`.

    Raises:
        ConfigError: this is no frame, or it has columns of these names.
        ModelError: there is no trained model.
        SourceError: a column is missing or holds something else.
    """
    cluster = _cluster(frame)
    if cluster is None:
        raise ConfigError(
            "Predictions for frames are for DataFrames of Spark and Datasets of Ray, and this is a "
            f"{type(frame).__qualname__}: lorgnette.predict takes files and tables."
        )
    from lorgnette.model import ModelSpec  # torch takes seconds to import
    from lorgnette.serving.frames import predict_rows

    opened = run if isinstance(run, Run) else Run.load(run)
    spec = ModelSpec.load(opened.storage)
    known = _fields(frame, cluster)
    added = ["prediction", *(PREFIX + name for name in spec.classes), "error"]
    if taken := [name for name in added if name in known]:
        raise ConfigError(
            f"Predictions add the columns {', '.join(added)}, and the frame has {taken[0]} "
            "already: drop or rename it."
        )
    chosen = _inputs(spec, known, image, features)
    task: Task[pa.Table, pa.Table] = Task.of(
        predict_rows,
        run=str(opened.root),
        stamp=(opened.root / "model.safetensors").stat().st_mtime_ns,
        columns=chosen,
        paths=not spec.features and known[chosen[0]].kind == "text",
    )
    rows = 8192 if spec.features else ROWS
    if cluster == "spark":
        from lorgnette.engines.spark.frames import extend

        return extend(frame, task, added[1:-1], known, rows)
    from lorgnette.engines.ray.datasets import extend as extend_dataset

    return extend_dataset(frame, task, rows)


def read_images(spark: Any, folder: str | os.PathLike[str], label: str | None = "parent") -> Any:
    """The files of a folder as a DataFrame that Spark reads where it is worked on (`binaryFile`).

    Args:
        spark: a SparkSession.
        folder: a directory or URL that all machines of the cluster reach.
        label: `parent`: the directory that a file is in; None: there is no label.

    Returns:
        The columns id (the path relative to the folder), path, content (bytes) and, if asked for,
        label.

    Raises:
        ConfigError: the label is none of these.
    """
    if label not in ("parent", None):
        raise ConfigError(
            f"The label of an image in a folder is its parent or None, not {label!r}: join other "
            "labels to the DataFrame by id or path."
        )
    from lorgnette.engines.spark.frames import read_images as read

    return read(spark, os.fspath(folder), label)


def furia(
    spark: Any,
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    corrections: str | os.PathLike[str] | None = None,
    recipe: str = "furia-spark",
    settings: Sequence[str] = (),
    overwrite: bool = False,
) -> Run:
    """Furia's published pipeline on Spark, whole: from the glasses set to a trained network.

    Both tables are read with a schema, united and joined with the corrections. Latents are
    assembled, scaled and projected on two principal components by Spark; where the recipe is for
    images (`furia-cnn`), these are read as `binaryFile` instead. Then rows are prepared and the
    network is trained as the recipe says.

    Args:
        spark: a SparkSession.
        folder: the glasses set, downloaded or generated.
        out: a directory that all machines of the cluster reach: `dataset`, `run`, and
            `components.png`, a picture of the components of at most 5,000 rows.
        corrections: a table of labels that go over the given ones.
        recipe: the network, and where it is trained.
        settings: over the recipe, as `section.key=value`.
        overwrite: begin again whatever is in `out`.

    Returns:
        The run.

    Raises:
        SourceError: this is not the glasses set, or a table has other columns.
    """
    from lorgnette import pipeline
    from lorgnette.engines.spark import published
    from lorgnette.resolve import load

    config = load(recipe, settings)
    storage = Storage.at(out)
    vectors = bool(config.source.features)
    made = storage.locate("dataset")
    if overwrite or not Storage.at(made).exists(INFO):
        place = published.place_of(os.fspath(folder), images=not vectors)
        frame = published.labelled(spark, place, os.fspath(corrections) if corrections else None)
        if vectors:
            frame = published.scaled(frame)
            points = published.components(frame, 5000, config.seed)
            storage.write("components.png", published.picture(points))
        else:
            frame = published.pictured(spark, frame, place)
        prepare(
            frame,
            made,
            features=published.SCALED if vectors else None,
            settings=config.prepare,
            engine=config.engine,
            overwrite=overwrite,
        )
    return pipeline.train(made, config, storage.locate("run"), overwrite=overwrite)


def _cluster(value: object) -> Literal["spark", "ray"] | None:
    """Which cluster a frame is on, by the names of its classes."""
    for base in type(value).__mro__:
        if base.__name__ == "DataFrame" and base.__module__.startswith("pyspark.sql."):
            return "spark"
        if base.__name__ == "Dataset" and base.__module__.startswith("ray.data."):
            return "ray"
    return None


def _fields(frame: Any, cluster: str) -> dict[str, Field]:
    if cluster == "spark":
        from lorgnette.engines.spark.frames import fields

        return fields(frame)
    from lorgnette.engines.ray.datasets import fields as fields_of

    return fields_of(frame)


def _inputs(
    spec: ModelSpec,
    known: Mapping[str, Field],
    image: str | None,
    features: str | Sequence[str] | None,
) -> list[str]:
    """The columns that a model is given."""
    if not spec.features:
        if features is not None:
            raise ConfigError("The model takes images, and features were named: give image=…")
        return [asked_of(known, image, None, {}).columns.popitem()[1]]
    if image is not None:
        raise ConfigError(
            "The model takes vectors, and a column of images was named: give features=…"
        )
    if features is not None:
        return features_of(known, features)
    if all(name in known for name in spec.features):
        return features_of(known, spec.features)
    # Features that came from a list are called after it: embedding_0, embedding_1, …
    lists = list(dict.fromkeys(name.rpartition("_")[0] for name in spec.features))
    if all(name in known for name in lists):
        return features_of(known, lists)
    missing = next(name for name in spec.features if name not in known)
    raise SourceError(
        f"The model takes {len(spec.features)} features from {missing} on, and the frame has other "
        f"columns ({listed(known)}): name those that hold them with features=…"
    )


def _spool(
    frame: Any,
    cluster: str,
    asked: Asked,
    known: Mapping[str, Field],
    storage: Storage,
    *,
    overwrite: bool,
) -> int:
    """Have the cluster write the rows, unless it has done so; how many there are."""
    note: dict[str, Any] = {
        **asdict(asked),
        "types": {n: known[n].type for n in asked.columns.values()},
    }
    if storage.exists(NOTE):
        before = json.loads(storage.read(NOTE))
        rows = before.pop("rows", None)
        if rows is not None and not overwrite:
            if before != note:
                raise DatasetError(
                    f"{storage.root} holds rows that were taken of a frame otherwise (columns "
                    f"{before['columns']}, now {asked.columns}): prepare into another directory, "
                    "or start again with overwrite=True."
                )
            return int(rows)
    elif storage.exists(SPOOL) or (not overwrite and any(map(storage.exists, (INFO, PLAN)))):
        raise DatasetError(
            f"{storage.root} holds something that was not made from a frame: prepare into another "
            "directory."
        )
    storage.write(NOTE, json.dumps(note, indent=1).encode())
    folder = Storage.at(storage.locate(SPOOL))
    if cluster == "spark":
        from lorgnette.engines.spark.frames import spool

        written = spool(frame, asked.columns, known, folder.root)
    else:
        from lorgnette.engines.ray.datasets import spool as spool_dataset

        if folder.is_local:  # an object store has none
            Path(folder.root).mkdir(parents=True, exist_ok=True)
        spool_dataset(frame, asked.columns, known, folder.root)
        written = None
    rows = _rows(folder)
    if rows == 0 or (written or 0) > rows:
        told = "" if written is None else f" {written:,}"
        raise StorageError(
            f"The cluster wrote{told} rows to {folder.root}, and this process finds {rows:,} "
            "there: the frame is empty, or its machines have other disks. Prepare into storage "
            "that all of them reach under the same name."
        )
    storage.write(NOTE, json.dumps({**note, "rows": rows}, indent=1).encode())
    return rows


def _rows(folder: Storage) -> int:
    """How many rows are in the Parquet files of a directory, by their footers."""
    rows = 0
    for name in parquet_files(folder):
        with open_parquet(folder, name) as file:
            rows += file.metadata.num_rows
    return rows
