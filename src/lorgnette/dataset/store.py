"""A prepared dataset on disk: `dataset.json`, shards of pixels (.npy), and their rows (.parquet).

The i-th row of a shard with status `ok` is row i of the shard's arrays. A shard pair is valid when
both files are there and agree on the number of rows; the rows are written last.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from lorgnette.config import LabelChoice, PrepareConfig, Settings, SourceConfig
from lorgnette.errors import ConfigError, DatasetError
from lorgnette.storage import Storage

if TYPE_CHECKING:
    from lorgnette.dataset.ledger import Ledger

FORMAT = 1
INFO = "dataset.json"

Status = Literal["ok", "corrupt", "missing", "duplicate", "unsupported"]
LABELS: tuple[LabelChoice, ...] = ("decided", "given")
STATUSES: tuple[Status, ...] = ("ok", "corrupt", "missing", "duplicate", "unsupported")

ROW: Any = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("label", pa.string()),
        pa.field("group", pa.string()),
        pa.field("split", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("phash", pa.uint64()),
    ]
)
"""The columns of a shard's rows; `width` and `height` are the image's, after orientation."""


class ShardInfo(Settings):
    """One shard in the list of `dataset.json`."""

    name: str
    """The file name without its extension."""
    items: int
    """Rows of pixels."""
    rows: int
    """All rows, the rejected ones too."""


class DatasetInfo(Settings):
    """What `dataset.json` holds."""

    format: int
    """The version of the format on disk."""
    version: str
    """The version of Lorgnette that prepared it."""
    source: SourceConfig
    """Where the images and labels came from."""
    images: str
    """The location that relative paths are relative to."""
    prepare: PrepareConfig
    """How they were prepared."""
    classes: tuple[str, ...]
    """The labels, sorted."""
    counts: dict[Status, int]
    """Rows by status."""
    labels: dict[str, int]
    """Usable items by given label."""
    unlabelled: int
    """Usable items without a label."""
    conflicts: int
    """Exact duplicates whose label differs from that of the copy that was kept."""
    excluded: dict[str, int] = Field(default_factory=dict)
    """What the source leaves out on purpose, by reason; it is in no shard."""
    features: tuple[str, ...] = ()
    """The columns of numbers, where items are vectors; empty where they are images."""
    channels: int
    """1 or 3; 0 for vectors."""
    mean: tuple[float, ...]
    """Of each channel, in grey levels (0 to 255), over all usable items; empty for vectors."""
    deviation: tuple[float, ...]
    """The standard deviation likewise."""
    shards: tuple[ShardInfo, ...]
    """In the order of the items."""
    source_digest: str
    """SHA-256 over the records of the source, file sizes and times included."""


def stored_sizes(settings: PrepareConfig, features: Sequence[str]) -> tuple[int, ...]:
    """The sizes at which items are stored; vectors have none, which is written as one of 0."""
    return (0,) if features else settings.size


def array_name(shard: str, size: int, sizes: Sequence[int]) -> str:
    """The file of a shard's pixels: `00000.npy`, or `00000.128.npy` for a further size."""
    return f"shards/{shard}.npy" if size == sizes[0] else f"shards/{shard}.{size}.npy"


def rows_name(shard: str) -> str:
    """The file of a shard's rows."""
    return f"shards/{shard}.parquet"


def write_array(storage: Storage, name: str, array: NDArray[Any]) -> None:
    """Write a .npy file whole or not at all."""
    if storage.is_local:
        with storage.writing(name) as path, open(path, "wb") as file:
            np.save(file, array)
    else:
        buffer = io.BytesIO()
        np.save(buffer, array)
        storage.write(name, buffer.getbuffer())


def read_array(storage: Storage, name: str) -> NDArray[Any]:
    """A .npy file: mapped into memory where it is local, read otherwise."""
    if storage.is_local:
        array: NDArray[Any] = np.load(storage.resolve(name), mmap_mode="r", allow_pickle=False)
        return array
    return np.load(io.BytesIO(storage.read(name)), allow_pickle=False)  # type: ignore[no-any-return]


def array_length(storage: Storage, name: str) -> int:
    """The number of rows of a .npy file, from its header; -1 where it is absent or damaged."""
    try:
        with storage.open(name) as file:
            head = io.BytesIO(file.read(1024))
            np.lib.format.read_magic(head)
            shape, _, dtype = np.lib.format.read_array_header_1_0(head)
            expected = head.tell() + int(np.prod(shape)) * dtype.itemsize
            return int(shape[0]) if file.size() == expected else -1
    except (FileNotFoundError, ValueError):
        return -1


def write_rows(storage: Storage, name: str, rows: pa.Table, facts: dict[str, Any]) -> None:
    """Write a shard's rows, with facts about the shard in the file's metadata."""
    buffer = pa.BufferOutputStream()
    metadata = {"lorgnette": json.dumps(facts, sort_keys=True)}
    pq.write_table(rows.replace_schema_metadata(metadata), buffer, compression="zstd")
    storage.write(name, memoryview(buffer.getvalue()))


def read_facts(storage: Storage, name: str) -> dict[str, Any] | None:
    """The facts that `write_rows` stored; None where the file is absent or damaged."""
    try:
        with storage.open(name) as file:
            metadata = pq.read_schema(file).metadata or {}
        facts: dict[str, Any] = json.loads(metadata[b"lorgnette"])
    except (FileNotFoundError, KeyError, ValueError, pa.ArrowInvalid):
        return None
    return facts


class Dataset:
    """A prepared dataset, read lazily: rows as Arrow tables, pixels as uint8 arrays.

    Attributes:
        storage: where it is.
        info: what `dataset.json` says.
    """

    def __init__(self, storage: Storage, info: DatasetInfo) -> None:
        self.storage = storage
        self.info = info

    @classmethod
    def load(cls, location: str) -> Dataset:
        """Open the dataset in a directory.

        Raises:
            DatasetError: there is none, it is unfinished, or of a newer format.
        """
        storage = Storage.at(location)
        try:
            text = storage.read(INFO)
        except FileNotFoundError:
            unfinished = storage.exists("prepare.json")
            raise DatasetError(
                f"The dataset in {location} is unfinished: run the same `lorgnette prepare` again "
                "and it continues."
                if unfinished
                else f"There is no prepared dataset in {location} (no {INFO}): "
                "make one with `lorgnette prepare SRC --out DATASET`."
            ) from None
        try:
            data = json.loads(text)
            if data.get("format") != FORMAT:
                raise DatasetError(
                    f"The dataset in {location} has format {data.get('format')} and this version "
                    f"reads format {FORMAT}: prepare it again, or use the version that made it "
                    f"({data.get('version')})."
                )
            return cls(storage, DatasetInfo.model_validate(data))
        except (ValidationError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{storage.locate(INFO)} is damaged ({type(error).__name__}): "
                "prepare the dataset again."
            ) from error

    def __len__(self) -> int:
        """The number of usable items, labelled or not."""
        return self.info.counts["ok"]

    @property
    def is_vectors(self) -> bool:
        """Whether items are vectors rather than images."""
        return bool(self.info.features)

    @property
    def things(self) -> str:
        """What items are called: `vectors` or `images`."""
        return "vectors" if self.is_vectors else "images"

    def item_shape(self, size: int | None = None) -> tuple[int, ...]:
        """The shape of an item as it is stored: (H, W, C) at a size, or (F,)."""
        if self.is_vectors:
            return (len(self.info.features),)
        edge = size or self.info.prepare.size[0]
        return (edge, edge, self.info.channels)

    def item_bytes(self, size: int | None = None) -> int:
        """What an item takes in memory."""
        return math.prod(self.item_shape(size)) * (4 if self.is_vectors else 1)

    @property
    def location(self) -> str:
        """The directory or URL."""
        return self.storage.root

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each shard's items begin, and after the last the number of items; (shards + 1,)."""
        items = [shard.items for shard in self.info.shards]
        return np.concatenate([[0], np.cumsum(items, dtype=np.int64)]).astype(np.int64)

    def tables(self, columns: Sequence[str], status: Status | None = "ok") -> Iterator[pa.Table]:
        """The rows of each shard, one table a shard.

        Args:
            columns: names out of `ROW`.
            status: rows of this status only; None for all.
        """
        wanted = list(dict.fromkeys([*columns, "status"]))
        for shard in self.info.shards:
            name = rows_name(shard.name)
            try:
                with self.storage.open(name) as file:
                    table = pq.read_table(file, columns=wanted)
            except (FileNotFoundError, pa.ArrowInvalid) as error:
                raise self._damaged(name) from error
            if status is not None:
                table = table.filter(pc.equal(table["status"], status))
            yield table.select(list(columns))

    def rows(self, columns: Sequence[str], status: Status | None = "ok") -> pa.Table:
        """The rows of all shards in order; see `tables`."""
        return pa.concat_tables(self.tables(columns, status))

    def labels(self, which: LabelChoice = "decided") -> NDArray[np.int32]:
        """The label of each usable item as a code into `info.classes`, -1 for none; (N,).

        Args:
            which: `decided`: the labels in force, which are the given ones with the decisions of
                the ledger folded over; `given`: what the source says.
        """
        if which not in LABELS:
            raise ConfigError(f"Labels are decided or given, not '{which}'.")
        return self.ledger.labels() if which == "decided" else self._given.copy()

    @cached_property
    def ledger(self) -> Ledger:
        """The decisions about its labels; see `lorgnette.dataset.ledger`."""
        from lorgnette.dataset.ledger import Ledger

        return Ledger(self)

    @cached_property
    def _given(self) -> NDArray[np.int32]:
        classes = pa.array(self.info.classes, pa.string())
        codes = [
            pc.fill_null(pc.index_in(table["label"], classes), -1).to_numpy()
            for table in self.tables(["label"])
        ]
        return np.concatenate(codes).astype(np.int32)

    def groups(self) -> NDArray[np.int64] | None:
        """The group of each usable item as a code, (N,); None where the source gives no groups.

        An item without a group is a group of its own.
        """
        column = self.rows(["group"])["group"].combine_chunks()
        if column.null_count == len(column):
            return None
        codes = pc.dictionary_encode(column).indices
        codes = np.array(pc.fill_null(codes, -1), np.int64)
        alone = codes < 0
        codes[alone] = codes.max(initial=-1) + 1 + np.arange(alone.sum())
        return codes

    def shard(self, index: int, size: int | None = None) -> NDArray[Any]:
        """The items of one shard, mapped from disk where it is local.

        Pixels are uint8 (n, H, W, C); vectors float32 (n, F), with NaN for what the source lacks
        where `prepare.missing` is `mean`.

        Args:
            index: the shard's place in `info.shards`.
            size: one of the prepared sizes; the first if not given.
        """
        sizes = stored_sizes(self.info.prepare, self.info.features)
        size = None if self.is_vectors else size
        if size is not None and size not in sizes:
            raise DatasetError(
                f"The dataset in {self.location} was prepared at {', '.join(map(str, sizes))} "
                f"pixels, not {size}: prepare it with --size {size}."
            )
        name = array_name(self.info.shards[index].name, size or sizes[0], sizes)
        try:
            array = read_array(self.storage, name)
        except (FileNotFoundError, ValueError) as error:
            raise self._damaged(name) from error
        if len(array) != self.info.shards[index].items:
            raise self._damaged(name)
        return array

    def read(self, indices: NDArray[Any], size: int | None = None) -> NDArray[Any]:
        """Chosen items in the order of `indices`: uint8 (n, H, W, C) or float32 (n, F).

        Args:
            indices: places among the usable items of all shards, (n,).
            size: one of the prepared sizes; the first if not given.
        """
        kind = np.float32 if self.is_vectors else np.uint8
        out = np.empty((len(indices), *self.item_shape(size)), kind)
        shards = np.searchsorted(self.offsets, indices, side="right") - 1
        for index in np.unique(shards):
            chosen = shards == index
            out[chosen] = self.shard(int(index), size)[indices[chosen] - self.offsets[index]]
        return out

    def _damaged(self, name: str) -> DatasetError:
        return DatasetError(
            f"{self.storage.locate(name)} is missing or damaged: run the `lorgnette prepare` that "
            "made the dataset again, and it makes this shard anew."
        )
