"""The verb, on vectors, where networks are regressions, and on images."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

import lorgnette
from lorgnette import pipeline, resolve
from lorgnette.audit import vectors
from lorgnette.audit.findings import settle_conflicts, undecidable
from lorgnette.audit.rounds import look, mended
from lorgnette.audit.sample import Round
from lorgnette.dataset.decisions import Wanted
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ConfigError, DatasetError, ModelError, SplitError
from lorgnette.predictions import Predictions
from lorgnette.rundir import Run
from lorgnette.serving.review import findings as reviewed
from lorgnette.storage import Storage
from pictures import folder_of

N, FEATURES = 600, 8
QUICK = ["audit.rounds=2", "audit.folds=2"]


def points(folder: Path, wrong: float = 0.1, name: str = "points.csv") -> np.ndarray:
    """A table of two clouds with labels of which some are wrong; returns which, (N,)."""
    rng = np.random.default_rng(0)
    truth = rng.random(N) < 0.5
    x = rng.normal(0, 1, (N, FEATURES)) + np.where(truth[:, None], 1.1, -1.1)
    flipped = rng.random(N) < wrong
    names = np.where(truth ^ flipped, "up", "down")
    columns: dict[str, Any] = {"id": [f"p{i}" for i in range(N)]}
    columns |= {f"v{k}": x[:, k] for k in range(FEATURES)}
    pc.write_csv(pa.table({**columns, "label": names}), folder / name)
    return flipped


def prepared(folder: Path, name: str = "points.csv") -> Dataset:
    source = lorgnette.SourceConfig(location=str(folder / name), features="v*")
    return lorgnette.prepare(source, folder / f"{Path(name).stem}-dataset")


def audited(dataset: Dataset, **more: Any) -> tuple[Run, dict[str, Any]]:
    return pipeline.audit(dataset.location, resolve.load(), **more)


@pytest.fixture
def case(tmp_path: Path) -> tuple[Dataset, np.ndarray]:
    wrong = points(tmp_path)
    return prepared(tmp_path), wrong


def test_wrong_labels_are_found_and_mended(case: tuple[Dataset, np.ndarray]) -> None:
    dataset, wrong = case
    run, facts = audited(dataset, rules=["suspicion >= 0.9"], who="ada")
    table = pq.read_table(run.root / "suspicion.parquet")
    assert table["id"].to_pylist() == [f"p{i}" for i in range(N)]
    suspicion = table["suspicion"].to_numpy()
    assert average_precision_score(wrong, suspicion) > 0.97
    rate = facts["noise"]["rate"]
    assert rate["low"] <= wrong.mean() <= rate["high"]
    assert rate["value"] == pytest.approx(wrong.mean(), abs=0.02)
    assert facts["applied"][0]["changed"] == (suspicion >= 0.9).sum() > 0.6 * wrong.sum()
    labels = Dataset.load(dataset.location).labels()
    given = dataset.labels("given")
    left = np.where(wrong, 1 - given, given) != labels
    assert left.mean() < 0.05 < wrong.mean()
    assert facts["held_out"] == (table["part"].to_numpy() == "test").sum() == 60
    assert (run.root / "report.html").is_file()
    page = (run.root / "report.html").read_text()
    assert "suspicion &gt;= 0.9" in page


def test_the_test_part_changes_nothing_elsewhere(tmp_path: Path) -> None:
    """Other labels there, other judgements there, the same ones everywhere else."""
    points(tmp_path)
    dataset = prepared(tmp_path)
    run, _ = audited(dataset)
    first = pq.read_table(run.root / "suspicion.parquet")
    test = first["part"].to_numpy() == "test"
    given = dataset.labels("given")
    other = np.where(test, 1 - given, given).astype(np.int32)
    mask = (given >= 0) & ~test
    config = resolve.load()
    views = [vectors.read(dataset, dataset)]
    found = [
        look(dataset, config, labels, mask, run.storage, None, network=False, views=views)  # type: ignore[arg-type]
        for labels in (given, other)
    ]
    np.testing.assert_array_equal(found[0].opinion, found[1].opinion)
    np.testing.assert_array_equal(found[0].posterior[~test], found[1].posterior[~test])
    assert not np.allclose(found[0].posterior[test], found[1].posterior[test])


def test_again_it_answers_at_once_and_rules_are_not_applied_twice(
    case: tuple[Dataset, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, _ = case
    _, first = audited(dataset, rules=["suspicion >= 0.9"])
    lines = (Path(dataset.location) / "decisions.jsonl").read_bytes()
    _, second = audited(dataset, rules=["suspicion >= 0.9"])
    assert (Path(dataset.location) / "decisions.jsonl").read_bytes() == lines
    assert second == first
    assert "was finished before" in capsys.readouterr().err


def test_what_persons_decide_is_learnt_and_known(case: tuple[Dataset, np.ndarray]) -> None:
    dataset, wrong = case
    run, first = audited(dataset)
    before = pq.read_table(run.root / "suspicion.parquet")
    right = ["down", "up"]
    given = dataset.labels("given")
    picked = np.argsort(-before["suspicion"].to_numpy())[:40]
    dataset.ledger.append(
        [
            Wanted(
                f"p{i}",
                "relabel" if wrong[i] else "confirm",
                right[1 - given[i] if wrong[i] else given[i]],
                "",
                "ada",
                "person",
            )
            for i in picked
        ]
    )
    run, second = audited(Dataset.load(dataset.location))
    table = pq.read_table(run.root / "suspicion.parquet")
    after, believed = table["suspicion"].to_numpy(), table["believed"].to_numpy()
    np.testing.assert_allclose(after[picked], wrong[picked].astype(float))
    assert second != first
    seen = [entry for entry in second["calibration"] if entry["observed"] is not None]
    assert sum(entry["looked"] for entry in seen) == 40
    # Verdicts are held against what the audit thought without them, not against themselves.
    np.testing.assert_array_equal(np.delete(believed, picked), np.delete(after, picked))
    assert ((believed > 0) & (believed < 1))[picked].all()
    for entry in second["calibration"]:
        inside = (believed >= entry["low"]) & (believed < entry["high"] + (entry["high"] == 1))
        assert entry["looked"] == inside[picked].sum()
    np.testing.assert_array_equal(reviewed.load(dataset).believed, believed)


def test_copies_with_different_labels_are_a_conflict(tmp_path: Path) -> None:
    points(tmp_path)
    table = pc.read_csv(tmp_path / "points.csv")
    sure = int(np.argmax(np.abs(np.stack([table[f"v{k}"] for k in range(FEATURES)]).sum(0))))
    row = table.slice(sure, 1).to_pylist()[0]
    flipped = "down" if row["label"] == "up" else "up"
    other = {**row, "id": "twin", "v0": row["v0"] + 1e-4, "label": flipped}  # not the same bytes
    both = pa.concat_tables([table, pa.Table.from_pylist([other], schema=table.schema)])
    pc.write_csv(both, tmp_path / "twins.csv")
    dataset = prepared(tmp_path, "twins.csv")
    run, facts = audited(dataset)
    found = {row["id"]: row for row in pq.read_table(run.root / "suspicion.parquet").to_pylist()}
    pair = [found[f"p{sure}"], found["twin"]]
    assert [each["kind"] for each in pair] == ["conflict", "conflict"]
    assert pair[0]["cluster"] == pair[1]["cluster"] is not None
    assert pair[0]["proposed"] == pair[1]["proposed"]
    assert facts["duplicates"]["conflicts"] == 1
    assert sorted(each["suspicion"] > 0.5 for each in pair) == [False, True]


def test_a_second_view_helps(tmp_path: Path) -> None:
    """Each table holds one of the numbers that tell the classes apart."""
    wrong = points(tmp_path, 0.15)
    table = pc.read_csv(tmp_path / "points.csv")
    for name, columns in (("left", (0,)), ("right", (1,))):
        part = table.select(["id", *(f"v{k}" for k in columns), "label"])
        pc.write_csv(part, tmp_path / f"{name}.csv")
    left, right = prepared(tmp_path, "left.csv"), prepared(tmp_path, "right.csv")

    def precision(**more: Any) -> float:
        run, _ = audited(left, overwrite=True, **more)
        suspicion = pq.read_table(run.root / "suspicion.parquet")["suspicion"].to_numpy()
        return float(average_precision_score(wrong, suspicion))

    assert precision(views=[right.location]) > precision() + 0.03


def test_predictions_of_others_are_judged(case: tuple[Dataset, np.ndarray]) -> None:
    dataset, wrong = case
    folder = Path(dataset.location).parent
    config = resolve.load(settings=["model.family=perceptron", "train.epochs=30"])
    pipeline.crossval(dataset.location, config, str(folder / "folds"), k=3)
    run, facts = audited(
        dataset,
        predictions=str(folder / "folds/predictions/out-of-fold.parquet"),
        out=str(folder / "audit"),
    )
    suspicion = pq.read_table(run.root / "suspicion.parquet")["suspicion"].to_numpy()
    assert average_precision_score(wrong, suspicion) > 0.9
    assert not (run.root / "rounds").exists()
    assert facts["rounds"][0]["folds"] == 0


def settle(dataset: Dataset, labels: dict[int, str]) -> Dataset:
    """A person says what some points are; the dataset, opened anew."""
    given, classes = dataset.labels("given"), dataset.info.classes
    dataset.ledger.append(
        [
            Wanted(
                f"p{i}",
                "confirm" if given[i] == classes.index(label) else "relabel",
                label,
                "",
                "ada",
                "person",
            )
            for i, label in labels.items()
        ]
    )
    return Dataset.load(dataset.location)


def test_what_persons_decide_is_known_with_predictions_of_others_too(
    case: tuple[Dataset, np.ndarray],
) -> None:
    dataset, _ = case
    given = dataset.labels("given")
    p = np.random.default_rng(3).dirichlet((1, 1), N)
    p[np.arange(N), given] += 1
    place = Storage.at(Path(dataset.location).parent)
    ids = np.array([f"p{i}" for i in range(N)], object)
    found = Predictions(ids, (p / 2).astype(np.float32), dataset.info.classes, given)
    found.save(place, "other.parquet")

    def suspicion() -> tuple[np.ndarray, np.ndarray]:
        run, _ = audited(dataset, predictions=place.locate("other.parquet"))
        table = pq.read_table(run.root / "suspicion.parquet")
        return table["suspicion"].to_numpy(), table["believed"].to_numpy()

    before, _ = suspicion()
    doubted = int(np.argmax(before))
    settle(dataset, {doubted: dataset.info.classes[given[doubted]]})
    after, believed = suspicion()
    assert after[doubted] == 0 < before[doubted] == believed[doubted]
    np.testing.assert_array_equal(np.delete(after, doubted), np.delete(before, doubted))


@pytest.mark.parametrize("held_out", [True, False])
def test_labels_that_only_persons_gave_are_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_out: bool
) -> None:
    """Unless the item belongs to one of the test part, and this is kept apart."""
    points(tmp_path)
    table = pc.read_csv(tmp_path / "points.csv")
    labels = table["label"].to_pylist()
    labels[500:] = [None] * 100
    # Each of these is of one group with a labelled one; the rest are by themselves.
    groups = [f"g{i - 300 if i >= 500 else i}" for i in range(N)]
    split: list[str | None] = ["train"] * N
    split[0:500:4], split[1:500:4], split[599] = ["test"] * 125, [None] * 125, "test"
    more = {**dict(zip(table.column_names, table.columns, strict=True)), "label": labels}
    pc.write_csv(pa.table({**more, "group": groups, "split": split}), tmp_path / "some.csv")
    source = lorgnette.SourceConfig(
        location=str(tmp_path / "some.csv"), features="v*", group="group", split="split"
    )
    dataset = lorgnette.prepare(source, tmp_path / "some-dataset")
    dataset = settle(dataset, dict.fromkeys((500, 501, 502, 599), "up"))
    learnt: list[Round] = []
    judge = vectors.judge

    def spy(items: Dataset, x: np.ndarray, plan: Round, seed: int) -> np.ndarray:
        learnt.append(plan)
        return judge(items, x, plan, seed)

    monkeypatch.setattr(vectors, "judge", spy)
    config = resolve.load(settings=[*QUICK, f"audit.hold_out={str(held_out).lower()}"])
    run, facts = pipeline.audit(dataset.location, config)
    parts = pq.read_table(run.root / "suspicion.parquet")["part"].to_pylist()
    assert parts[200] == "test"
    assert parts[500] is None
    apart = [500, 599] if held_out else []
    for plan in learnt:
        chosen = [i for i in (500, 501, 502, 599) if i not in apart]
        assert (plan.labels[chosen] == dataset.info.classes.index("up")).all()
        assert not plan.pool[[*apart, *range(503, 599)]].any()
    assert facts["unlabelled"] == 100
    assert facts["held_out"] == (parts.count("test") if held_out else 0)


def test_a_rare_class_does_not_vanish(tmp_path: Path) -> None:
    """Of six in a hundred that nothing tells apart, every network contradicts all labels."""
    rng = np.random.default_rng(1)
    names = np.where(rng.random(400) < 0.06, "rare", "usual")
    columns: dict[str, Any] = {"id": [f"p{i}" for i in range(400)]}
    columns |= {f"v{k}": rng.normal(0, 1, 400) for k in range(5)}
    pc.write_csv(pa.table({**columns, "label": names}), tmp_path / "rare.csv")
    run, facts = pipeline.audit(
        prepared(tmp_path, "rare.csv").location, resolve.load(settings=QUICK)
    )
    assert (run.root / "report.html").is_file()
    assert len(facts["rounds"]) == 2


def test_mended_labels_hold_every_class() -> None:
    given = np.array([0, 0, 0, 1, 1, 2, -1], np.int32)
    opinion = np.full((7, 3), 0.02)
    opinion[:, 0] = 0.96
    pool = np.array([True] * 5 + [False, True])
    np.testing.assert_array_equal(mended(opinion, given, pool), [0, 0, 0, 1, 1, -1, -1])
    opinion[3] = [0.02, 0.96, 0.02]  # one is left
    np.testing.assert_array_equal(mended(opinion, given, pool), [0, 0, 0, 1, 0, -1, -1])


@pytest.mark.parametrize("left", [1, -1])
def test_of_a_single_class_nothing_is_fitted(case: tuple[Dataset, np.ndarray], left: int) -> None:
    dataset, _ = case
    plan = Round(0, 2, 1, np.ones(N, bool), np.full(N, left, np.int32))
    opinion = vectors.judge(dataset, vectors.read(dataset, dataset), plan, 0)
    np.testing.assert_allclose(opinion, [[0, 1] if left == 1 else [0.5, 0.5]] * N, atol=1e-6)


def test_a_dataset_that_was_prepared_anew_is_audited_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points(tmp_path)
    dataset = prepared(tmp_path)
    run, first = pipeline.audit(dataset.location, resolve.load(settings=QUICK))
    noted = run.read("run.json")
    noted.pop("source_digest", None)  # as audits of before left it
    run.write("run.json", noted)
    _, same = pipeline.audit(dataset.location, resolve.load(settings=QUICK))
    assert same == first
    assert "was finished before" in capsys.readouterr().err
    points(tmp_path, 0.2)
    source = lorgnette.SourceConfig(location=str(tmp_path / "points.csv"), features="v*")
    dataset = lorgnette.prepare(source, dataset.location, overwrite=True)
    with pytest.raises(DatasetError, match="judges other labels"):
        reviewed.load(dataset)
    _, second = pipeline.audit(dataset.location, resolve.load(settings=["audit.folds=2"]))
    said = capsys.readouterr().err
    assert "prepared anew since this audit began: it begins again" in said
    assert "Decisions have been made" not in said
    assert second["noise"]["rate"]["value"] > first["noise"]["rate"]["value"] + 0.05
    assert reviewed.load(dataset).audited
    pipeline.audit(dataset.location, resolve.load(settings=["audit.folds=2"]))
    assert "was finished before" in capsys.readouterr().err


def test_run_leaves_an_audit_with_other_settings_alone(
    case: tuple[Dataset, np.ndarray], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    dataset, _ = case
    monkeypatch.setattr(pipeline, "learn", lambda *_: {})
    own, _ = pipeline.audit(dataset.location, resolve.load(settings=QUICK))
    before = (own.root / "audit.json").read_bytes()
    source = {"source.location": dataset.info.source.location, "source.features": "v*"}

    def place(name: str, settings: list[str], **more: Any) -> str:
        config = resolve.load(settings=settings, overrides=source)
        out = str(Path(dataset.location).parent / name)
        run = pipeline.run(config, out, dataset=dataset.location, audited=True, rules=(), **more)
        return run.locate(run.read("run.json")["audit"])

    assert place("same", QUICK) == str(own.root)
    assert "other settings" not in capsys.readouterr().err
    other = ["audit.rounds=2", "audit.folds=3"]
    inside = str(Path(dataset.location).parent / "other" / "audit")
    assert place("other", other) == inside
    assert f"holds an audit with other settings, which stays: this one goes to {inside}." in (
        capsys.readouterr().err
    )
    assert place("other", other) == inside
    assert "was finished before" in capsys.readouterr().err
    assert place("other", other, overwrite=True) == inside
    assert (own.root / "audit.json").read_bytes() == before


def test_what_cannot_be_audited_is_refused(tmp_path: Path) -> None:
    points(tmp_path)
    dataset = prepared(tmp_path)
    with pytest.raises(ConfigError, match="suspicion"):
        audited(dataset, rules=["suspicio >= 0.9"])
    with pytest.raises(ConfigError, match="'given' is never 'upp': did you mean 'up'"):
        audited(dataset, rules=["given == 'upp'"])
    assert not (Path(dataset.location) / "audit").exists()  # before anything is trained
    table = pc.read_csv(tmp_path / "points.csv")
    one = table.set_column(table.num_columns - 1, "label", pa.array(["up"] * N))
    pc.write_csv(one, tmp_path / "one.csv")
    with pytest.raises(SplitError, match=r"at least two classes.*has 1"):
        audited(prepared(tmp_path, "one.csv"))
    pc.write_csv(table.slice(0, 300), tmp_path / "half.csv")
    with pytest.raises(DatasetError, match=r"lacks 300 of .*'p300' for one"):
        audited(dataset, views=[prepared(tmp_path, "half.csv").location], out=str(tmp_path / "a"))
    (tmp_path / "run").mkdir()
    Run(tmp_path / "run").begin(resolve.load(), dataset.location)
    with pytest.raises(ModelError, match="no audit"):
        audited(dataset, out=str(tmp_path / "run"))
    audited(dataset)
    with pytest.raises(ModelError, match="other views"):
        audited(dataset, views=[dataset.location])


def test_conflicting_copies_share_a_verdict() -> None:
    posterior = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    given = np.array([0, 0, 1], np.int32)
    settled = settle_conflicts(posterior, given, [np.array([0, 2])])
    np.testing.assert_allclose(settled[0], settled[2])
    np.testing.assert_allclose(settled[1], posterior[1])
    assert settled[0, 0] > 0.5  # 9 to 1 outweighs 1 to 4


def test_torn_items_score_high() -> None:
    scores = undecidable(np.array([[0.5, 0.5, 0.0], [0.98, 0.01, 0.01], [0.4, 0.35, 0.25]]))
    assert scores[0] == 1
    assert scores[1] < 0.05
    assert scores[2] > 0.9


SETTINGS = ["--set", "audit.epochs=2", "--set", "audit.folds=2", "--set", "audit.rounds=2", "--set",
            "model.widths=[8,16]", "--set", "model.blocks=0", "--seed", "3"]  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    lorgnette.prepare(
        folder_of(folder / "source", 40),
        folder / "dataset",
        resolve.load(overrides={"prepare.size": (16,)}).prepare,
    )
    return folder


def command(images: Path, out: str) -> list[str]:
    return [sys.executable, "-m", "lorgnette", "audit", str(images / "dataset"), *SETTINGS,
            "--out", str(images / out), "--json"]  # fmt: skip


@pytest.mark.slow
def test_killed_it_continues_and_ends_as_if_undisturbed(images: Path) -> None:
    done = subprocess.run(
        command(images, "undisturbed"), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["rounds"][1]["folds"] == 2
    process = subprocess.Popen(
        command(images, "killed"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 100
    while not list((images / "killed").glob("rounds/0/*.npy")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    again = subprocess.run(
        command(images, "killed"), capture_output=True, text=True, check=False, timeout=120
    )
    assert again.returncode == 0, again.stderr
    one, two = (
        pq.read_table(images / out / "suspicion.parquet") for out in ("undisturbed", "killed")
    )
    assert one.equals(two)
    assert json.loads(again.stdout.splitlines()[-1])["noise"] == facts["noise"]


@pytest.mark.slow
def test_run_with_an_audit_trains_before_and_after(images: Path) -> None:
    out = images / "run"
    done = subprocess.run(
        [sys.executable, "-m", "lorgnette", "run", str(images / "source"), "--size", "16",
         "--epochs", "2", *SETTINGS, "--audit", "--apply", "suspicion >= 0.2", "--out", str(out)],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, after = Run.load(out / "before"), Run.load(out)
    assert before.config.train.labels == "given"
    assert after.config.train.labels == "decided"
    assert before.read("evaluation.json")["test"]["labels"] == "given"
    assert "before" in after.read("run.json")["timings"]
    assert Path(after.locate(after.read("run.json")["audit"])).is_dir()
    assert "What the audit changed" in (out / "report.html").read_text()
