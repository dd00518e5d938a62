"""Lines of `decisions.jsonl`: read quickly where they are right, and named where one is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from lorgnette.dataset.appendonly import whole_lines
from lorgnette.dataset.history import ACTIONS, BY
from lorgnette.errors import DatasetError

LINE: Any = pa.schema(
    [(name, pa.string()) for name in ("id", "action", "from", "to", "reason", "who", "by", "when")]
)
REMARKS = ("reason", "who", "when")
"""The columns that may be missing in lines written by hand, and are empty then."""
LABELLED = ("relabel", "confirm")
"""The actions whose label in force is not null."""
LEFT_OUT = ("drop", "undecidable")
"""The actions that leave no label in force."""

PIECE = 10_000
"""So many lines are Python objects at once."""

Model = TypeVar("Model", bound=BaseModel)


def parse_lines(data: bytes, first: int, where: str) -> pa.Table:
    """The columns of `LINE`.

    Args:
        data: lines.
        first: the number of the first one, for the message.
        where: the file, likewise.

    Raises:
        DatasetError: one of them is damaged.
    """
    import pyarrow.json

    try:
        str(data, "utf-8")  # the reader below takes other bytes for text too
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=LINE, unexpected_field_behavior="ignore"
            ),
        )
        if _is_right(table):
            return _without_nulls(table)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        pass
    rows = []
    for number, line in enumerate(data.split(b"\n"), first):
        if not line.strip():
            continue
        if (why := damage(line)) is not None:
            raise DatasetError(
                f"Line {number} of {where} is damaged ({why}): mend or remove that line; the "
                "others are as they were."
            )
        rows.append(json.loads(line))
    return _without_nulls(pa.Table.from_pylist(rows, schema=LINE))


def _without_nulls(table: pa.Table) -> pa.Table:
    for name in REMARKS:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pc.fill_null(table[name], ""))
    return table


def _is_right(table: pa.Table) -> bool:
    if table["id"].null_count:
        return False
    for name, known in (("action", ACTIONS), ("by", BY)):
        if pc.index_in(table[name], pa.array(known)).null_count:
            return False
    nameless = pc.is_null(table["to"])
    labelled = pc.is_in(table["action"], pa.array(LABELLED))
    left_out = pc.is_in(table["action"], pa.array(LEFT_OUT))
    wrong = pc.or_(pc.and_(labelled, nameless), pc.and_(left_out, pc.invert(nameless)))
    return not pc.any(wrong).as_py()


def is_whole(line: bytes) -> bool:
    """Whether a line is a decision."""
    return damage(line) is None


def damage(line: bytes) -> str | None:
    """What is wrong with a line; None if nothing is."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return str(error)
    if not isinstance(found, dict):
        return "it is no JSON object"
    for name in LINE.names:
        value = found.get(name)
        if value is not None and not isinstance(value, str):
            return f"{name} is no text"
        if value is not None and not _is_unicode(value):
            return f"{name} holds half a character"
    if found.get("id") is None:
        return "it has no id"
    for name, known in (("action", ACTIONS), ("by", BY)):
        if found.get(name) not in known:
            return f"{name} is {found.get(name)!r}"
    if found["action"] in LABELLED and found.get("to") is None:
        return f"a {found['action']} without a label"
    if found["action"] in LEFT_OUT and found.get("to") is not None:
        return f"a {found['action']} with a label"
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decisions_of(data: bytes, model: type[Model], where: str) -> Iterator[Model]:
    """Each line as a model; an unfinished last one is passed over.

    Raises:
        DatasetError: a line is damaged.
    """
    whole, rest = whole_lines(data)
    if rest and is_whole(rest):
        whole += rest
    if whole.strip():
        for batch in parse_lines(whole, 1, where).to_batches(max_chunksize=PIECE):
            for row in batch.to_pylist():
                yield model.model_validate(row)
