import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled_rows import labelled
from lorgnette.dataset import appendonly
from lorgnette.dataset.decisionlines import parse_lines
from lorgnette.dataset.ledger import Decision, Ledger, Standing, Wanted, difference
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ConfigError, DatasetError, LockedError, StorageError

GIVEN = ["a", "b", "c", None, "a", None]


def lines(dataset: Dataset) -> list[dict[str, Any]]:
    text = (Path(dataset.location) / "decisions.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def names(dataset: Dataset, which: Any = "decided") -> list[str | None]:
    return [
        None if code < 0 else dataset.info.classes[code] for code in dataset.labels(which).tolist()
    ]


def test_a_decision_is_a_line_and_changes_the_label_in_force(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, GIVEN)
    (made,) = dataset.ledger.append([Wanted("i0", "relabel", "b", "a smile", "Ada", "person")])
    assert lines(dataset) == [
        {"id": "i0", "action": "relabel", "from": "a", "to": "b", "reason": "a smile",
         "who": "Ada", "by": "person", "when": made.when},
    ]  # fmt: skip
    assert made.when.endswith("+00:00")
    assert names(dataset) == ["b", "b", "c", None, "a", None]
    assert names(dataset, "given") == GIVEN
    assert dataset.ledger.read() == [made]
    assert dataset.ledger.standings() == {
        "i0": Standing("b", "relabel", "person", "Ada", made.when, "a", 1)
    }
    assert dataset.ledger.standing("i0") == dataset.ledger.standings()["i0"]
    assert dataset.ledger.standing("i1") is None


def test_nothing_decided_leaves_everything_as_it_is(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, GIVEN)
    assert names(dataset) == GIVEN
    assert dataset.ledger.digest() == ""
    assert dataset.ledger.read() == []
    assert dataset.ledger.append([]) == []
    assert not (tmp_path / "decisions.jsonl").exists()


def test_left_out_items_have_no_label_and_come_back(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, GIVEN)
    ledger = dataset.ledger
    ledger.append([Wanted("i0", "drop"), Wanted("i1", "undecidable"), Wanted("i3", "relabel", "c")])
    assert names(dataset) == [None, None, "c", "c", "a", None]
    changed = difference(dataset.labels("given"), dataset.labels())
    ledger.append([Wanted("i2", "confirm")])
    assert difference(dataset.labels("given"), dataset.labels()) == changed
    undone = ledger.append([Wanted(f"i{n}", "undo") for n in (0, 1, 2, 3)])
    assert [(each.from_, each.to) for each in undone] == [
        (None, "a"), (None, "b"), ("c", "c"), ("c", None),
    ]  # fmt: skip
    assert names(dataset) == GIVEN
    assert ledger.standings() == {}
    assert ledger.digest() == ""
    assert changed
    assert difference(dataset.labels("given"), dataset.labels()) == ""


WISH = st.tuples(
    st.integers(0, len(GIVEN) - 1),
    st.sampled_from(["relabel", "confirm", "drop", "undecidable", "undo"]),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["person", "rule", "import"]),
)


class Model:
    """The ledger as one would tell it: a stack of decisions for each item."""

    def __init__(self) -> None:
        self.stacks: dict[int, list[tuple[str, str | None, str]]] = {}
        self.rejected: set[int] = set()

    def label(self, item: int) -> str | None:
        stack = self.stacks.get(item)
        return stack[-1][1] if stack else GIVEN[item]

    def does(self, item: int, action: str, to: str, by: str) -> bool | None:
        """Whether it is done; None where it is refused."""
        stack = self.stacks.setdefault(item, [])
        if by == "rule" and (item in self.rejected or (stack and stack[-1][2] != "rule")):
            return False
        if action == "undo":
            if not stack:
                return None
            if stack.pop()[2] == "rule" and by != "rule":
                self.rejected.add(item)
        elif action == "confirm":
            if (label := self.label(item)) is None:
                return None
            stack.append((action, label, by))
        else:
            stack.append((action, to if action == "relabel" else None, by))
        return True


@settings(max_examples=40, deadline=None)
@given(wishes=st.lists(WISH, max_size=40), others=st.integers(0, 40))
def test_any_sequence_folds_like_a_plain_model(
    wishes: list[tuple[int, str, str, str]], others: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset, model = labelled(Path(folder), GIVEN), Model()
        watching = Ledger(dataset)
        for number, (item, action, to, by) in enumerate(wishes):
            ledger = dataset.ledger if number % 2 else Ledger(Dataset.load(folder))
            want = Wanted(f"i{item}", action, to if action == "relabel" else None, by=by)
            expected = model.does(item, action, to, by)
            if expected is None:
                with pytest.raises(ConfigError):
                    ledger.append([want])
            else:
                assert len(ledger.append([want])) == expected
            if number == others:
                watching.standings()
        expected_labels = [model.label(item) for item in range(len(GIVEN))]
        standing = {f"i{item}": stack[-1] for item, stack in model.stacks.items() if stack}
        for ledger in (dataset.ledger, watching, Ledger(dataset)):
            codes = [-1 if name is None else "abc".index(name) for name in expected_labels]
            assert ledger.labels().tolist() == codes
            found = ledger.standings()
            assert {id_: (one.action, one.label, one.by) for id_, one in found.items()} == standing
            assert ledger.tally()["items"] == len(standing)
        assert len({Ledger(dataset).digest(), watching.digest()}) == 1


@pytest.mark.parametrize(
    ("want", "sentence"),
    [
        (Wanted("i9", "drop"), "no usable item 'i9'.*for example 'i0'"),
        (Wanted("i0", "relabel", "bb"), "did you mean 'b'?"),
        (Wanted("i0", "relabel"), "one of the dataset's classes"),
        (Wanted("i0", "undo"), "none about 'i0' is left to undo"),
        (Wanted("i0", "relable", "b"), "did you mean 'relabel'?"),
        (Wanted("i3", "confirm"), "'i3' has none"),
        (Wanted("i0", "confirm", "b"), "is 'a', not 'b'"),
        (Wanted("i0", "drop", "b"), "leave 'to' empty"),
        (Wanted("i0", "drop", by="robot"), "by person, rule, import, got 'robot'"),
        (Wanted("i9", "drop", origin="Row 7 of x.csv"), "^Row 7 of x.csv: "),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, want: Wanted, sentence: str
) -> None:
    dataset = labelled(tmp_path, GIVEN)
    with pytest.raises(ConfigError, match=sentence):
        dataset.ledger.append([Wanted("i1", "drop"), want])
    assert not (tmp_path / "decisions.jsonl").exists()
    assert names(dataset) == GIVEN


def test_a_rule_never_overrides_a_person(tmp_path: Path) -> None:
    ledger = labelled(tmp_path, GIVEN).ledger
    ledger.append([Wanted("i0", "confirm", by="person"), Wanted("i1", "drop", by="import")])
    ledger.append([Wanted("i2", "drop", by="rule")])
    ledger.append([Wanted("i2", "undo", by="person")])  # the person said no
    asked = [Wanted(f"i{n}", "relabel", "b", by="rule") for n in (0, 1, 2, 4)]
    assert [each.id for each in ledger.append(asked)] == ["i4"]
    assert [each.id for each in ledger.append([Wanted("i4", "relabel", "c")])] == ["i4"]
    assert ledger.extend([Wanted("i4", "undo", by="rule")]) == 0


def test_decisions_about_items_and_classes_that_are_gone_do_no_harm(tmp_path: Path) -> None:
    before = labelled(tmp_path, ["a", "b", "c"])
    before.ledger.append([Wanted("i0", "relabel", "c"), Wanted("i2", "drop")])
    after = labelled(tmp_path, ["a", "b"])
    assert names(after) == [None, "b"]  # class c is no more
    assert len(after.ledger.read()) == 2
    assert set(after.ledger.standings()) == {"i0"}


PROCESS = """
import sys
from lorgnette.dataset.ledger import Ledger, Wanted
from lorgnette.dataset.store import Dataset
ledger = Ledger(Dataset.load(sys.argv[1]))
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    reason = f"{number} " + "x" * 300
    ledger.append([Wanted("i0", "relabel", "ab"[number % 2], reason, sys.argv[2])])
    print(number, flush=True)
"""


def writer(folder: Path, who: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS, str(folder), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_and_threads_lose_nothing(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, GIVEN)
    processes = [writer(tmp_path, f"process {n}", 25) for n in range(2)]

    def work(who: str) -> None:
        for number in range(25):
            dataset.ledger.append([Wanted("i1", "relabel", "ab"[number % 2], who=who)])

    threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    found = dataset.ledger.read()
    assert len(found) == 100
    assert {each.who for each in found} == {f"{kind} {n}" for kind in ("process", "thread")
                                            for n in range(2)}  # fmt: skip
    for id_, given_label in (("i0", "a"), ("i1", "b")):  # each knew what stood before it
        before: str | None = given_label
        for each in (each for each in found if each.id == id_):
            assert each.from_ == before
            before = each.to
    assert Ledger(dataset).standings()["i0"].count == 50


def test_killed_while_appending_nothing_confirmed_is_lost(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, GIVEN)
    confirmed = 0
    for turn in range(3):
        process = writer(tmp_path, f"{turn}", 10_000)
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "20":
                break
        time.sleep(0.003 * turn)
        os.kill(process.pid, signal.SIGKILL)
        rest = [line for line in process.stdout if line.endswith("\n")]
        process.wait(timeout=30)
        process.stdout.close()
        told = int(rest[-1]) if rest else 20
        confirmed += told + 1
        own = [each for each in dataset.ledger.read() if each.who == f"{turn}"]
        assert len(own) in (told + 1, told + 2)  # the last one may have been written, not told
        assert [each.reason.split()[0] for each in own] == [str(n) for n in range(len(own))]
    dataset.ledger.append([Wanted("i1", "drop")])
    assert len(lines(dataset)) >= confirmed + 1


def test_a_torn_last_line_is_passed_over_and_mended(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, GIVEN)
    path = tmp_path / "decisions.jsonl"
    dataset.ledger.append([Wanted("i0", "relabel", "b"), Wanted("i1", "relabel", "c")])
    whole = path.read_bytes()
    for cut in (1, 2, 30, len(whole.splitlines(keepends=True)[1]) - 1):
        path.write_bytes(whole[:-cut])
        ledger = Ledger(Dataset.load(str(tmp_path)))
        kept = 2 if cut == 1 else 1  # whole but for its end
        assert len(ledger.standings()) == kept
        assert len(ledger.read()) == kept
        ledger.append([Wanted("i2", "drop")])
        assert [line["id"] for line in lines(dataset)] == [*["i0", "i1"][:kept], "i2"]
        assert names(Dataset.load(str(tmp_path)))[2] is None


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ('{"id": "i0", "action": "relab', "Unterminated"),
        ('{"action": "drop", "by": "person"}', "no id"),
        ('{"id": "i0", "action": "explode", "by": "person"}', "'explode'"),
        ('{"id": "i0", "action": "relabel", "by": "person"}', "without a label"),
        ('{"id": 7, "action": "drop", "by": "person"}', "id is no text"),
        ('{"id": "i0", "action": "drop", "to": "b", "by": "person"}', "a drop with a label"),
        ('{"id": "i0", "action": "drop", "by": "person", "from": 3}', "from is no text"),
        ('{"id": "i0", "action": "drop", "by": "person", "who": "\\ud800"}', "half a character"),
        ('{"id": "i0", "action": "drop", "by": "person", "who": "\udce4"}', "utf-8"),
        ("[1, 2]", "no JSON object"),
        ("\0\0\0", "damaged"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, damage: str, why: str) -> None:
    dataset = labelled(tmp_path, GIVEN)
    dataset.ledger.append([Wanted(f"i{n}", "drop") for n in range(3)])
    path = tmp_path / "decisions.jsonl"
    rows = path.read_text().splitlines()
    text = "\n".join([rows[0], damage, *rows[1:]]) + "\n"
    path.write_text(text, errors="surrogateescape")
    for method in ("labels", "read", "standings", "tally", "digest"):
        with pytest.raises(DatasetError, match=r"Line 2 of .*decisions\.jsonl is damaged") as told:
            getattr(Dataset.load(str(tmp_path)).ledger, method)()
        assert why in str(told.value)
    with pytest.raises(DatasetError, match="Line 2"):
        Dataset.load(str(tmp_path)).ledger.recent(1)
    with pytest.raises(DatasetError, match="Line 2"):
        Dataset.load(str(tmp_path)).ledger.append([Wanted("i4", "drop")])
    assert path.read_bytes().count(b"\n") == 4


def test_lines_without_a_name_count_as_nobodys(tmp_path: Path) -> None:
    ledger = labelled(tmp_path, GIVEN).ledger
    (tmp_path / "decisions.jsonl").write_bytes(
        b'\xef\xbb\xbf{"id": "i0", "action": "relabel", "to": "b", "by": "person"}\n'
        b'{"id": "i1", "action": "drop", "by": "person", "who": null, "when": null}\n'
    )
    assert ledger.tally()["who"] == {"": 2}
    assert [(each.to, each.who, each.when) for each in ledger.read()] == [
        ("b", "", ""), (None, "", ""),
    ]  # fmt: skip
    assert [each.id for each in ledger.recent(5)] == ["i1", "i0"]


def test_a_dataset_without_items_has_none_to_decide_about(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no usable item 'i0'"):
        labelled(tmp_path, []).ledger.append([Wanted("i0", "drop")])


def test_lines_of_a_person_with_an_editor(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, GIVEN)
    (tmp_path / "decisions.jsonl").write_text(
        '\n{"by": "person", "id": "i0", "action": "drop", "mood": {"good": [1]}}\r\n\n'
        '{"id": "i\\u0031", "action": "relabel", "to": "c", "by": "person", '
        '"who": "\\ud83d\\ude00"}'
    )
    assert names(dataset) == [None, "c", "c", None, "a", None]
    dataset.ledger.append([Wanted("i2", "drop", reason="\ud800 half a character")])
    found = Ledger(dataset).read()
    assert [each.id for each in found] == ["i0", "i1", "i2"]
    assert found[1].who == "😀"
    assert found[2].reason == "? half a character"


FULL = """
import resource, sys
from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.store import Dataset
from lorgnette.errors import StorageError
dataset = Dataset.load(sys.argv[1])
dataset.ledger.append([Wanted("i0", "drop")])
size = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
try:
    dataset.ledger.append([Wanted(f"i{n}", "drop", reason="x" * 50) for n in (1, 2, 3)])
except StorageError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert dataset.labels().tolist() == [-1, 1, 2, -1, 0, -1], dataset.labels()
dataset.ledger.append([Wanted("i1", "drop")])
"""


def test_a_full_disk_is_one_sentence_and_the_file_is_unharmed(tmp_path: Path) -> None:
    labelled(tmp_path, GIVEN)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), "300"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "No space left to write" in done.stdout
    assert [line["id"] for line in lines(Dataset.load(str(tmp_path)))] == ["i0", "i1"]


def test_a_disk_that_does_not_confirm_gets_nothing_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = labelled(tmp_path, GIVEN)
    dataset.ledger.append([Wanted("i0", "drop")])
    synced = []

    def refuse(file: int) -> None:
        synced.append(file)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match="Input/output error"):
            dataset.ledger.append([Wanted("i1", "drop")])
    assert synced
    assert [line["id"] for line in lines(dataset)] == ["i0"]
    assert names(dataset) == [None, "b", "c", None, "a", None]


def test_another_file_in_its_place_is_read_from_the_start(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, GIVEN)
    path = tmp_path / "decisions.jsonl"
    dataset.ledger.append([Wanted("i0", "drop"), Wanted("i1", "drop")])
    assert names(dataset)[:2] == [None, None]
    line = path.read_text().splitlines()[1] + "\n"
    path.unlink()
    assert names(dataset) == GIVEN
    path.write_text(line)
    assert names(dataset)[:2] == ["a", None]
    assert set(dataset.ledger.standings()) == {"i1"}


def test_who_waits_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = labelled(tmp_path, GIVEN)
    monkeypatch.setattr(appendonly, "PATIENCE_SECONDS", 0.05)
    with Ledger(dataset)._file.locked(), pytest.raises(LockedError, match="Another process"):
        dataset.ledger.append([Wanted("i0", "drop")])
    assert dataset.ledger.append([Wanted("i0", "drop")])


def test_recent_ones_come_first_also_from_a_long_file(tmp_path: Path) -> None:
    ledger = labelled(tmp_path, GIVEN).ledger
    ledger.extend(Wanted("i0", "relabel", "ab"[n % 2], f"{n} " + "y" * 500) for n in range(60))
    assert [each.reason.split()[0] for each in ledger.recent(3)] == ["59", "58", "57"]
    assert len(ledger.recent(100)) == 60


def test_a_hundred_thousand_decisions_fold_at_once(tmp_path: Path) -> None:
    n = 100_000
    dataset = labelled(tmp_path, ["a", "b"] * (n // 2))
    wanted = (Wanted(f"i{k}", "relabel", "ba"[k % 2], "rule", "me", "rule") for k in range(n))
    assert dataset.ledger.extend(wanted) == n
    fresh = Dataset.load(str(tmp_path))
    assert (fresh.labels() == 1 - dataset.labels("given")).all()
    assert fresh.ledger.tally()["changed"] == n
    assert fresh.ledger.digest() == dataset.ledger.digest()


def test_blocks_are_cut_between_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = labelled(tmp_path, GIVEN)
    dataset.ledger.extend(Wanted("i0", "relabel", "ab"[n % 2], "é" * n) for n in range(40))
    monkeypatch.setattr(appendonly, "BLOCK_BYTES", 97)
    assert Ledger(dataset).standings()["i0"].count == 40


def test_a_line_by_name_equals_a_line_by_column(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, GIVEN)
    dataset.ledger.append([Wanted("i0", "relabel", "b"), Wanted("i0", "undo")])
    data = (tmp_path / "decisions.jsonl").read_bytes()
    table = parse_lines(data, 1, "here").to_pylist()
    plain = [json.loads(line) for line in data.splitlines()]
    assert table == [{key: row[key] for key in table[0]} for row in plain]
    assert Decision.model_validate(plain[0]).from_ == "a"


@pytest.mark.s3
def test_on_an_object_store(s3_bucket: str, tmp_path: Path) -> None:
    from lorgnette.storage import Storage

    labelled(tmp_path, GIVEN)
    far = Storage.at(f"{s3_bucket}/set")
    for name in ("dataset.json", "shards/00000.parquet"):
        far.write(name, (tmp_path / name).read_bytes())
    one, other = (Dataset.load(f"{s3_bucket}/set") for _ in range(2))
    one.ledger.append([Wanted("i0", "drop")])
    assert names(other)[0] is None
    other.ledger.append([Wanted("i0", "undo"), Wanted("i1", "relabel", "c")])
    assert names(one) == ["a", "c", "c", None, "a", None]
    far.write("decisions.jsonl", far.read("decisions.jsonl") + b'{"id": "i')
    one.ledger.append([Wanted("i2", "drop")])
    assert [each.id for each in Ledger(other).read()] == ["i0", "i0", "i1", "i2"]
