import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pictures import folder_of


def lorgnette(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "lorgnette", *words],
        capture_output=True, text=True, cwd=cwd, timeout=120, check=False, env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("settle")
    folder_of(place / "pictures", 30)
    assert lorgnette(place, "prepare", "pictures", "--out", "ds", "--size", "8").returncode == 0
    (place / "mine.csv").write_text(
        "id,action,to,reason,who\n"
        "a/0000.png,relabel,b,a smile,Ada\n"
        "a/0001.png,drop,,,\n"
        "b/0002.png,confirm,,,Ada\n"
    )
    return place


def test_in_out_and_shown(folder: Path) -> None:
    empty = lorgnette(folder, "decisions", "ds")
    assert empty.returncode == 0
    assert "Nothing was decided" in empty.stderr
    told = lorgnette(folder, "decisions", "ds", "--import", "mine.csv", "--who", "Bob", "--export",
                     "out.csv", "--corrections", "labels.csv", "--json")  # fmt: skip
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert facts["action"] == {"relabel": 1, "confirm": 1, "drop": 1}
    assert facts["by"] == {"import": 3}
    assert facts["who"] == {"Ada": 2, "Bob": 1}
    assert (facts["changed"], facts["left_out"], facts["decisions"]) == (1, 1, 3)
    assert [line["id"] for line in facts["recent"]] == ["b/0002.png", "a/0001.png", "a/0000.png"]
    assert facts["recent"][2]["from"] == "a"
    assert facts["imported"] == {"file": "mine.csv", "rows": 3, "decided": 3}
    assert facts["corrections"]["blank"] == 1
    with open(folder / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert rows[0] == {"id": "a/0000.png", "label": "b"}
    shown = lorgnette(folder, "decisions", "ds")
    for text in ("relabel", "by import", "Ada", "a → b", "1 label changed, 1 left out"):
        assert text in shown.stdout
    again = lorgnette(folder, "decisions", "ds", "--import", "out.csv")
    assert "0 decisions of 3 rows in out.csv are new" in again.stderr


def test_wrong_rows_are_one_sentence(folder: Path) -> None:
    (folder / "bad.csv").write_text("id,action,to\na/0003.png,relabel,b\na/0004.png,relabel,c\n")
    for words, status, sentence in (
        (["ds", "--import", "bad.csv"], 2, "Row 3 of bad.csv"),
        (["ds", "--import", "nowhere.csv"], 1, "no table of decisions"),
        (["pictures"], 1, "There is no prepared dataset"),
    ):
        told = lorgnette(folder, "decisions", *words)
        assert told.returncode == status
        assert sentence in told.stderr
        assert len(told.stderr.strip().splitlines()) == 1
        assert told.stdout == ""
    assert "a/0003.png" not in (folder / "ds" / "decisions.jsonl").read_text()


def test_evaluate_prints_each_yardstick_under_its_name(folder: Path) -> None:
    assert lorgnette(folder, "decisions", "ds", "--import", "mine.csv").returncode == 0
    quick = ["--set", "model.family=mlp", "--set", "model.units=[4]", "--epochs", "1"]
    done = lorgnette(folder, "train", "ds", "--out", "run", *quick)
    assert done.returncode == 0, done.stderr
    told = lorgnette(folder, "evaluate", "run")
    for text in ("decided", "given labels (n = ", "decided labels (n = ", "test against"):
        assert text in told.stdout
    assert "confirmed" not in told.stdout
    facts = json.loads(lorgnette(folder, "evaluate", "run", "--json").stdout)
    assert {name: facts[name]["labels"] for name in ("test", "test_given", "test_decided")} == {
        "test": "decided", "test_given": "given", "test_decided": "decided",
    }  # fmt: skip
