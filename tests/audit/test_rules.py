from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled_rows import labelled
from lorgnette.audit import rules
from lorgnette.audit.rules import apply, parse
from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ConfigError

ROWS: list[dict[str, Any]] = [
    {"id": "i0", "given": "a", "proposed": "b", "suspicion": 0.95, "confidence": 0.9,
     "undecidable": 0.1, "outlier": 0.2, "cluster": None, "kind": "label", "part": "train"},
    {"id": "i1", "given": "b", "proposed": "a", "suspicion": 0.5, "confidence": 0.6,
     "undecidable": 0.9, "outlier": 0.999, "cluster": 7, "kind": "undecidable", "part": "val"},
    {"id": "i2", "given": "a", "proposed": "a", "suspicion": 0.01, "confidence": 0.99,
     "undecidable": 0.0, "outlier": 0.5, "cluster": 7, "kind": "none", "part": "test"},
    {"id": "i3", "given": None, "proposed": "b", "suspicion": None, "confidence": 0.97,
     "undecidable": 0.0, "outlier": float("nan"), "cluster": None, "kind": "unlabelled",
     "part": None},
]  # fmt: skip
SCHEMA: Any = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "given", "proposed", "kind", "part")),
        *((name, pa.float32()) for name in ("suspicion", "confidence", "undecidable", "outlier")),
        ("cluster", pa.int64()),
    ]
)
TABLE = pa.Table.from_pylist(ROWS, schema=SCHEMA)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return labelled(tmp_path, ["a", "b", "a", None])


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("suspicion >= 0.95", [0]),  # as the column's float32 has it
        ("suspicion == 0.95", [0]),
        ("suspicion > 0.95", []),
        ("0.95 <= suspicion", [0]),
        ("0.1 < suspicion <= 0.95", [0, 1]),
        ("not suspicion > 0.6", [1, 2]),  # what is not known is never selected
        ("suspicion > 0.6 or confidence > 0.95", [0, 2, 3]),
        ("suspicion < 2 and confidence > 0.95", [2]),
        ("not (suspicion < 2 and confidence > 2)", [0, 1, 2, 3]),
        ("outlier > 0 or not outlier > 0", [0, 1, 2]),
        ("outlier > -1e-3", [0, 1, 2]),
        ("kind == 'label' and confidence > 0.8", [0]),
        ("kind != 'label'", [1, 2, 3]),
        ("kind in ['label', 'none'] or part in ('val',)", [0, 1, 2]),
        ("part not in ['train']", [1, 2]),
        ("given != proposed", [0, 1]),
        ("given == proposed", [2]),
        ("suspicion > confidence", [0]),
        ("cluster == 7", [1, 2]),
        ("cluster in [6, 7.0]", [1, 2]),
        ("cluster < 7.5", [1, 2]),
        ("id == 'i3'", [3]),
        ("given == 'a:b'", []),
        ("  (\n suspicion > 0.4 and\n kind == 'label' )\n", [0]),
    ],
)
def test_what_a_rule_selects(text: str, places: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    for piece in (65_536, 1, 3):
        monkeypatch.setattr(rules, "PIECE", piece)
        found = parse(text).select(TABLE)
        assert found.dtype == bool
        assert np.flatnonzero(found).tolist() == places
    assert parse(text).select(TABLE.slice(0, 0)).shape == (0,)


NUMBERS = st.sampled_from(["suspicion", "confidence", "undecidable", "outlier", "cluster"])
ATOMS = st.builds(
    "{} {} {}".format, NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.sampled_from(["0.5", "0.95", "7", "-1", "0"]),
)  # fmt: skip
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("not ({})".format, inner),
        st.builds("({}) and ({})".format, inner, inner),
        st.builds("({}) or ({})".format, inner, inner),
    ),
    max_leaves=6,
)


def truth(text: str, row: dict[str, Any]) -> bool | None:
    """What a condition means for a row, by Python itself; None where it is not known."""

    class Known:
        def __init__(self, value: bool | None) -> None:
            self.value = value

        def __and__(self, other: "Known") -> "Known":
            if False in (self.value, other.value):
                return Known(False)
            return Known(None if None in (self.value, other.value) else True)

        def __or__(self, other: "Known") -> "Known":
            return ~(~self & ~other)

        def __invert__(self) -> "Known":
            return Known(None if self.value is None else not self.value)

    class Column:
        def __init__(self, value: float | None) -> None:
            self.value = None if value is None or np.isnan(value) else np.float32(value)

        def _is(self, compare: Any) -> Known:
            return Known(None if self.value is None else bool(compare(self.value)))

        def __lt__(self, other: float) -> Known:
            return self._is(lambda value: value < np.float32(other))

        def __gt__(self, other: float) -> Known:
            return self._is(lambda value: value > np.float32(other))

        def __eq__(self, other: object) -> Known:  # type: ignore[override]
            return self._is(lambda value: value == np.float32(other))  # type: ignore[arg-type]

        def __ne__(self, other: object) -> Known:  # type: ignore[override]
            return ~(self == other)

        def __le__(self, other: float) -> Known:
            return ~(self > other)

        def __ge__(self, other: float) -> Known:
            return ~(self < other)

    source = text.replace("not (", "~(").replace(") and (", ") & (").replace(") or (", ") | (")
    source = source if source.startswith(("(", "~")) else f"({source})"
    names = {name: Column(row[name]) for name in SCHEMA.names if not isinstance(row[name], str)}
    found: Known = eval(source, {}, names)
    return found.value


@settings(max_examples=150, deadline=None)
@given(text=CONDITIONS)
def test_any_condition_means_what_python_says(text: str) -> None:
    expected = [truth(text, row) is True for row in ROWS]
    assert parse(text).select(TABLE).tolist() == expected


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("suspicon >= 1", 1, "no column 'suspicon': did you mean 'suspicion'?"),
        ("drop: outlier > 1 and suspicon >= 1", 23, "did you mean 'suspicion'?"),
        ("'é' == kindd", 8, "did you mean 'kind'?"),
        ("suspicion > 1 and\n  kindd == 'x'", None, "cannot be read"),
        ("(suspicion > 1 and\n  kindd == 'x')", 22, "did you mean 'kind'?"),
        ("suspicion = 0.9", 11, "equality is written =="),
        ("suspicion > 0.9 and", 19, "to its end"),
        ("(suspicion > 0.9", 1, "never closed"),
        ("suspicion >= 95%", None, "cannot be read"),
        ("kind == 'lable'", 9, "never 'lable': did you mean 'label'?"),
        ("part in ['train', 'vall']", 19, "never 'vall': did you mean 'val'?"),
        ("part in 'train'", 9, "a list such as"),
        ("part in []", 9, "a list such as"),
        ("0.5 in [1]", 1, "before in stands a column"),
        ("suspicion in [outlier]", 15, "holds numbers"),
        ("suspicion >= '0.9'", 14, "is a number and `'0.9'` a text"),
        ("given < 'a'", 1, "not with <"),
        ("suspicion", 1, "compares nothing"),
        ("suspicion > 0.9 or 1", 20, "compares nothing"),
        ("1 < 2", 1, "needs a column"),
        ("suspicion is 1", 1, "'is' does not belong there"),
        ("suspicion > True", 13, "neither a column nor a value"),
        ("suspicion > 1j", 13, "neither a column nor a value"),
        ("suspicion > 1 + 1", 13, "neither a column nor a value"),
        ("x.y > 1", 1, "neither a column nor a value"),
        ("__import__('os').system('true') == 0", 1, "neither a column nor a value"),
        ("[1 for x in ()] == 1", 1, "neither a column nor a value"),
        ("drop:", 6, "there is no condition"),
        ("", 1, "there is no condition"),
        ("suspicion\0 > 1", None, "cannot be read"),
        ("suspicion > " + "9" * 5000, None, "cannot be read"),
        ("not " * 5000 + "suspicion > 1", None, ""),
        ("(" * 500 + "suspicion > 1" + ")" * 500, None, "cannot be read"),
    ],
)
def test_what_is_no_rule_is_one_sentence_with_the_place(
    text: str, place: int | None, words: str
) -> None:
    with pytest.raises(ConfigError) as told:
        parse(text)
    assert words in str(told.value)
    assert "character " + ("" if place is None else f"{place}:") in str(told.value)
    assert len(str(told.value)) < 600


def test_actions() -> None:
    assert parse("suspicion > 0.9").action == "relabel"
    for action in ("relabel", "confirm", "drop", "undecidable"):
        rule = parse(f" {action} : suspicion > 0.9 ")
        assert (rule.action, rule.text) == (action, f"{action} : suspicion > 0.9")
    for word, hint in (("relable", "'relabel'?"), ("undo", "did you mean")):
        with pytest.raises(ConfigError, match=f"no action '{word}'.*") as told:
            parse(f"{word}: suspicion > 0.9")
        assert hint in str(told.value)


def test_a_table_without_the_column(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="reads the column 'cluster'"):
        parse("cluster == 1").select(TABLE.drop_columns(["cluster"]))


def test_applied_again_it_changes_nothing(dataset: Dataset) -> None:
    rule = parse("suspicion >= 0.5 or confidence > 0.95")
    assert apply(rule, TABLE, dataset.ledger, "me") == (rule.text, 4, 3)  # i2 is proposed as it is
    assert dataset.labels().tolist() == [1, 0, 0, 1]
    assert {(line.reason, line.who, line.by) for line in dataset.ledger.read()} == {
        (rule.text, "me", "rule")
    }
    assert apply(rule, TABLE, dataset.ledger, "me") == (rule.text, 4, 0)
    assert len(dataset.ledger.read()) == 3


def test_several_rules_applied_again_change_nothing(dataset: Dataset) -> None:
    every = [
        parse(text)
        for text in ("suspicion > 0.4", "drop: outlier > 0.9", "undecidable: undecidable >= 0.9",
                     "confirm: confidence >= 0.99")
    ]  # fmt: skip
    first = [apply(rule, TABLE, dataset.ledger, "me").changed for rule in every]
    assert first == [2, 1, 1, 1]
    digest = dataset.ledger.digest()
    assert [apply(rule, TABLE, dataset.ledger, "me").changed for rule in every] == [0, 0, 0, 0]
    assert dataset.ledger.digest() == digest
    proposed = ["b", "a", "b", "a"]  # a later audit thinks otherwise of two
    later = TABLE.set_column(TABLE.column_names.index("proposed"), "proposed", pa.array(proposed))
    assert apply(parse("confidence > 0.95"), later, dataset.ledger, "me").changed == 2


def test_what_a_person_settled_is_left_alone(dataset: Dataset) -> None:
    everything = parse("drop: confidence > 0")
    dataset.ledger.append([Wanted("i0", "confirm", by="person"), Wanted("i1", "drop", by="import")])
    assert apply(everything, TABLE, dataset.ledger, "me") == (everything.text, 4, 2)
    dataset.ledger.append([Wanted("i2", "undo", by="person")])
    assert apply(everything, TABLE, dataset.ledger, "me").changed == 0
    assert dataset.labels().tolist() == [0, -1, 0, -1]


def test_what_is_not_labelled_cannot_be_confirmed_nor_relabelled_to_nothing(
    dataset: Dataset,
) -> None:
    rule = parse("confirm: confidence > 0")
    assert apply(rule, TABLE, dataset.ledger, "me").changed == 3
    nothing = TABLE.set_column(
        TABLE.column_names.index("proposed"), "proposed", pa.nulls(4, pa.string())
    )
    assert apply(parse("confidence > 0"), nothing, dataset.ledger, "me").changed == 0


def test_a_table_of_another_dataset_is_refused(dataset: Dataset) -> None:
    strange = TABLE.set_column(TABLE.column_names.index("id"), "id", pa.array(list("wxyz")))
    with pytest.raises(ConfigError, match="no usable item"):
        apply(parse("drop: confidence > 0"), strange, dataset.ledger, "me")
    assert dataset.ledger.read() == []
