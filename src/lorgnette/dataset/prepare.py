"""Images become shards: the source is read once, in parallel, and every file ends as a row.

The source's records are cut into shards in their given order; each shard is one item of work for
the engine, written whole or not at all. When all are there, exact duplicates are found across them
and `dataset.json` seals the dataset.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, islice
from typing import Any, cast

import numpy as np

from lorgnette import __version__
from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.duplicates import mark_duplicates
from lorgnette.dataset.pieces import Piece, canonical, image_pieces, vector_pieces
from lorgnette.dataset.shard import ShardSummary, prepare_shard, prepare_vectors, read_summary
from lorgnette.dataset.store import (
    FORMAT,
    INFO,
    STATUSES,
    Dataset,
    DatasetInfo,
    ShardInfo,
    stored_sizes,
)
from lorgnette.engines.base import Engine, Task
from lorgnette.errors import DatasetError, EngineError
from lorgnette.lock import locked
from lorgnette.progress import progress, say
from lorgnette.sources import VectorSource, left_out, open_source
from lorgnette.sources.base import Source
from lorgnette.storage import Storage

PLAN = "prepare.json"
MOST_ITEMS = 2048
LEAST_ITEMS = 64
MOST_BYTES = 128 * 2**20


def prepare(
    source: SourceConfig,
    out: str,
    settings: PrepareConfig,
    engine: Engine,
    *,
    overwrite: bool = False,
) -> Dataset:
    """Read every image of the source once and leave a dataset in `out`.

    Started again after a kill, it continues and ends with the same bytes. Finished, it returns at
    once.

    Args:
        source: where images and labels come from.
        out: a directory or URL; empty, or holding the same dataset, unfinished or finished.
        settings: sizes, colour, fit.
        engine: where the shards are prepared.
        overwrite: remove a dataset that is already in `out`.

    Raises:
        SourceError: the source cannot be read as described.
        DatasetError: `out` holds something else, or no image could be used.
        LockedError: another process is writing to `out`.
    """
    storage = Storage.at(out)
    reader = open_source(source)
    with locked(storage):
        if overwrite:
            _remove(storage)
        features = tuple(getattr(reader, "features", ()))
        sizes = stored_sizes(settings, features)
        survey = _survey(reader, settings, len(features))
        plan = {
            "format": FORMAT,
            "source": reader.kind,
            "images": reader.images,
            "prepare": settings.model_dump(mode="json"),
            "features": list(features),
            "shard_items": survey.shard_items,
            "source_digest": survey.digest,
            "decoders": {name: version(name) for name in ("pillow", "kornia-rs")},
            "version": __version__,
        }
        _agree(storage, plan)
        shards = -(-survey.records // survey.shard_items)
        done = {
            index: summary
            for index in range(shards)
            if (summary := read_summary(storage, index, sizes)) is not None
        }
        if storage.exists(INFO) and len(done) == shards:
            say(f"{out} is already prepared: {survey.records:,} {'rows' if features else 'files'}.")
            return Dataset.load(out)
        storage.remove(INFO)
        _sweep(storage)  # what killed processes left takes space
        storage.write(PLAN, json.dumps(plan, indent=1, sort_keys=True).encode())
        if done:
            say(f"Continuing in {out}: {len(done):,} of {shards:,} shards are already there.")
        pieces = (
            vector_pieces(cast("VectorSource", reader), survey.shard_items, settings.missing)
            if features
            else image_pieces(reader, survey.shard_items)
        )
        todo = (piece for piece in pieces if _is_open(piece, done, storage))
        task: Task[Piece, ShardSummary] = (
            Task.of(prepare_vectors, out=storage.root, features=list(features))
            if features
            else Task.of(
                prepare_shard,
                images=reader.images,
                out=storage.root,
                settings=settings.model_dump(mode="json"),
            )
        )
        _prepare_shards(task, todo, done, survey, engine)
        done = mark_duplicates(storage, done, sizes, engine)
        info = _info(source, reader.images, settings, features, survey, done)
        if info.counts["ok"] == 0:
            raise DatasetError(_nothing_usable(info, storage))
        _sweep(storage)  # a worker may have outlived its killed parent for a moment
        storage.write(INFO, (info.model_dump_json(indent=1, exclude_none=True) + "\n").encode())
        storage.remove(PLAN)
    return Dataset(storage, info)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a first pass over the source's records tells.

    Attributes:
        records: how many there are.
        shard_items: how many of them make a shard.
        digest: SHA-256 over them and over what was left out.
        excluded: what the source leaves out on purpose, by reason.
    """

    records: int
    shard_items: int
    digest: str
    excluded: dict[str, int]


def _survey(source: Source, settings: PrepareConfig, features: int) -> Survey:
    """List the source once without reading an image, so that a change is noticed before work."""
    digest = hashlib.sha256()
    count = 0
    with progress("Listing", None, "rows" if features else "files") as meter:
        for batch in source.records():
            digest.update(canonical(batch))
            count += len(batch)
            meter.advance(len(batch))
    excluded = left_out(source)
    if excluded:
        digest.update(json.dumps(excluded, sort_keys=True).encode())
    channels = 3 if settings.color == "rgb" else 1
    item_bytes = 4 * features or max(settings.size) ** 2 * channels
    items = settings.shard_items or max(
        1,
        min(
            max(-(-count // 16), LEAST_ITEMS),
            MOST_ITEMS,
            MOST_BYTES // item_bytes,
        ),
    )
    return Survey(count, items, digest.hexdigest(), excluded)


def _is_open(piece: Piece, done: dict[int, ShardSummary], storage: Storage) -> bool:
    """Whether a piece is still to be prepared; a finished one must be of the same records."""
    summary = done.get(piece.index)
    if summary is None:
        return True
    if summary.digest != piece.digest:
        raise DatasetError(
            f"Shard {piece.index} in {storage.root} was made from other files than the source has "
            "now: prepare into another --out, or start again with --overwrite."
        )
    return False


def _prepare_shards(
    task: Task[Piece, ShardSummary],
    todo: Iterator[Piece],
    done: dict[int, ShardSummary],
    survey: Survey,
    engine: Engine,
) -> None:
    """Prepare the open pieces on the engine; `done` gains their summaries."""
    first = next(todo, None)  # a source without open pieces starts no worker
    if first is None:
        return
    finished = sum(summary.rows for summary in done.values())
    rejected = sum(summary.rejected for summary in done.values())
    with progress("Preparing", survey.records, "items", done=finished) as meter:
        for outcome in engine.map(task, chain([first], todo)):
            if outcome.value is None:
                raise EngineError(
                    f"Shard {outcome.item.index} could not be prepared "
                    f"({outcome.attempts} attempts): {outcome.error}"
                )
            done[outcome.item.index] = outcome.value
            rejected += outcome.value.rejected
            meter.advance(outcome.value.rows, note=f"{rejected:,} rejected" if rejected else "")


def _agree(storage: Storage, plan: dict[str, Any]) -> None:
    """Refuse to mix: what is in the directory must have come from the same plan."""
    if storage.exists(INFO):
        info = Dataset.load(storage.root).info
        before: dict[str, Any] = {
            "images": info.images,
            "prepare": info.prepare.model_dump(mode="json"),
            "features": list(info.features),
            "source_digest": info.source_digest,
        }
    elif storage.exists(PLAN):
        try:
            before = json.loads(storage.read(PLAN))
        except ValueError as error:
            raise DatasetError(
                f"{storage.locate(PLAN)} is damaged: start again with --overwrite."
            ) from error
    else:
        return
    changes = [
        f"{what} ({_short(before[key])} before, {_short(plan[key])} now)"
        for key, what in _COMPARED.items()
        if key in before and before[key] != plan[key]
    ]
    settings = before["prepare"]
    changes += [
        f"{key} ({_short(settings.get(key))} before, {_short(value)} now)"
        for key, value in plan["prepare"].items()
        if settings.get(key) != value
    ]
    if changes:
        raise DatasetError(
            f"{storage.root} holds a dataset that was made otherwise; what differs: "
            f"{'; '.join(changes)}. Prepare into another --out, or start again with --overwrite."
        )


_COMPARED = {
    "images": "the place of the images",
    "features": "the features",
    "source_digest": "the source's files or labels, digest",
    "version": "the version of Lorgnette",
    "decoders": "the versions of the decoders",
    "format": "the format",
}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:12] + "…" if len(text) == 64 else text


def _info(
    source: SourceConfig,
    images: str,
    settings: PrepareConfig,
    features: tuple[str, ...],
    survey: Survey,
    done: dict[int, ShardSummary],
) -> DatasetInfo:
    """Add the shards' summaries up."""
    summaries = [done[index] for index in sorted(done)]
    labels: dict[str, int] = {}
    counts = dict.fromkeys(STATUSES, 0)
    for summary in summaries:
        for label, count in summary.labels.items():
            labels[label] = labels.get(label, 0) + count
        for status in STATUSES:
            counts[status] += summary.counts.get(status, 0)
    items = counts["ok"]
    pixels = max(items, 1) * settings.size[0] ** 2
    moments = np.array([(summary.sums, summary.squares) for summary in summaries], np.float64)
    mean, power = moments.sum(axis=0) / pixels
    deviation = np.sqrt(np.maximum(power - mean**2, 0))
    return DatasetInfo(
        format=FORMAT,
        version=__version__,
        source=source,
        images=images,
        prepare=settings,
        classes=tuple(sorted(labels)),
        counts=counts,
        labels=dict(sorted(labels.items())),
        unlabelled=items - sum(labels.values()),
        conflicts=sum(summary.conflicts for summary in summaries),
        excluded=survey.excluded,
        features=features,
        channels=len(mean),
        mean=tuple(float(value) for value in mean.round(6)),
        deviation=tuple(float(value) for value in deviation.round(6)),
        shards=tuple(
            ShardInfo(name=summary.name, items=summary.counts.get("ok", 0), rows=summary.rows)
            for summary in summaries
        ),
        source_digest=survey.digest,
    )


def _nothing_usable(info: DatasetInfo, storage: Storage) -> str:
    rejected = {status: count for status, count in info.counts.items() if count}
    said = ", ".join(f"{count:,} {status}" for status, count in rejected.items())
    probe = Dataset(storage, info)
    examples = islice(
        (row for table in probe.tables(["path", "error"], None) for row in table.to_pylist()), 1
    )
    example = "".join(f" For example {row['path']}: {row['error']}." for row in examples)
    return f"None of the files could be used ({said}).{example} Check the source's paths and types."


def _sweep(storage: Storage) -> None:
    """Remove half-written files."""
    for folder in ("", "shards/"):
        for name in storage.names(folder.rstrip("/")):
            if name.endswith(".tmp"):
                storage.remove(folder + name)


def _remove(storage: Storage) -> None:
    """Remove a dataset's files, and nothing else that may lie beside them."""
    storage.remove(INFO)
    storage.remove(PLAN)
    for name in storage.names("shards"):
        if name.endswith((".npy", ".parquet", ".tmp")):
            storage.remove(f"shards/{name}")
