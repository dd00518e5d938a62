import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from test_cli import QUICK, lorgnette


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A glasses set of 60, a tenth of it without labels."""
    out = tmp_path_factory.mktemp("supply") / "set"
    result = lorgnette("portraits", out, "--n", 60, "--size", 32, "--label-noise", 0.2, "--json")
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout.splitlines()[-1])
    truth = pq.read_table(out / "truth.parquet").to_pylist()
    labelled = [row for row in truth if row["given"]]
    assert facts["portraits"] == facts["files"] == len(truth) == 60
    assert sum(facts["given"].values()) == len(labelled) == 54
    wrong = [row for row in labelled if row["true"] and row["true"] != row["given"]]
    assert facts["wrong"] == len(wrong) > 2
    return out


def test_started_again_it_says_so(portraits: Path) -> None:
    words = ("portraits", portraits, "--n", 60, "--size", 32, "--label-noise", 0.2)
    result = lorgnette(*words)
    assert result.returncode == 0
    assert "already holds all 60 images" in result.stderr
    assert "60 of them there before" in result.stderr
    other = lorgnette(*words, "--seed", 1)
    assert other.returncode == 1
    assert "seed (0 before, 1 now)" in other.stderr


@pytest.mark.parametrize("source", [[], ["--source", "kaggle"], ["--kind", "kaggle"]])
def test_the_set_is_prepared_with_and_without_corrections(
    portraits: Path, tmp_path: Path, source: list[str]
) -> None:
    table = portraits / "corrections.csv"
    ids, labels = zip(*(row.split(",") for row in table.read_text().split()[1:]), strict=True)
    torn = tmp_path / "torn.csv"  # one more that nobody can tell
    changed = ["", *labels[1:]]
    torn.write_text(
        "id,glasses\n" + "".join(f"{a},{b}\n" for a, b in zip(ids, changed, strict=True))
    )
    given = lorgnette(
        "prepare", portraits, *source, "--out", tmp_path / "given", "--size", 16, "--json"
    )
    facts = json.loads(given.stdout.splitlines()[-1])
    assert facts["unlabelled"] == 6
    assert facts["excluded"] == {}
    true = lorgnette(
        "prepare", portraits, *source, "--out", tmp_path / "true", "--size", 16,
        "--corrections", torn, "--json",
    )  # fmt: skip
    facts = json.loads(true.stdout.splitlines()[-1])
    assert facts["unlabelled"] == 0
    assert facts["excluded"] == {"undecidable": changed.count("")}
    assert facts["labels"] == {
        "glasses": changed.count("1"), "no_glasses": changed.count("0")
    }  # fmt: skip


def test_the_demo_draws_and_runs_and_continues(tmp_path: Path) -> None:
    words = ("demo", "--out", "demo", "--n", 120, "--json")
    first = lorgnette(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    facts = json.loads(first.stdout.splitlines()[-1])
    assert facts["test"]["accuracy"]["n"] in (10, 11, 12)  # a tenth of the labelled
    report = (tmp_path / "demo/run/report.html").read_text()
    assert "12 images without a label" in report
    again = lorgnette(*words, cwd=tmp_path)
    assert json.loads(again.stdout.splitlines()[-1])["test"] == facts["test"]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["portraits", "out", "--layout", "comic"], 2, "did you mean 'comics'"),
        (["portraits", "out", "--label-noise", "0.7"], 2, "below 0.45, got 0.7"),
        (["portraits", "out", "--n", "0"], 2, "at least 1, got 0"),
        (["portraits", "out", "--noise-kind", "pictures"], 2, "did you mean 'picture'"),
        (["fetch", "glases", "out"], 2, "did you mean 'glasses'"),
        (["run", "set", "--source", "kagle"], 2, "'table' or 'kaggle', got 'kagle'"),
    ],
)
def test_wrong_words(words: list[str], status: int, sentence: str, tmp_path: Path) -> None:
    result = lorgnette(*words, cwd=tmp_path)
    assert result.returncode == status
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_corrections_are_refused_elsewhere(tmp_path: Path, portraits: Path) -> None:
    result = lorgnette(
        "run", portraits / "faces-spring-2020", "--source", "folder", *QUICK,
        "--corrections", "c.csv", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert "--corrections go over the labels of the published glasses set" in result.stderr


def test_unfinished_portraits_are_no_source(portraits: Path, tmp_path: Path) -> None:
    shutil.copytree(portraits, tmp_path / "set")
    plan = tmp_path / "set/portraits.json"
    plan.write_text(plan.read_text().replace('"complete": true', '"complete": false'))
    result = lorgnette("prepare", tmp_path / "set", "--out", tmp_path / "data")
    assert result.returncode == 1
    assert "are not complete: start the `lorgnette portraits`" in result.stderr
