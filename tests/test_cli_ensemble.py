import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lorgnette.cli.ensemble
from ensemble_runs import CNN, pictures, trained, vectors
from lorgnette import api
from lorgnette.cli import app
from lorgnette.cli.app import main
from lorgnette.errors import ModelError
from lorgnette.report.compare import examine
from lorgnette.report.explain import explain
from lorgnette.report.inspect import inspect

assert lorgnette.cli.ensemble  # registers the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs on one dataset, and a study that has kept two of them."""
    folder = tmp_path_factory.mktemp("ensembles")
    data = pictures(folder, each=40, size=(16,), strength=14)
    for n, each in enumerate((CNN, [], ["model.units=[3]"], CNN)):
        trained(data, folder / f"run-{n}", *each, f"train.epochs={n + 2}")
    study = folder / "study"
    for n in (1, 2):
        place = study / "trials" / f"000{n}" / "0"
        place.parent.mkdir(parents=True)
        place.symlink_to(folder / f"run-{n}")
    trials = [{"number": n, "run": f"trials/000{n}/0", "value": 0.9} for n in (1, 2)]
    (study / "kept.json").write_text(json.dumps({"trials": trials}))
    return folder


def lorgnette_(*words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Status, standard output and standard error of a command, in a folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "120")
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.stdout, result.stderr


def test_an_ensemble_is_made_shown_and_continued(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["ensemble", "run-0", "run-1", "run-2", "--out", "out"]
    status, out, error = lorgnette_(*words, folder=folder, monkeypatch=monkeypatch)
    assert status == 0, error
    assert "together" in out
    assert "two members agree on" in out
    assert (folder / "out/report.html").is_file()
    status, out, error = lorgnette_(*words, "--json", folder=folder, monkeypatch=monkeypatch)
    assert "finished before" in error
    facts = json.loads(out.splitlines()[-1])
    assert facts["run"] == str(folder / "out")
    assert len(facts["members"]) == 3
    assert facts["test"]["ensemble"]["accuracy"]["n"] == 20
    status, out, _ = lorgnette_("evaluate", "out", folder=folder, monkeypatch=monkeypatch)
    assert status == 0
    assert "test (n = 20)" in out


def test_a_study_and_the_ways_to_choose(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*words: str) -> dict[str, object]:
        status, out, error = lorgnette_(
            "ensemble", *words, "--json", folder=folder, monkeypatch=monkeypatch
        )
        assert status == 0, error
        found: dict[str, object] = json.loads(out.splitlines()[-1])
        return found

    found = made("study")
    assert found["run"] == str(folder / "runs" / "study-ensemble")
    assert (found["combine"], found["select"]) == ("average", "all")
    found = made("run-0", "run-1", "run-2", "--best", "2", "--out", "best", "--combine", "vote")
    assert (found["select"], found["best"]) == ("best", 2)
    assert len(found["left_out"]) == 1  # type: ignore[arg-type]
    again = made("run-0", "run-1", "--out", "best", "--overwrite", "--select", "greedy")
    assert again["select"] == "greedy"
    soup = made("run-0", "run-3", "--combine", "soup", "--out", "soup")
    assert len(soup["path"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["run-0", "nothing"], 1, "There is no run in nothing"),
        (["run-0", "run-0"], 2, "is named twice"),
        (["run-0", "run-1", "--out", "run-1"], 2, "holds one of its members"),
        (["run-0", "run-1", "--out", "run-1", "--overwrite"], 2, "holds one of its members"),
        (["run-0", "run-1", "--out", "run-2"], 1, "holds a run that is no ensemble"),
        (["study", "--out", "study"], 2, "holds a study"),
        (["study", "--combine", "median"], 2, "--combine is average, vote or soup"),
        (["study", "--select", "good"], 2, "--select is all, best or greedy"),
        (["study", "--above", "0.999"], 2, "give a lower --above"),
        (["study", "--above", "89"], 2, "an accuracy from 0 to 1"),
        (["study", "--best", "2", "--select", "greedy"], 2, "--best goes with --select best"),
        (["run-0", "run-1", "--combine", "soup"], 1, "A soup is the mean of weights"),
    ],
)
def test_errors_are_one_sentence(
    folder: Path,
    words: list[str],
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    out = [] if "--out" in words else ["--out", "refused"]
    monkeypatch.setattr("sys.argv", ["lorgnette", "ensemble", *words, *out])
    with pytest.raises(SystemExit) as ended:
        main()
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == status, said
    assert sentence in said
    assert said.startswith("Error: ")
    assert (folder / "run-1/model.json").is_file()


def test_predict(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = api.ensemble([folder / "run-0", folder / "run-1"], folder / "predicts")
    names = [str(folder / "source/a/0000.png"), str(folder / "source/b/0000.png")]
    words = ["predict", "predicts", *names, "--out", "p.csv"]
    status, _, error = lorgnette_(*words, folder=folder, monkeypatch=monkeypatch)
    assert status == 0, error
    rows = list(csv.DictReader(io.StringIO((folder / "p.csv").read_text())))
    assert [row["id"] for row in rows] == names
    assert all(float(row["p_a"]) + float(row["p_b"]) == pytest.approx(1) for row in rows)
    assert run.is_trained


def test_an_ensemble_is_compared(folder: Path) -> None:
    run = api.ensemble([folder / "run-1", folder / "run-2"], folder / "compared", combine="vote")
    soup = api.ensemble([folder / "run-0", folder / "run-3"], folder / "cooked", combine="soup")
    facts = examine([str(run.root), str(folder / "run-1"), str(soup.root)])
    assert [each.family for each in facts.runs] == ["ensemble", "mlp", "cnn"]
    assert facts.runs[0].recipe == "vote of 2"
    assert facts.runs[2].recipe.startswith("soup of ")
    assert len(facts.pairs) == 3
    assert {row.name for row in facts.differences} >= {"ensemble.combine", "ensemble.runs"}
    # What the best member was trained with is no setting of the ensemble.
    assert not [row for row in facts.differences if row.name == "train.epochs"]


def test_what_looks_into_one_network_refuses_several(folder: Path, tmp_path: Path) -> None:
    run = api.ensemble([folder / "run-0", folder / "run-1"], tmp_path / "out")
    with pytest.raises(ModelError, match="holds an ensemble: explain one of its members"):
        explain(str(run.root))
    with pytest.raises(ModelError, match="an ensemble has several: name one of its members"):
        inspect(run.dataset(), str(tmp_path / "look"), run=str(run.root))


def test_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = vectors(tmp_path)
    for n in (0, 1):
        trained(data, tmp_path / f"run-{n}", f"train.epochs={n + 1}")
    words = ["ensemble", "run-0", "run-1", "--out", "out", "--json"]
    status, out, error = lorgnette_(*words, folder=tmp_path, monkeypatch=monkeypatch)
    assert status == 0, error
    assert json.loads(out.splitlines()[-1])["size"] == 0
    words = ["predict", "out", "points.csv", "--out", "p.csv"]
    status, _, error = lorgnette_(*words, folder=tmp_path, monkeypatch=monkeypatch)
    assert status == 0, error
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 121
