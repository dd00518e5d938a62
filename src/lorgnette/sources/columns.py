"""Columns of Arrow tables as text, as numbers, and as lists of numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lorgnette.errors import SourceError

Vectors = npt.NDArray[np.float32]

_EXACT = float(1 << 53)
"""Whole floats below this are integers without loss."""


def text(column: Any) -> pa.StringArray:
    """A column as trimmed strings, null where nothing is left or a number is not a number.

    A whole float loses its fraction: where labels are missing, pandas turns the integer 1 into
    1.0, and it is still the class "1".

    Raises:
        pa.ArrowInvalid, pa.ArrowNotImplementedError: the type has no text form.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        whole = pc.and_(
            pc.equal(pc.floor(column), column), pc.less(pc.abs(column), pa.scalar(_EXACT))
        )
        integers = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(pa.string())
        numbers = pc.if_else(whole, integers, column.cast(pa.string()))
        column = pc.if_else(pc.is_nan(column), None, numbers)
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def class_names(schema: Any, column: str) -> list[str]:
    """What the whole numbers in a column of labels stand for, where Hugging Face says it; or none.

    Any other number (its -1, say) stands for no label.
    """
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in told["info"]["features"][column]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def vector(batch: Any, name: str, location: str) -> Vectors:
    """A column of numbers, NaN where there is none: float32 (n,).

    Raises:
        SourceError: it holds something else.
    """
    column = batch.column(name)
    try:
        numbers: Vectors = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        fix = "choose other columns with --features"
        if pa.types.is_struct(column.type) and "indices" in [f.name for f in column.type]:
            fix = "this is a vector of Spark ML: let vector_to_array make it a list of numbers"
        raise SourceError(
            f"A feature is a column of numbers, or of lists of numbers that are all equally long, "
            f"and column '{name}' of {location} holds {column.type}: {fix}."
        ) from error
    return numbers


def matrix(column: Any, width: int, where: str, start: int) -> Vectors:
    """A column of lists below each other, NaN where there is none: float32 (n, width).

    Args:
        column: lists, perhaps as an extension type such as a tensor's.
        width: how long each list is to be.
        where: the table and the column, for messages.
        start: the number of rows before these.

    Raises:
        SourceError: a list is longer or shorter.
    """
    column = stored(column)
    lengths = pc.list_value_length(column)
    wrong = pc.index(pc.fill_null(pc.not_equal(lengths, width), False), True).as_py()
    if wrong >= 0:
        raise SourceError(
            f"The lists of a feature are all equally long, and in column {where} row "
            f"{start + wrong + 1} has {lengths[wrong].as_py()} numbers where the first has "
            f"{width}: correct it there."
        )
    found = np.full((len(column), width), np.nan, np.float32)
    numbers = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    found[np.asarray(column.is_valid())] = numbers.reshape(-1, width)
    return found


def holds_lists(kind: Any) -> bool:
    """Whether a type is one of lists of numbers."""
    kind = plain_type(kind)
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (lists or pa.types.is_fixed_size_list(kind)):
        return False
    return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def plain_type(kind: Any) -> Any:
    """The type that an extension type (a tensor, say) is stored as; any other is itself."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def stored(column: Any) -> Any:
    """A column without what an extension type puts over it."""
    return column.storage if isinstance(column.type, pa.BaseExtensionType) else column


def text_batch(batch: Any, columns: Sequence[str], location: str) -> pa.RecordBatch:
    """Some columns of a batch as text; see `text` and `class_names`.

    Raises:
        SourceError: a column is neither text nor numbers.
    """
    arrays = []
    for column in columns:
        try:
            found = text(batch.column(column))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SourceError(
                f"Column '{column}' of {location} must be text or numbers, "
                f"but it holds {batch.column(column).type}."
            ) from error
        if names := class_names(batch.schema, column):
            codes = pa.array([str(code) for code in range(len(names))])
            found = pa.array(names, pa.string()).take(pc.index_in(found, codes))
        arrays.append(found)
    return pa.record_batch(arrays, names=list(columns))
