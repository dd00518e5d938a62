"""Rules: which findings of an audit are settled without a person, and how.

    suspicion >= 0.95
    kind == 'label' and confidence > 0.9
    drop: outlier >= 0.999 and part != 'test'
    undecidable: undecidable >= 0.9

The word before the colon is the action (`relabel`, to the proposed label, if there is none). What
follows compares columns of `suspicion.parquet` with values, joined by `and`, `or`, `not` and
parentheses. What is not known is never selected: a comparison with a null is neither true nor
false, as in SQL.

A rule never overrides what a person has decided, and applied again it changes nothing.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lorgnette.dataset.history import ACTIONS as EVERY_ACTION
from lorgnette.dataset.ledger import Ledger, Wanted
from lorgnette.errors import ConfigError, nearest

NUMBERS = ("suspicion", "confidence", "undecidable", "outlier", "cluster")
TEXTS = ("id", "given", "proposed", "kind", "part")
VALUES = {
    "kind": ("label", "undecidable", "outlier", "conflict", "unlabelled", "none"),
    "part": ("train", "val", "test"),
}
"""Columns of which all values are known, so that a mistyped one need not select nothing."""
ACTIONS = ("relabel", "confirm", "drop", "undecidable")
PIECE = 65_536
"""Rows that are looked at at once."""
SHOWN = 200
"""Characters of a rule that a message repeats."""

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("less", "<"),
    ast.LtE: ("less_equal", "<="),
    ast.Gt: ("greater", ">"),
    ast.GtE: ("greater_equal", ">="),
    ast.Eq: ("equal", "=="),
    ast.NotEq: ("not_equal", "!="),
}
_ALLOWED = (
    "a rule compares columns with values (<, <=, >, >=, ==, !=, in), and joins with and, or, not"
)

Kind = Literal["number", "text"]


class Applied(NamedTuple):
    """What a rule did."""

    rule: str
    """As it was written."""
    matched: int
    """The items that it selects."""
    changed: int
    """Those that it decided: not what was so already, nor what a person settled."""


@dataclass(frozen=True)
class Rule:
    """A rule that was understood; see `parse`.

    Attributes:
        text: as it was written, without blanks around it.
        action: what becomes of the items that it selects.
        condition: which these are.
        columns: that the condition reads.
    """

    text: str
    action: str
    condition: ast.expr
    columns: tuple[str, ...]

    def select(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows the condition is true of, (n,).

        Raises:
            ConfigError: the table lacks a column.
        """
        for name in self.columns:
            if name not in table.column_names:
                raise ConfigError(
                    f"Rule `{self.text}` reads the column '{name}', and the table has none: "
                    f"{nearest(name, table.column_names)}"
                )
        columns = table.select(list(self.columns))
        found = [np.zeros(0, bool)]
        for piece in columns.to_batches(max_chunksize=PIECE):
            truth = _evaluate(self.condition, piece)
            found.append(np.asarray(pc.fill_null(truth, False)))
        return np.concatenate(found)


def parse(text: str, classes: Sequence[str] = ()) -> Rule:
    """Understand a rule.

    Args:
        text: as a person writes it.
        classes: of the dataset; if given, labels that the rule names must be among them.

    Raises:
        ConfigError: it is not one; the sentence names the place and what is meant perhaps.
    """
    text = text.strip()
    prefix = re.match(r"([A-Za-z_]\w*)\s*:", text)
    action = prefix[1] if prefix else "relabel"
    if action not in ACTIONS:
        raise ConfigError(
            f"Rule `{text[:SHOWN]}`: there is no action '{action}': {nearest(action, ACTIONS)}"
        )
    start = prefix.end() if prefix else 0
    start += len(text[start:]) - len(text[start:].lstrip())
    condition = _Parser(text, start, classes).parse()
    columns = sorted({node.id for node in ast.walk(condition) if isinstance(node, ast.Name)})
    return Rule(text, action, condition, tuple(columns))


class _Parser:
    """Checks every part of a condition; what is not expressly allowed is refused."""

    def __init__(self, text: str, start: int, classes: Sequence[str]) -> None:
        self.values = {**VALUES, "given": tuple(classes), "proposed": tuple(classes)}
        self.text, self.start = text, start
        self.source = text[start:]

    def parse(self) -> ast.expr:
        if not self.source:
            self.refuse(self.start, "there is no condition: write one, such as suspicion >= 0.95.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes in texts
                condition = ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            lines = self.source.split("\n")[: max((error.lineno or 1) - 1, 0)]
            before = sum(len(each) + 1 for each in lines)
            place, why = before + (error.offset or 0) - 1, f"it cannot be read ({error.msg})"
            if not error.offset:
                place, why = len(self.source) - 1, "it cannot be read to its end"
            elif re.search(r"[^=<>!]=[^=]", self.source):
                why = "a comparison for equality is written =="
            self.refuse(self.start + place, f"{why}.")
        except (ValueError, RecursionError, MemoryError) as error:
            why = str(error).partition(";")[0] or type(error).__name__
            self.refuse(self.start, f"it cannot be read ({why}).")
        try:
            self.condition(condition)
        except RecursionError:
            self.refuse(self.start, "it is nested too deeply.")
        return condition

    def refuse(self, place: int, why: str) -> NoReturn:
        text = self.text if len(self.text) <= SHOWN else f"{self.text[:SHOWN]}…"
        raise ConfigError(f"Rule `{text}`, character {place + 1}: {why}")

    def wrong(self, node: ast.AST, why: str) -> NoReturn:
        """Refuse a part, at its place; offsets of Python are in bytes of UTF-8 and by line."""
        lines = self.source.split("\n")
        line, offset = getattr(node, "lineno", 1) - 1, getattr(node, "col_offset", 0)
        before = sum(len(each) + 1 for each in lines[:line])
        column = len(lines[line].encode()[:offset].decode())
        self.refuse(self.start + before + column, why)

    def condition(self, node: ast.expr) -> None:
        """Something that is true or false."""
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self.condition(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.condition(node.operand)
        elif isinstance(node, ast.Compare):
            self.comparison(node)
        else:
            if isinstance(node, ast.Name):
                self.operand(node)
            self.wrong(node, f"{_ALLOWED}; `{self.shown(node)}` compares nothing.")

    def comparison(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn):
                self.membership(left, right)
            elif type(operator) in _COMPARISONS:
                self.pair(left, operator, right)
            else:
                self.wrong(node, f"{_ALLOWED}; 'is' does not belong there: write ==.")
            left = right

    def pair(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> None:
        kinds = self.operand(left), self.operand(right)
        sign = _COMPARISONS[type(operator)][1]
        if not isinstance(left, ast.Name) and not isinstance(right, ast.Name):
            self.wrong(left, f"a comparison needs a column, and `{self.shown(left)}` {sign} "
                             f"`{self.shown(right)}` has none.")  # fmt: skip
        if kinds[0] != kinds[1]:
            self.wrong(right, f"`{self.shown(left)}` is a {kinds[0]} and `{self.shown(right)}` a "
                              f"{kinds[1]}: compare like with like.")  # fmt: skip
        if kinds[0] == "text":
            if sign not in ("==", "!="):
                self.wrong(left, f"texts are compared with ==, != and in, not with {sign}.")
            self.known(left, right)
            self.known(right, left)

    def membership(self, left: ast.expr, right: ast.expr) -> None:
        if not isinstance(left, ast.Name):
            self.wrong(left, f"before in stands a column, not `{self.shown(left)}`.")
        kind = self.operand(left)
        if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
            self.wrong(right, f"after in stands a list such as ['train', 'val'], not "
                              f"`{self.shown(right)}`.")  # fmt: skip
        for value in right.elts:
            if isinstance(value, ast.Name) or self.operand(value) != kind:
                self.wrong(value, f"the list after in holds {kind}s as '{left.id}' does, not "
                                  f"`{self.shown(value)}`.")  # fmt: skip
            self.known(left, value)

    def operand(self, node: ast.expr) -> Kind:
        """A column, a number or a text."""
        if isinstance(node, ast.Name):
            if node.id in NUMBERS:
                return "number"
            if node.id in TEXTS:
                return "text"
            hint = nearest(node.id, (*NUMBERS, *TEXTS))
            self.wrong(node, f"there is no column '{node.id}': {hint}")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return "text"
        if _number(node) is not None:
            return "number"
        self.wrong(node, f"{_ALLOWED}; `{self.shown(node)}` is neither a column nor a value.")

    def known(self, column: ast.expr, value: ast.expr) -> None:
        """Refuse a value that the column never has."""
        if not isinstance(column, ast.Name) or not isinstance(value, ast.Constant):
            return
        values = self.values.get(column.id)
        if values and isinstance(value.value, str) and value.value not in values:
            self.wrong(value, f"'{column.id}' is never '{value.value}': "
                              f"{nearest(value.value, values)}")  # fmt: skip

    def shown(self, node: ast.expr) -> str:
        return ast.get_source_segment(self.source, node) or "this"


def _number(node: ast.expr) -> float | None:
    """The value of a number, which may have a sign; None where it is none."""
    sign = 1.0
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign = -1.0 if isinstance(node.op, ast.USub) else 1.0
        node = node.operand
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return sign * float(value)
    except OverflowError:
        return sign * float("inf")


def _evaluate(node: ast.expr, rows: pa.RecordBatch) -> Any:
    """The truth of a condition for each row, null where it is not known; (n,)."""
    if isinstance(node, ast.BoolOp):
        join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        truth = _evaluate(node.values[0], rows)
        for value in node.values[1:]:
            truth = join(truth, _evaluate(value, rows))
        return truth
    if isinstance(node, ast.UnaryOp):
        return pc.invert(_evaluate(node.operand, rows))
    assert isinstance(node, ast.Compare)
    truth, left = None, node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        found = _compare(left, operator, right, rows)
        truth = found if truth is None else pc.and_kleene(truth, found)
        left = right
    return truth


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr, rows: pa.RecordBatch) -> Any:
    if isinstance(operator, ast.In | ast.NotIn):
        assert isinstance(right, ast.List | ast.Tuple | ast.Set)
        parts = [_compare(left, ast.Eq(), value, rows) for value in right.elts]
        truth = parts[0]
        for part in parts[1:]:
            truth = pc.or_kleene(truth, part)
        return pc.invert(truth) if isinstance(operator, ast.NotIn) else truth
    values = [_values(node, rows) for node in (left, right)]
    for one, other in ((0, 1), (1, 0)):
        # 0.95 is meant to be the 0.95 of the column, which has fewer digits.
        if isinstance(values[one], float) and values[other].type == pa.float32():
            values[one] = pa.scalar(np.float32(values[one]), pa.float32())
    return pc.call_function(_COMPARISONS[type(operator)][0], values)


def _values(node: ast.expr, rows: pa.RecordBatch) -> Any:
    """A column, its NaN as nulls, or a value."""
    if isinstance(node, ast.Name):
        column = rows.column(node.id)
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        return column
    number = _number(node)
    return number if number is not None else pa.scalar(getattr(node, "value", None))


def apply(rule: Rule, table: pa.Table, ledger: Ledger, who: str) -> Applied:
    """Decide what a rule selects; the rule is the reason that the ledger names.

    Left alone are items that a person decided, or took a rule's decision back of; items that are in
    the wanted state; and those of which this rule has decided the same before.

    Args:
        rule: what to do with which items.
        table: `suspicion.parquet`.
        ledger: of the dataset that was audited.
        who: a name.
    """
    chosen = np.flatnonzero(rule.select(table))
    columns = table.select(["id", "proposed"] if rule.action == "relabel" else ["id"])
    changed = ledger.extend(_wanted(rule, columns.take(pa.array(chosen)), ledger, who))
    return Applied(rule.text, len(chosen), changed)


def _wanted(rule: Rule, table: pa.Table, ledger: Ledger, who: str) -> Iterator[Wanted]:
    """The decisions that are not made yet."""
    fold, classes = ledger.fold(), ledger.dataset.info.classes
    action = EVERY_ACTION.index(rule.action)
    for piece in table.to_batches(max_chunksize=PIECE):
        ids = piece.column("id").to_pylist()
        relabel = rule.action == "relabel"
        proposals = piece.column("proposed").to_pylist() if relabel else [None] * len(ids)
        for id_, to, place in zip(ids, proposals, ledger.places(ids).tolist(), strict=True):
            if place >= 0:  # an id of another dataset is for the ledger to refuse
                code = fold.labels[place]
                label = classes[code] if code >= 0 else None
                so_already = to == label if relabel else fold.actions[place] == action
                without = to is None if relabel else rule.action == "confirm" and label is None
                if so_already or without or fold.by_hand[place]:
                    continue
                if ledger.decided_before(place, rule.action, to, rule.text):
                    continue
            yield Wanted(id_, rule.action, to, rule.text, who, "rule")
