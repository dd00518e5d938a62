"""Predictions: ids and probabilities. Audit, evaluation, ensembles and reports all read this."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.errors import ModelError
from lorgnette.storage import Storage

PREFIX = "p_"
"""Before a class name in the column of its probability."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What some model thinks of some items; nothing here tells which model.

    Attributes:
        ids: (N,), of `str`.
        probabilities: float32 (N, K), rows summing to 1.
        classes: the K class names.
        labels: int (N,), codes into `classes`, -1 where there is no label; None if there are none.
        groups: int (N,), items of one group have one code; None if there are no groups.
    """

    ids: NDArray[np.object_]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    labels: NDArray[np.int32] | None = None
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The code of the most probable class of each item, (N,); the first one in a tie."""
        codes: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return codes

    def table(self) -> pa.Table:
        """As columns: id, label, group where known, prediction, and a probability per class."""
        names = np.array(self.classes, dtype=object)
        columns: dict[str, pa.Array] = {"id": pa.array(self.ids, pa.string())}
        if self.labels is not None:
            columns["label"] = pa.array(names[self.labels], pa.string(), mask=self.labels < 0)
        if self.groups is not None:
            columns["group"] = pa.array(self.groups, pa.int64())
        columns["prediction"] = pa.array(names[self.predicted], pa.string())
        for code, name in enumerate(self.classes):
            columns[PREFIX + name] = pa.array(self.probabilities[:, code], pa.float32())
        return pa.table(columns)

    def save(self, storage: Storage, name: str) -> None:
        """Write `table()` as Parquet."""
        buffer = pa.BufferOutputStream()
        pq.write_table(self.table(), buffer, compression="zstd")
        storage.write(name, memoryview(buffer.getvalue()))

    @classmethod
    def load(cls, storage: Storage, name: str) -> Predictions:
        """Read what `save` wrote.

        Raises:
            ModelError: there is no such file, or it holds no predictions.
        """
        try:
            with storage.open(name) as file:
                table = pq.read_table(file)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise ModelError(
                f"{storage.locate(name)} holds no predictions ({type(error).__name__}): "
                "run `lorgnette evaluate` on the run to make them."
            ) from error
        named = [column for column in table.column_names if column.startswith(PREFIX)]
        classes = tuple(column.removeprefix(PREFIX) for column in named)
        labels = groups = None
        if "label" in table.column_names:
            codes = pa.compute.index_in(table["label"], pa.array(classes, pa.string()))
            labels = codes.fill_null(-1).to_numpy().astype(np.int32)
        if "group" in table.column_names:
            groups = table["group"].to_numpy()
        return cls(
            table["id"].to_numpy(),
            np.stack([table[column].to_numpy() for column in named], axis=1),
            classes,
            labels,
            groups,
        )
