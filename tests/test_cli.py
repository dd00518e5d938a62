import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pictures import folder_of, with_oddities

QUICK = ["--size", "16", "--set", "model.family=cnn", "--set", "model.filters=[8, 8]",
         "--epochs", "2", "--set", "train.batch_size=16"]  # fmt: skip


def lorgnette(
    *words: str | Path | float, input: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "lorgnette", *map(str, words)],
        capture_output=True, text=True, input=input, cwd=cwd, timeout=120, check=False,
        env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("cli")
    with_oddities(folder_of(folder / "pictures", 30))
    return folder, lorgnette("run", "pictures", *QUICK, "--json", cwd=folder)


def test_run_prints_one_json_document(
    done: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, result = done
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout.splitlines()[-1])
    assert set(facts["test"]["accuracy"]) == {"value", "low", "high", "n"}
    assert facts["test"]["accuracy"]["n"] == 6
    assert "validation" in facts
    assert "curves" not in facts["test"]
    assert (folder / "runs" / "pictures" / "report.html").is_file()


def test_evaluate_shows_a_table(done: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    result = lorgnette("evaluate", "runs/pictures", cwd=done[0])
    assert result.returncode == 0, result.stderr
    assert "test (n = 6)" in result.stdout
    assert "accuracy" in result.stdout
    assert "95% intervals" in result.stdout


def test_predict_streams_csv(done: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    names = "pictures/a/0000.png\npictures/b/0000.png\npictures/a/truncated.png\n"
    result = lorgnette("predict", "runs/pictures", "-", input=names, cwd=done[0])
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["id"] for row in rows] == names.split()
    assert list(rows[0]) == ["id", "class", "p_a", "p_b", "error"]
    assert rows[2]["error"]


def test_predict_into_a_file(done: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    result = lorgnette(
        "predict", "runs/pictures", "pictures", "--out", "p.parquet", "--json", cwd=done[0]
    )
    assert json.loads(result.stdout) == {"out": "p.parquet", "rows": 65, "errors": 3}


def test_a_reader_that_leaves_is_no_error(
    done: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    command = f"{sys.executable} -m lorgnette predict runs/pictures pictures | head -1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=done[0],
        check=False,
    )  # fmt: skip
    assert result.stdout.startswith('"id"') or result.stdout.startswith("id")
    assert "Traceback" not in result.stderr
    assert "Error" not in result.stderr


def test_prepare_and_train(tmp_path: Path) -> None:
    folder_of(tmp_path / "pictures", 30)
    result = lorgnette("prepare", "pictures", "--out", "ds", "--size", "16", "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["counts"]["ok"] == 60
    result = lorgnette("train", "ds", *QUICK[2:], "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["run"] == str(tmp_path / "runs" / "ds")


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["run"], 2, "A source is needed"),
        (["run", "nowhere"], 1, "There is nothing at"),
        (["run", "empty"], 1, "holds no images"),
        (["run", "pictures", "--recipe", "defualt"], 2, "did you mean 'default'?"),
        (["run", "pictures", "--set", "train.epoch=1"], 2, "did you mean 'epochs'?"),
        (["run", "pictures", "--set", "train"], 2, "--set takes section.key=value"),
        (["run", "pictures", "--size", "big"], 2, "--size is an edge length"),
        (["run", "pictures", "--color", "blue"], 2, "'rgb' or 'gray'"),
        (["run", "pictures", "--label", "x"], 1, "describes a table"),
        (["run", "table.csv", "--label", "lable"], 1, "label"),
        (["runn", "pictures"], 2, "runn"),
        (["train", "pictures"], 1, "There is no prepared dataset"),
        (["evaluate", "pictures"], 1, "There is no run"),
        (["predict", "pictures", "x.png"], 1, "There is no run"),
        (["recipes", "nothing"], 2, "There is no recipe 'nothing'"),
        (["prepare", "pictures"], 2, "--out"),
    ],
)
def test_errors_are_one_sentence_without_a_traceback(
    tmp_path: Path, words: list[str], status: int, sentence: str
) -> None:
    folder_of(tmp_path / "pictures", 3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("path,label\npictures/a/0000.png,a\n")
    result = lorgnette(*words, cwd=tmp_path)
    assert result.returncode == status, result.stderr
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_ctrl_c_is_one_sentence_and_nothing_is_lost(tmp_path: Path) -> None:
    folder_of(tmp_path / "pictures", 300)
    command = [sys.executable, "-m", "lorgnette", "prepare", "pictures", "--out", "ds", "--size",
               "16", "--set", "prepare.shard_items=4"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and not list(tmp_path.glob("ds/shards/*.parquet")):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "Error: Interrupted; the same command continues where it stopped.\n"
    again = lorgnette(*command[3:], cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Continuing in ds" in again.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = lorgnette("run", "nowhere", "--debug", cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_recipes_are_listed_and_shown() -> None:
    assert "default" in lorgnette("recipes").stdout
    shown = lorgnette("recipes", "default").stdout
    assert "[train.optimizer]" in shown


COMMANDS = [
    "run", "demo", "prepare", "train", "evaluate", "predict", "recipes", "portraits", "fetch",
    "crossval", "inspect", "explain", "compare", "audit", "review", "decisions",
    "tune", "ensemble",
]  # fmt: skip


@pytest.mark.parametrize("words", [[], *([command] for command in COMMANDS)])
def test_help(words: list[str]) -> None:
    result = lorgnette(*words, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys, lorgnette.cli; assert 'torch' not in sys.modules and 'pyarrow' in sys.modules"
    )
    light = "import sys, lorgnette; assert 'pyarrow' not in sys.modules"
    for each in (code, light):
        subprocess.run([sys.executable, "-c", each], check=True)


def test_version() -> None:
    import lorgnette as package

    assert lorgnette("--version").stdout.strip() == package.__version__
