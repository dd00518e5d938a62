import csv
import os
from pathlib import Path
from typing import Any

import pytest

from labelled_rows import labelled
from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.exchange import export_decisions, import_decisions, write_corrections
from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import ConfigError, LorgnetteError, SourceError
from pictures import encoded, picture

LABELS = ["cat", "dog", "cat", None, "dog", "cat", None]


def table(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def decided(folder: Path) -> Dataset:
    dataset = labelled(folder, LABELS)
    dataset.ledger.append(
        [
            Wanted("i0", "relabel", "dog", 'a "smile",\nthen another', "Ada", "person"),
            Wanted("i1", "drop", None, "", "Ada", "person"),
            Wanted("i2", "undecidable", None, "blurred > 0.9", "lorgnette", "rule"),
            Wanted("i3", "relabel", "cat", who="Ünal"),
            Wanted("i4", "confirm"),
            Wanted("i5", "drop"),
            Wanted("i5", "undo"),
        ]
    )
    return dataset


def test_what_is_exported_gives_the_same_labels_elsewhere(tmp_path: Path) -> None:
    one, other = decided(tmp_path / "one"), labelled(tmp_path / "other", LABELS)
    file = str(tmp_path / "out.csv")
    assert export_decisions(one, file) == 5
    # whatever a rule has done there meanwhile
    other.ledger.append([Wanted("i4", "relabel", "cat", by="rule")])
    found = import_decisions(other, file, "Bob")
    assert (found.rows, found.decided) == (5, 5)
    assert other.labels().tolist() == one.labels().tolist()
    lines = {line.id: line for line in other.ledger.read()}
    assert lines["i0"].reason == 'a "smile",\nthen another'
    assert {line.by for line in other.ledger.read()[1:]} == {"import"}
    assert [lines[id_].who for id_ in ("i0", "i2", "i3", "i4")] == [
        "Ada",
        "lorgnette",
        "Ünal",
        "Bob",
    ]
    assert import_decisions(other, file).decided == 1  # a relabel by now stands for the confirm
    assert import_decisions(one, file).decided == 0


def test_odd_names_come_back_as_they_were(tmp_path: Path) -> None:
    ids, labels = [" a.jpg", "b\rc.jpg", 'd,"e" .jpg ', "f.jpg"], [" cat", "dog\r", " cat", "cow"]
    one = labelled(tmp_path / "one", labels, ids=ids)
    other = labelled(tmp_path / "other", labels, ids=ids)
    wanted = zip(ids, ["dog\r", " cat", "cow", " cat"], strict=True)
    one.ledger.append([Wanted(id_, "relabel", to) for id_, to in wanted])
    export_decisions(one, str(tmp_path / "out.csv"))
    assert import_decisions(other, str(tmp_path / "out.csv")).decided == 4
    assert other.labels().tolist() == one.labels().tolist()


@pytest.mark.parametrize("write", [export_decisions, write_corrections])
def test_the_dataset_itself_is_never_written_over(tmp_path: Path, write: Any) -> None:
    dataset = decided(tmp_path)
    before = (tmp_path / "decisions.jsonl").read_bytes()
    for name in ("decisions.jsonl", "dataset.json", "shards/00000.parquet"):
        with pytest.raises(ConfigError, match="is one of the dataset's"):
            write(dataset, str(tmp_path / name))
    assert (tmp_path / "decisions.jsonl").read_bytes() == before
    for _ in range(2):
        write(dataset, str(tmp_path / "out.csv"))


def test_a_pipe_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    dataset, pipe = decided(tmp_path), tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert export_decisions(dataset, str(pipe)) == 5
        assert os.read(reading, 9) == b"id,action"
        assert pipe.is_fifo()
    finally:
        os.close(reading)


def test_a_table_written_by_hand(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, LABELS)
    file = table(
        tmp_path / "mine.csv",
        "\ufeffAction, id ,to\nrelabel,i0,dog\n,,\ndrop,i1,\nundo,i1,\n relabel ,i1, cat \n",
    )
    assert import_decisions(dataset, file, "me").decided == 4
    assert dataset.labels().tolist()[:2] == [1, 0]
    assert {line.reason for line in dataset.ledger.read()} == {"mine.csv"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "row 1 of .* has no 'id'"),
        ("id,to\n", "row 1 of .* has no 'action'"),
        ("id,acton\n", "has 'acton': did you mean 'action'?"),
        ("id,action,id\n", "'id' twice"),
        ("id,action\ni0,drop\ni1\n", "Row 3 of .* has 1 values and its header 2"),
        ("id,action\ni0,drop\nzz,drop\n", "Row 3 of .* no usable item 'zz'"),
        ("id,action,to\ni0,drop,\ni1,relabel,dgo\n", "Row 3 of .* did you mean 'dog'?"),
        ("id,action,to\ni0,drop,cat\n", "Row 2 of .* leave 'to' empty"),
        ("id,action\ni0,drop\ni0,undo\ni0,undo\n", "Row 4 of .* left to undo"),
        ("id,action\ni0,dorp\n", "Row 2 of .* did you mean 'drop'?"),
        ('id,action\n"i0,drop\n', "no CSV file"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_is_applied(
    tmp_path: Path, text: str, sentence: str
) -> None:
    dataset = labelled(tmp_path, LABELS)
    with pytest.raises(LorgnetteError, match=sentence) as told:
        import_decisions(dataset, table(tmp_path / "x.csv", text))
    assert isinstance(told.value, ConfigError | SourceError)
    assert not (tmp_path / "decisions.jsonl").exists()


def test_no_table_and_no_text(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, LABELS)
    with pytest.raises(SourceError, match="no table of decisions at"):
        import_decisions(dataset, str(tmp_path / "none.csv"))
    (tmp_path / "x.csv").write_bytes(b"id,action\n\xff\xfe,drop\n")
    with pytest.raises(SourceError, match="no CSV file in UTF-8"):
        import_decisions(dataset, str(tmp_path / "x.csv"))


def test_labels_in_force_as_a_table(tmp_path: Path) -> None:
    dataset = decided(tmp_path)
    found = write_corrections(dataset, str(tmp_path / "c.csv"))
    assert (found.rows, found.changed, found.blank) == (6, 1, 2)
    with open(tmp_path / "c.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["id", "label"], ["i0", "dog"], ["i1", ""], ["i2", ""], ["i3", "cat"], ["i4", "dog"],
            ["i5", "cat"],
        ]  # fmt: skip


def published(folder: Path, count: int = 12) -> Path:
    """The layout of the published glasses set: ids from 1, the last two without a label."""
    images = folder / "faces-spring-2020" / "faces-spring-2020"
    images.mkdir(parents=True)
    for number in range(1, count + 1):
        (images / f"face-{number}.png").write_bytes(encoded(picture(number, number % 2)))
    rows = [f"{number},{number % 2}" for number in range(1, count - 1)]
    (folder / "train.csv").write_text("\n".join(["id,glasses", *rows]) + "\n")
    (folder / "test.csv").write_text(f"id\n{count - 1}\n{count}\n")
    return folder


def test_corrections_in_the_published_format_are_read_back(tmp_path: Path) -> None:
    folder = published(tmp_path / "set")
    settings = PrepareConfig(size=(8,))

    def prepared(name: str, corrections: Path | None = None) -> Dataset:
        source = SourceConfig(
            location=str(folder), corrections=str(corrections) if corrections else None
        )
        return prepare(source, str(tmp_path / name), settings, LocalEngine(1))

    def by_id(dataset: Dataset) -> dict[str, int]:
        ids = dataset.rows(["id"])["id"].to_pylist()
        return dict(zip(ids, dataset.labels().tolist(), strict=True))

    first = prepared("first")
    first.ledger.append(
        [Wanted("1", "relabel", "no_glasses"), Wanted("2", "undecidable"), Wanted("3", "drop"),
         Wanted("11", "relabel", "glasses")]
    )  # fmt: skip
    file = tmp_path / "corrections.csv"
    found = write_corrections(first, str(file))
    assert found.columns == ("id", "glasses")
    rows = file.read_text().splitlines()
    assert rows[:5] == ["id,glasses", "1,0", "2,", "3,", "4,0"]
    assert rows[10:] == ["10,0", "11,1"]  # nothing is known of 12

    second = prepared("second", file)
    expected = {id_: code for id_, code in by_id(first).items() if id_ not in ("2", "3")}
    assert by_id(second) == expected
    second.ledger.append([Wanted("5", "drop")])
    write_corrections(second, str(tmp_path / "more.csv"))
    del expected["5"]
    assert by_id(prepared("third", tmp_path / "more.csv")) == expected  # 2 and 3 stay out
