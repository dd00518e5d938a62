"""Ensembles of runs: chosen by validation, judged once, refused where they would lie."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from ensemble_runs import CNN, pictures, trained, vectors
from lorgnette import api
from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.store import Dataset
from lorgnette.devices import choose
from lorgnette.errors import ConfigError, ModelError
from lorgnette.evaluation import ensembles, members, selection, soup
from lorgnette.evaluation.agreement import agreement, mean_accuracy
from lorgnette.evaluation.ensembles import RESULT, clear, ensemble, runs_of
from lorgnette.evaluation.evaluate import evaluate
from lorgnette.evaluation.selection import Score
from lorgnette.model import Model
from lorgnette.predictions import Predictions
from lorgnette.rundir import Run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """80 pictures of 8 and of 4 pixels, half of each class."""
    return pictures(tmp_path_factory.mktemp("ensembles"), size=(8, 4))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data: Dataset) -> list[Run]:
    """Five runs, which nobody changes."""
    root = tmp_path_factory.mktemp("runs")
    settings = [
        ("train.epochs=3",), (), ("model.units=[3]",), ("model.norm=batch",),
        ("model.family=perceptron",),
    ]  # fmt: skip
    return [
        trained(data, root / f"run-{n}", f"train.optimizer.lr=0.0{n + 1}", *each)
        for n, each in enumerate(settings)
    ]


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory, data: Dataset) -> list[Run]:
    """Runs of one architecture, with norms, from one beginning."""
    root = tmp_path_factory.mktemp("alike")
    return [
        trained(data, root / f"run-{n}", *CNN, f"train.optimizer.lr=0.0{n + 1}") for n in range(3)
    ]


def answers(runs: Sequence[Run], part: str) -> np.ndarray[Any, Any]:
    return np.stack(
        [Predictions.load(run.storage, f"predictions/{part}.parquet").probabilities for run in runs]
    )


def without_clock(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "seconds"}


# Choosing


def p_of(*rows: Sequence[float]) -> np.ndarray[Any, Any]:
    """Probabilities (M, N, 2) from those of the second class."""
    second = np.array(rows, np.float32)
    return np.stack([1 - second, second], axis=2)


def test_scores_rank_by_accuracy_then_by_loss_then_by_place() -> None:
    y = np.array([0, 0, 1, 1], np.int32)
    p = p_of([0.4, 0.4, 0.6, 0.4], [0.1, 0.1, 0.9, 0.1], [0.4, 0.4, 0.6, 0.6], [0.1, 0.1, 0.9, 0.1])
    scores = [selection.score(torch.from_numpy(each), torch.from_numpy(y).long()) for each in p]
    assert [each.accuracy for each in scores] == [0.75, 0.75, 1.0, 0.75]
    assert scores[0].loss == pytest.approx(-(3 * np.log(0.6) + np.log(0.4)) / 4)
    # The second is surer than the first, and wrong more expensively.
    assert selection.rank(scores) == [2, 0, 1, 3]


def test_the_best_and_those_above() -> None:
    y = np.array([0, 0, 1, 1], np.int32)
    p = p_of([0.9] * 4, [0.1, 0.1, 0.9, 0.9], [0.1, 0.1, 0.9, 0.1], [0.1, 0.9, 0.9, 0.9])

    def weights(select: Any, **more: Any) -> tuple[int, ...]:
        return selection.choose(p, y, "average", select, **more).weights

    assert weights("all") == (1, 1, 1, 1)
    assert weights("best", best=1) == (0, 1, 0, 0)
    assert weights("best", best=9) == (1, 1, 1, 1)
    assert weights("all", above=0.5) == (0, 1, 1, 1)
    assert weights("all", above=0.75) == (0, 1, 0, 0)  # above means above
    assert weights("best", best=2, above=0.5) == (0, 1, 0, 1)
    with pytest.raises(ConfigError, match=r"above 1.*the best of 4 has 1\.0000.*lower --above"):
        weights("all", above=1.0)


def test_greedy_selection_takes_what_completes_the_best() -> None:
    y = np.array([0, 0, 0, 1, 1, 1], np.int32)
    p = p_of(
        [0.1, 0.1, 0.1, 0.9, 0.9, 0.45],  # wrong about the last, and not sure of it
        [0.4, 0.4, 0.4, 0.6, 0.45, 0.9],  # knows the last
        [0.9, 0.9, 0.9, 0.1, 0.1, 0.1],  # always wrong
    )
    choice = selection.choose(p, y, "average", "greedy")
    assert choice.path[0].place == 0  # the best alone
    assert choice.path[1].place == 1
    assert choice.path[1].score.accuracy == 1.0
    assert choice.weights[2] == 0
    assert len(choice.path) == selection.STEPS
    counted = [step for step in choice.path if step.counts]
    assert sum(choice.weights) == len(counted)
    assert choice.path[: len(counted)] == tuple(counted)
    best = max(step.score for step in choice.path)
    assert counted[-1].score == best
    assert selection.Choice.parse(json.loads(json.dumps(choice.dump()))) == choice


def test_greedy_selection_lets_a_good_one_count_more() -> None:
    y = np.array([0, 1, 1], np.int32)
    # One of each is wrong about the first item: (0.55, 0.9, 0.675). Two to one: (0.433, 0.9, 0.6).
    p = p_of([0.2, 0.9, 0.45], [0.9, 0.9, 0.9])
    found = selection.choose(p, y, "average", "greedy")
    assert found.weights[0] > found.weights[1] > 0
    assert found.path[sum(found.weights) - 1].score.accuracy == 1.0
    assert found.path[1].score.accuracy < 1.0


def test_greedy_votes_are_counted_as_votes() -> None:
    y = np.array([0, 0, 1, 1, 1], np.int32)
    p = p_of(
        [0.1, 0.9, 0.9, 0.9, 0.2],
        [0.45, 0.2, 0.1, 0.9, 0.6],
        [0.4, 0.4, 0.6, 0.1, 0.6],
    )
    choice = selection.choose(p, y, "vote", "greedy")
    weights = np.array(choice.weights)
    votes = np.zeros((5, 2))
    for member, weight in zip(p, weights, strict=True):
        votes[np.arange(5), member.argmax(1)] += weight
    mean = (weights[:, None, None] * p).sum(0)
    won = np.where(votes[:, 0] == votes[:, 1], mean.argmax(1), votes.argmax(1))
    assert choice.path[int(weights.sum()) - 1].score.accuracy == (won == y).mean() == 1.0


# Agreement


def test_agreement_by_hand() -> None:
    codes = np.array([[0, 1, 1, 0, 2], [0, 1, 0, 0, 1], [0, 0, 1, 0, 2]])
    labels = np.array([0, 1, 1, 1, 0])
    together = np.array([0, 1, 1, 0, 2])
    found = agreement(codes, together, labels)
    assert found["pairwise"] == pytest.approx((0.6 + 0.8 + 0.4) / 3)
    assert found["matrix"][0] == pytest.approx([1.0, 0.6, 0.8])
    assert found["unanimous"]["value"] == pytest.approx(2 / 5)
    half = found["right_unanimous"]  # one of two, with Wilson's interval
    assert (half["value"], half["n"]) == (0.5, 2)
    assert (half["low"], half["high"]) == pytest.approx((0.0945, 0.9055), abs=1e-3)
    assert found["right_divided"]["value"] == pytest.approx(2 / 3)
    assert found["reachable"]["value"] == pytest.approx(3 / 5)
    mean = mean_accuracy(codes, labels, None, 0.95)
    assert mean["value"] == pytest.approx(np.mean([3 / 5, 2 / 5, 2 / 5]))
    assert mean["low"] < mean["value"] < mean["high"]


def test_agreement_of_one_and_of_nothing() -> None:
    alone = agreement(np.array([[0, 1]]), np.array([0, 1]), np.array([0, 0]))
    assert alone["pairwise"] is None
    assert alone["unanimous"]["value"] == 1.0
    assert alone["right_divided"] == {"value": None, "low": None, "high": None, "n": 0}
    empty = np.empty(0, np.int64)
    nothing = agreement(np.empty((3, 0), np.int64), empty, empty)
    assert nothing["pairwise"] is None
    assert nothing["unanimous"]["n"] == 0
    assert mean_accuracy(np.empty((3, 0), np.int64), empty, None, 0.95)["value"] is None


def test_groups_widen_the_intervals_of_agreement() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 20)
    codes = np.repeat(rng.integers(0, 2, (3, 10)), 20, axis=1)
    labels = np.zeros(200, np.int64)
    alone = agreement(codes, codes[0], labels)["unanimous"]
    grouped = agreement(codes, codes[0], labels, groups)["unanimous"]
    assert grouped["value"] == alone["value"]
    assert grouped["high"] - grouped["low"] > 2 * (alone["high"] - alone["low"])


# The verb


@pytest.mark.parametrize("how", ["average", "vote"])
def test_it_is_what_its_members_say_together(made: list[Run], tmp_path: Path, how: Any) -> None:
    found = ensemble(made, Run(tmp_path / "out"), combine=how)
    assert len(found["members"]) == 5
    assert found["left_out"] == []
    accuracies = [each["validation"]["accuracy"]["value"] for each in found["members"]]
    assert accuracies == sorted(accuracies, reverse=True)
    for part in ("validation", "test"):
        p = answers(made, part)
        own = Predictions.load(Run.load(tmp_path / "out").storage, f"predictions/{part}.parquet")
        first = Predictions.load(made[0].storage, f"predictions/{part}.parquet")
        np.testing.assert_array_equal(own.ids, first.ids)
        np.testing.assert_array_equal(own.labels, first.labels)
        if how == "average":
            np.testing.assert_allclose(own.probabilities, p.mean(0), atol=1e-5)
        else:
            votes = (p.argmax(2)[..., None] == np.arange(2)).mean(0)  # five votes: no tie
            np.testing.assert_allclose(own.probabilities, votes, atol=1e-5)
        right = (p.argmax(2) == first.labels).mean()
        assert found[part]["mean"]["accuracy"]["value"] == pytest.approx(right)
        assert found[part]["best"] == found["members"][0][part]
    figures = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert figures["test"]["accuracy"] == found["test"]["ensemble"]["accuracy"]
    apart = found["test"]["difference"]
    gain = (
        found["test"]["ensemble"]["accuracy"]["value"] - found["test"]["best"]["accuracy"]["value"]
    )
    assert apart["difference"] == pytest.approx(gain)


def test_the_run_is_a_run(made: list[Run], data: Dataset, tmp_path: Path) -> None:
    found = ensemble(made, Run(tmp_path / "out"), select="best", best=2)
    run = Run.load(tmp_path / "out")
    assert run.is_trained
    assert [each["weight"] for each in found["members"]] == [1, 1]
    assert len(found["left_out"]) == 3
    assert all("test" not in each for each in found["left_out"])
    best = Path(tmp_path / "out" / found["members"][0]["run"]).resolve()
    assert run.config == Run.load(best).config
    one, other = (pq.read_table(each / "split.parquet") for each in (run.root, best))
    assert one.equals(other)
    assert run.dataset().location == data.location
    # A run like any other: its figures, its predictions, and its model on other data.
    assert api.evaluate(run)["test"]["accuracy"] == found["test"]["ensemble"]["accuracy"]
    copies = pictures(tmp_path / "copies", each=40, size=(8,))
    (judged,) = api.evaluate(run, copies.location).values()
    assert (judged["n"], judged["seen"]) == (20, 60)  # its own test part is new to it
    (table,) = api.predict(run, [data.info.source.location], workers=1)
    assert table.num_rows == 80
    own = Predictions.load(run.storage, "predictions/test.parquet")
    told = dict(zip(table["id"].to_pylist(), table["p_b"].to_pylist(), strict=True))
    np.testing.assert_allclose([told[id_] for id_ in own.ids], own.probabilities[:, 1], atol=1e-5)


def test_three_classes_and_vectors_with_holes(tmp_path: Path) -> None:
    several = pictures(tmp_path / "three", ("a", "b", "c"), each=30)
    points = vectors(tmp_path / "points", holes=True)
    for dataset, more in ((several, CNN), (points, [])):
        root = Path(dataset.location).parent
        runs = [trained(dataset, root / f"run-{n}", *more, f"train.epochs={n + 1}") for n in (0, 1)]
        for how in ("average", "vote"):
            run = Run(root / how)
            found = ensemble(runs, run, combine=how)
            assert found["classes"] == list(dataset.info.classes)
            own = Predictions.load(run.storage, "predictions/test.parquet").probabilities
            assert np.isfinite(own).all()
            if how == "average":
                np.testing.assert_allclose(own, answers(runs, "test").mean(0), atol=1e-5)
    table = str(points.info.source.location)
    (predicted,) = api.predict(Run.load(tmp_path / "points/average"), [table], workers=1)
    assert predicted["error"].null_count == 120  # no number is missing: the mean stands in
    p = Predictions.load(Run.load(tmp_path / "points/average").storage, "predictions/test.parquet")
    told = dict(zip(predicted["id"].to_pylist(), predicted["p_low"].to_pylist(), strict=True))
    np.testing.assert_allclose([told[id_] for id_ in p.ids], p.probabilities[:, 1], atol=1e-5)


def test_members_of_different_sizes(made: list[Run], data: Dataset, tmp_path: Path) -> None:
    small = trained(data, tmp_path / "small", "train.size=4")
    assert Model.load(small.storage, choose("cpu")).spec.size == 4
    found = ensemble([small, made[1]], Run(tmp_path / "out"))
    assert found["size"] == 8
    assert {each["size"] for each in found["members"]} == {4, 8}
    # The small one sees the large images made smaller: nearly what it was trained on.
    own = Predictions.load(Run(tmp_path / "out").storage, "predictions/test.parquet")
    expected = answers([small, made[1]], "test").mean(0)
    assert np.abs(own.probabilities - expected).max() < 0.1
    with pytest.raises(ModelError, match=r"differ in size \(\d and \d pixels\)"):
        ensemble([small, made[1]], Run(tmp_path / "soup"), combine="soup")


def test_the_test_part_is_read_when_all_is_chosen(
    made: list[Run], data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for n, run in enumerate(made):  # trials of a search have seen no test item
        shutil.copytree(run.root, tmp_path / f"trial-{n}")
        shutil.rmtree(tmp_path / f"trial-{n}" / "predictions")
        runs.append(Run.load(tmp_path / f"trial-{n}"))
    out = Run(tmp_path / "out")
    test = set(made[0].divide(data).members("test").tolist())
    read = Dataset.read
    before: set[int] = set()
    times = 0

    def watched(self: Dataset, indices: Any, size: int | None = None) -> Any:
        nonlocal times
        inside = set(np.asarray(indices).tolist())
        if out.is_trained:
            times += bool(inside & test)
        else:
            before.update(inside)
        return read(self, indices, size)

    monkeypatch.setattr(Dataset, "read", watched)
    found = ensemble(runs, out, select="best", best=2)
    assert before
    assert not before & test
    assert times == 3  # the ensemble and its two members, and none of the others
    told = ensemble(made, Run(tmp_path / "again"), select="best", best=2)
    assert [each["name"] for each in found["members"]] == [
        each["name"].replace("run", "trial") for each in told["members"]
    ]
    for part in ("validation", "test"):
        assert found[part] == told[part]


def test_a_study_stands_for_its_kept_runs(made: list[Run], tmp_path: Path) -> None:
    study = tmp_path / "study"
    for n, run in enumerate(made[:3]):
        shutil.copytree(run.root, study / "trials" / f"{n:04d}" / "0")
    trials = [{"number": n, "run": f"trials/{n:04d}/0", "value": 0.9} for n in (2, 0)]
    (study / "study.json").write_text(json.dumps({"dataset": "/nowhere"}))
    with pytest.raises(ModelError, match="has kept no model yet"):
        runs_of([str(study)])
    (study / "kept.json").write_text(json.dumps({"trials": []}))
    with pytest.raises(ModelError, match="none of its trials was finished"):
        runs_of([str(study)])
    (study / "kept.json").write_text(json.dumps({"objective": "val_accuracy", "trials": trials}))
    runs = runs_of([str(study), str(made[3].root)])
    names = [run.root.relative_to(tmp_path).as_posix() for run in runs[:2]]
    assert names == ["study/trials/0002/0", "study/trials/0000/0"]
    found = ensemble(runs, Run(study / "ensembles" / "average"))
    assert {each["name"] for each in found["members"]} == {"trial 0", "trial 2", "run-3"}
    with pytest.raises(ConfigError, match="holds a study"):
        ensemble(runs, Run(study))
    with pytest.raises(ModelError, match="There is no run"):
        runs_of([str(tmp_path / "nothing")])
    with pytest.raises(ConfigError, match="name one or more"):
        runs_of([])


def test_a_trial_of_another_machine_is_found_by_its_study(
    made: list[Run], data: Dataset, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    for n, run in enumerate(made[:2]):
        place = study / "trials" / f"{n:04d}" / "0"
        shutil.copytree(run.root, place)
        Run(place).note(dataset="/on/a/worker" if n == 0 else "/on/another")
        text = (place / "config.toml").read_text().replace(data.info.source.location, "/elsewhere")
        (place / "config.toml").write_text(text)
    (study / "study.json").write_text(json.dumps({"dataset": data.location}))
    runs = [Run.load(study / "trials" / f"{n:04d}" / "0") for n in (0, 1)]
    found = ensemble(runs, Run(tmp_path / "out"))
    assert found["dataset"] == data.location
    assert Run(tmp_path / "out").config.source == data.info.source


# Killed, continued, begun anew


STAGES = ["_begin", "save", "evaluate", "_members"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["average", "soup"])
def test_killed_and_started_again_it_is_the_same(
    made: list[Run],
    alike: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    how: Any,
) -> None:
    runs = [made[0], made[1], made[3]] if how == "average" else alike
    options: dict[str, Any] = {"combine": how, "select": "greedy"}
    whole = ensemble(runs, Run(tmp_path / "whole"), **options)

    class KilledError(Exception):
        pass

    def die(*args: Any, **more: Any) -> Any:
        raise KilledError

    with monkeypatch.context() as patch:
        owner: Any = Model if stage == "save" else ensembles
        patch.setattr(owner, stage, die)
        with pytest.raises(KilledError):
            ensemble(runs, Run(tmp_path / "killed"), **options)
    again = ensemble(runs, Run(tmp_path / "killed"), **options)
    assert without_clock(again) == without_clock(whole)
    for name in ("model.safetensors", "model.json", "evaluation.json", "split.parquet"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_decisions_in_between_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pictures(tmp_path / "own", each=40, strength=14)
    runs = [trained(data, tmp_path / f"run-{n}", f"train.epochs={6 - 2 * n}") for n in range(3)]
    options: dict[str, Any] = {"select": "best", "best": 2}
    whole = ensemble(runs, Run(tmp_path / "whole"), **options)
    with monkeypatch.context() as patch:
        patch.setattr(ensembles, "_members", None)
        with pytest.raises(TypeError):
            ensemble(runs, Run(tmp_path / "killed"), **options)
    ids, given = data.rows(["id"])["id"].to_pylist(), data.labels("given")
    data.ledger.append(  # the worst is now the best
        [Wanted(id_, "relabel", "ab"[1 - label]) for id_, label in zip(ids, given, strict=True)]
    )
    again = ensemble(runs, Run(tmp_path / "killed"), **options)
    assert without_clock(again) == without_clock(whole)
    anew = ensemble(runs, Run(tmp_path / "anew"), **options)
    assert anew["members"][0]["name"] != whole["members"][0]["name"]


def test_predictions_of_other_items_are_not_taken_for_those_of_the_split(
    made: list[Run], tmp_path: Path
) -> None:
    shutil.copytree(made[1].root, tmp_path / "run-1")
    storage = Run(tmp_path / "run-1").storage
    for part in ("validation", "test"):
        p = Predictions.load(storage, f"predictions/{part}.parquet")
        turned = Predictions(p.ids[::-1], p.probabilities[::-1], p.classes)
        turned.save(storage, f"predictions/{part}.parquet")
    found = ensemble([Run.load(tmp_path / "run-1"), made[0]], Run(tmp_path / "out"))
    told = ensemble([made[1], made[0]], Run(tmp_path / "told"))
    assert [each["validation"] for each in found["members"]] == [
        each["validation"] for each in told["members"]
    ]
    assert found["test"] == told["test"]


def test_a_finished_one_is_not_made_again(
    made: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ensemble(made, Run(tmp_path / "out"))
    monkeypatch.setattr(ensembles, "evaluate", None)
    assert ensemble(made, Run(tmp_path / "out")) == found
    for options in ({"combine": "vote"}, {"select": "greedy"}, {"above": 0.1}):
        with pytest.raises(ModelError, match=r"another ensemble; what differs: .*--overwrite"):
            ensemble(made, Run(tmp_path / "out"), **options)
    with pytest.raises(ModelError, match="what differs: members"):
        ensemble(made[:3], Run(tmp_path / "out"))


def test_what_failed_leaves_the_place_free(made: list[Run], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lower --above"):
        ensemble(made[2:], Run(tmp_path / "out"), above=0.96)
    with pytest.raises(ModelError, match="A soup is the mean of weights"):
        ensemble(made, Run(tmp_path / "out"), combine="soup")
    ensemble(made, Run(tmp_path / "out"))


def test_a_place_that_holds_something_else_is_refused(made: list[Run], tmp_path: Path) -> None:
    shutil.copytree(made[0].root, tmp_path / "run")
    with pytest.raises(ModelError, match="holds a run that is no ensemble"):
        ensemble(made[1:], Run(tmp_path / "run"))
    with pytest.raises(ConfigError, match="holds one of its members"):
        ensemble(made, Run(made[2].root))
    with pytest.raises(ConfigError, match="is named twice"):
        ensemble([made[0], made[0]], Run(tmp_path / "out"))


def test_clearing_leaves_what_is_not_its_own(made: list[Run], tmp_path: Path) -> None:
    run = Run(tmp_path / "out")
    ensemble(made, run, select="best", best=1)
    (run.root / "notes.txt").write_text("mine")
    clear(run)
    left = sorted(path.name for path in run.root.rglob("*") if path.is_file())
    assert left == ["notes.txt"]
    assert len(ensemble(made, run)["members"]) == 5


# Who cannot be a member


def test_other_items_or_labels_are_refused(made: list[Run], tmp_path: Path) -> None:
    data = pictures(tmp_path / "own", each=20)
    one = trained(data, tmp_path / "one")
    apart = trained(data, tmp_path / "apart", "seed=5")
    with pytest.raises(ModelError, match="one and apart differ in how it was split: train them on"):
        ensemble([one, apart], Run(tmp_path / "out"))
    with pytest.raises(ModelError, match=r"differ in their dataset \(.*data and .*data\)"):
        ensemble([one, made[0]], Run(tmp_path / "out"))
    ids = data.rows(["id"])["id"].to_pylist()
    train = one.divide(data).indices("train")
    data.ledger.append([Wanted(ids[n], "relabel", "b") for n in train if "a/" in ids[n]][:2])
    fresh = Dataset.load(data.location)
    changed = trained(fresh, tmp_path / "changed")
    with pytest.raises(ModelError, match="differ in the labels that they learnt, which decisions"):
        ensemble([one, changed], Run(tmp_path / "out"))
    more = trained(fresh, tmp_path / "more", "train.epochs=1")
    found = ensemble([changed, more], Run(tmp_path / "decided"))
    assert found["test"]["ensemble"]["n"] > 0
    noted = Run(tmp_path / "decided").read("run.json")
    assert noted["decisions"] == changed.read("run.json")["decisions"] != ""


def test_items_that_decisions_took_out_do_not_count(tmp_path: Path) -> None:
    data = pictures(tmp_path / "own", each=40)
    before = trained(data, tmp_path / "before")
    ids = data.rows(["id"])["id"].to_pylist()
    out = before.divide(data).indices("test")[:3]
    data.ledger.append([Wanted(ids[n], "drop") for n in out])
    data = Dataset.load(data.location)
    runs = [trained(data, tmp_path / f"run-{n}", f"train.epochs={n}") for n in (1, 2)]
    run = Run(tmp_path / "out")
    found = ensemble(runs, run)
    own = Predictions.load(run.storage, "predictions/test.parquet")
    assert len(own) == 20
    for name in ("ensemble", "best", "mean"):
        assert found["test"][name]["n"] == 17
    assert found["test"]["agreement"]["unanimous"]["n"] == 17
    assert json.loads((run.root / "evaluation.json").read_text())["test_given"]["n"] == 20


def test_what_is_no_single_network_is_refused(made: list[Run], tmp_path: Path) -> None:
    ensemble(made[:2], Run(tmp_path / "out"))
    with pytest.raises(ModelError, match="out holds an ensemble: name its members"):
        ensemble([Run.load(tmp_path / "out"), made[2]], Run(tmp_path / "more"))
    shutil.copytree(made[0].root, tmp_path / "bare")
    (tmp_path / "bare/model.json").unlink()
    with pytest.raises(ModelError, match=r"There is no trained model in .*bare"):
        ensemble([Run.load(tmp_path / "bare"), made[2]], Run(tmp_path / "more"))
    shutil.copytree(made[0].root, tmp_path / "unsplit")
    (tmp_path / "unsplit/split.parquet").unlink()
    with pytest.raises(ModelError, match=r"no split\.parquet: train it again"):
        ensemble([Run.load(tmp_path / "unsplit"), made[2]], Run(tmp_path / "more"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"combine": "mean"}, "--combine is average, vote or soup, got 'mean'"),
        ({"select": "greddy"}, "did you mean 'greedy'"),
        ({"above": 89.0}, "an accuracy from 0 to 1, got 89"),
        ({"best": 0}, "one run or more, got 0"),
    ],
)
def test_arguments_are_checked(
    made: list[Run], tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ensemble(made, Run(tmp_path / "out"), **options)


# Soups


def test_a_soup_is_the_mean_of_weights(alike: list[Run]) -> None:
    models = [Model.load(run.storage, choose("cpu", "float32")) for run in alike]
    names = [run.root.name for run in alike]
    found = soup.stir(models, names).network.state_dict()
    for key, value in found.items():
        states = [model.network.state_dict()[key] for model in models]
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack(states).mean(0))
    assert soup.stir(models[:1], names[:1]) is models[0]


def test_moments_are_those_of_training_items(alike: list[Run], data: Dataset) -> None:
    device = choose("cpu", "float32")
    model = Model.load(alike[0].storage, device)
    rows = alike[0].divide(data).indices("train")  # 40 items: a single batch
    norm = next(m for m in model.network.modules() if isinstance(m, nn.BatchNorm2d))
    caught: list[torch.Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].clone()))
    model.probabilities(data.read(rows, 8))
    handle.remove()
    before = norm.momentum
    soup.take_moments(model.network, data, rows, model.spec, device, seed=0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, caught[0].mean((0, 2, 3)), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(norm.running_var, caught[0].var((0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert norm.momentum == before
    assert not any(module.training for module in model.network.modules())


def test_a_soup_takes_in_what_does_not_make_it_worse(
    alike: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [Model.load(run.storage, choose("cpu", "float32")) for run in alike]
    scores = iter([Score(0.8, -1.0), Score(0.7, -0.1), Score(0.8, -2.0)])
    told = soup.greedy_soup(models, ["a", "b", "c"], lambda network: None, lambda _: next(scores))
    found, path = told
    assert [(step.place, step.counts) for step in path] == [(0, True), (1, False), (2, True)]
    expected = soup.stir([models[0], models[2]], ["a", "c"]).network.state_dict()
    for key, value in found.network.state_dict().items():
        torch.testing.assert_close(value, expected[key])


def test_a_soup_is_a_single_network(alike: list[Run], tmp_path: Path) -> None:
    run = Run(tmp_path / "out")
    found = ensemble(alike, run, combine="soup")
    model = Model.load(run.storage, choose("cpu", "float32"))
    assert model.spec.model.family == "cnn"
    assert found["parameters"] == found["members"][0]["parameters"]
    assert len(found["path"]) == 3
    assert len(found["members"]) + len(found["left_out"]) == 3
    # It is never worse on validation than the best alone.
    validation = found["validation"]
    assert (
        validation["ensemble"]["accuracy"]["value"]
        >= validation["best"]["accuracy"]["value"] - 1e-9
    )
    # And it can become a member itself.
    assert len(ensemble([run, alike[0]], Run(tmp_path / "more"))["members"]) == 2


def test_a_soup_of_one_is_that_network(alike: list[Run], tmp_path: Path) -> None:
    run = Run(tmp_path / "out")
    found = ensemble(alike, run, combine="soup", select="best", best=1)
    first = (tmp_path / "out" / found["members"][0]["run"]).resolve()
    one, other = (Model.load(Run(each).storage, choose("cpu")) for each in (run.root, first))
    for key, value in one.network.state_dict().items():
        torch.testing.assert_close(value, other.network.state_dict()[key], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (["model.filters=[5]"], r"model\.filters \(\[4\] and \[5\]\)|\[5\] and \[4\]"),
        (["model.activation=tanh"], r"model\.activation"),
        (["train.normalize=unit"], "standardisation"),
        (["model.dropout=0.5"], "the weights of .* have other names or shapes"),
    ],
)
def test_soups_of_what_is_not_alike_are_refused(
    alike: list[Run], data: Dataset, tmp_path: Path, settings: list[str], what: str
) -> None:
    other = trained(data, tmp_path / "other", *CNN, *settings)
    with pytest.raises(ModelError, match=what):
        ensemble([alike[0], other], Run(tmp_path / "out"), combine="soup")


def test_regularisation_does_not_keep_weights_apart(
    alike: list[Run], data: Dataset, tmp_path: Path
) -> None:
    other = trained(data, tmp_path / "other", *CNN, "model.l2=0.01")
    found = ensemble([alike[0], other], Run(tmp_path / "out"), combine="soup")
    assert len(found["path"]) == 2


def test_standardisations_of_samples_of_one_part_are_near_enough(alike: list[Run]) -> None:
    spec = members.gather(alike)[0].spec
    nudged = spec.model_copy(update={"mean": tuple(m + 0.5 for m in spec.mean)})
    soup.check([spec, nudged], ["a", "b"])
    far = spec.model_copy(update={"mean": tuple(m + 20 for m in spec.mean)})
    with pytest.raises(ModelError, match="standardisation"):
        soup.check([spec, far], ["a", "b"])


def test_an_untouched_evaluation_of_the_ensemble_is_kept(
    made: list[Run], data: Dataset, tmp_path: Path
) -> None:
    run = Run(tmp_path / "out")
    ensemble(made, run)
    before = (run.root / "evaluation.json").read_bytes()
    model = Model.load(run.storage, choose("auto", "float32"))
    evaluate(model, data, run.divide(data), run)
    assert (run.root / "evaluation.json").read_bytes() == before
    assert (run.root / RESULT).is_file()
