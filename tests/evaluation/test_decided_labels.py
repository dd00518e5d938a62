"""Training and judging where labels were decided about: which labels, and which figures."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lorgnette import api, pipeline
from lorgnette.config import Config, PrepareConfig, SourceConfig
from lorgnette.dataset import yardstick
from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.devices import choose
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import ModelError
from lorgnette.evaluation.crossval import OUT_OF_FOLD, crossvalidate
from lorgnette.evaluation.evaluate import evaluate, yardsticks
from lorgnette.model import Model
from lorgnette.predictions import Predictions
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.training import loop
from lorgnette.training.batches import open_feed
from lorgnette.training.together import train_together
from pictures import folder_of

TINY = [
    "model.family=mlp", "model.units=[5]", "train.epochs=3", "train.batch_size=16",
    "train.device=cpu", "train.precision=float32", "train.optimizer.lr=0.01",
    "train.augment.flip_horizontal=false", "split.train=0.5", "split.val=0.2", "split.test=0.3",
]  # fmt: skip


def tiny(*settings: str) -> Config:
    return load(settings=[*TINY, *settings])


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """80 pictures of 8 pixels; half of them in each class."""
    source = SourceConfig(location=str(folder_of(tmp_path / "source", 40)))
    settings = PrepareConfig(size=(8,), shard_items=32)
    return prepare(source, str(tmp_path / "data"), settings, LocalEngine(1))


def fit(dataset: Dataset, out: Path, *settings: str) -> tuple[Run, dict[str, Any]]:
    """Train and judge, as `lorgnette train` does but for the report."""
    config, run = tiny(*settings), Run(out)
    run.begin(config, dataset.location)
    parts = run.divide(dataset)
    model = loop.train(dataset, parts, config, run)
    return run, evaluate(model, dataset, parts, run)


def decide(dataset: Dataset, places: Sequence[int], action: str, **more: Any) -> None:
    every = dataset.rows(["id"])["id"].to_pylist()
    ids = [every[place] for place in places]
    given = dataset.labels("given")
    flipped = [dataset.info.classes[1 - given[place]] for place in places]
    dataset.ledger.append(
        [
            Wanted(id_, action, to if action == "relabel" else None, **more)
            for id_, to in zip(ids, flipped, strict=True)
        ]
    )


def members(dataset: Dataset, out: Path, part: str) -> list[int]:
    run = Run(out)
    run.begin(tiny(), dataset.location)
    found: list[int] = run.divide(dataset).members(part).tolist()
    return found


def test_without_decisions_the_figures_only_say_that_labels_are_given(
    dataset: Dataset, tmp_path: Path
) -> None:
    run, found = fit(dataset, tmp_path / "run")
    assert set(found) == {"validation", "test"}
    assert {each["labels"] for each in found.values()} == {"given"}
    assert all("decisions" not in each for each in found.values())
    assert "decisions" not in run.read("run.json")
    assert json.loads((run.root / "evaluation.json").read_text()) == found


@pytest.mark.parametrize("which", ["decided", "given"])
def test_what_is_learnt_is_a_setting(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    train = members(dataset, tmp_path / "probe", "train")
    decide(dataset, train[:6], "relabel")
    decide(dataset, train[6:9], "drop")
    learnt: list[tuple[list[int], list[int]]] = []

    def watching(dataset: Any, rows: Any, labels: Any, **more: Any) -> Any:
        learnt.append((rows.tolist(), labels.tolist()))
        return open_feed(dataset, rows, labels, **more)

    monkeypatch.setattr(loop, "open_feed", watching)
    run, found = fit(dataset, tmp_path / "run", f"train.labels={which}")
    rows, labels = learnt[0]
    given = dataset.labels("given")
    if which == "given":
        assert rows == train
        assert labels == given[train].tolist()
        assert "decisions" not in run.read("run.json")
    else:
        assert rows == [place for place in train if place not in train[6:9]]
        expected = [1 - given[place] if place in train[:6] else given[place] for place in rows]
        assert labels == expected
        assert len(run.read("run.json")["decisions"]) == 12
    assert {found[part]["labels"] for part in ("validation", "test")} == {which}


def test_folds_that_train_together_learn_the_decided_labels(
    dataset: Dataset, tmp_path: Path
) -> None:
    train = members(dataset, tmp_path / "probe", "train")
    decide(dataset, train[:6], "relabel")
    models = []
    for number, join in enumerate((False, True)):
        run = Run(tmp_path / f"{number}")
        run.begin(tiny(), dataset.location)
        parts = run.divide(dataset)
        if join:
            models += train_together(dataset, [parts], [tiny()], [run])
        else:
            models.append(loop.train(dataset, parts, tiny(), run))
    pixels = dataset.read(np.arange(20))
    one, other = (model.probabilities(pixels) for model in models)
    assert np.allclose(one, other, atol=1e-4)


def test_each_yardstick_has_its_own_labels_and_none_is_mixed(
    dataset: Dataset, tmp_path: Path
) -> None:
    test = members(dataset, tmp_path / "probe", "test")
    run = Run(tmp_path / "probe")
    drawn = yardstick.draw(dataset, 10, 0, run.divide(dataset))
    ids = dataset.rows(["id"])["id"].to_pylist()
    yard = [ids.index(id_) for id_ in drawn.ids]
    beside = [place for place in test if place not in yard]
    decide(dataset, yard[:2], "relabel", by="person")
    decide(dataset, yard[2:6], "confirm", by="person")
    decide(dataset, yard[6:7], "undecidable", by="person")
    decide(dataset, yard[7:8], "relabel", by="rule")  # no person has seen it
    decide(dataset, beside[:3], "relabel", by="person")  # picked for being suspicious
    decide(dataset, beside[3:5], "drop", by="rule")

    run, found = fit(dataset, tmp_path / "run")
    assert set(found) == {"validation", "test", "test_given", "test_decided", "test_confirmed"}
    labels = {name: facts["labels"] for name, facts in found.items()}
    assert labels == {
        "validation": "decided", "test": "decided", "test_given": "given",
        "test_decided": "decided", "test_confirmed": "confirmed",
    }  # fmt: skip
    predictions = Predictions.load(run.storage, "predictions/test.parquet")
    assert sorted(predictions.ids) == sorted(ids[place] for place in test)
    answers = dict(zip(predictions.ids, predictions.predicted.tolist(), strict=True))
    given, now = dataset.labels("given"), dataset.labels()

    def right(places: Sequence[int], truth: Any) -> tuple[int, float]:
        hits = [answers[ids[place]] == truth[place] for place in places]
        return len(hits), sum(hits) / len(hits)

    kept = [place for place in test if now[place] >= 0]
    assert len(kept) == len(test) - 3
    for name, places, truth in (
        ("test", kept, now), ("test_decided", kept, now), ("test_given", test, given),
        ("test_confirmed", yard[:6], now),
    ):  # fmt: skip
        figure = found[name]["accuracy"]
        assert (figure["n"], figure["value"]) == right(places, truth), name
        assert figure["low"] < figure["high"]
    assert found["test_confirmed"]["yardstick"] == {"items": 10, "settled": 7, "left_out": 1}
    assert {facts["decisions"] for facts in found.values()} == {dataset.ledger.digest()}

    # the same predictions against what is settled later
    decide(dataset, yard[8:9], "confirm", by="person")
    again = yardsticks(predictions, dataset, run.config.evaluate)
    assert again["test_confirmed"]["n"] == 7
    assert again["test_given"]["accuracy"] == found["test_given"]["accuracy"]


def test_told_to_learn_given_labels_a_run_is_judged_by_them(
    dataset: Dataset, tmp_path: Path
) -> None:
    test = members(dataset, tmp_path / "probe", "test")
    decide(dataset, test[:4], "relabel")
    decide(dataset, test[4:6], "drop")
    _, found = fit(dataset, tmp_path / "run", "train.labels=given")
    assert found["test"]["labels"] == "given"
    assert found["test"]["accuracy"] == found["test_given"]["accuracy"]
    assert (found["test_given"]["n"], found["test_decided"]["n"]) == (len(test), len(test) - 2)
    assert "test_confirmed" not in found


class Stop(BaseException):
    """Stands for a kill."""


def stopped_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    finish = loop.Trainer._finish_epoch

    def stopping(self: loop.Trainer, *rest: Any) -> None:
        finish(self, *rest)
        if self.progress.epoch == epochs:
            raise Stop

    monkeypatch.setattr(loop.Trainer, "_finish_epoch", stopping)


@pytest.mark.parametrize("first", [0, 3], ids=["no decisions before", "some before"])
def test_a_training_does_not_go_on_with_other_labels(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    train = members(dataset, tmp_path / "probe", "train")
    decide(dataset, train[:first], "relabel")
    with monkeypatch.context() as patch:
        stopped_after(patch, 1)
        with pytest.raises(Stop):
            fit(dataset, tmp_path / "run")
    split = (tmp_path / "run" / "split.parquet").read_bytes()
    decide(dataset, train[5:6], "drop")
    with pytest.raises(ModelError, match=r"have changed labels since.*--overwrite, or undo"):
        fit(dataset, tmp_path / "run")
    assert (tmp_path / "run" / "split.parquet").read_bytes() == split
    decide(dataset, train[5:6], "undo")
    decide(dataset, train[6:7], "confirm")  # which changes no label
    run, _ = fit(dataset, tmp_path / "run")
    assert len(run.metrics()) == 3


def test_before_the_first_epoch_other_labels_may_be_decided(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = members(dataset, tmp_path / "probe", "train")
    decide(dataset, train[:3], "relabel")

    def stop(*rest: Any, **more: Any) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(loop, "open_feed", stop)
        with pytest.raises(Stop):
            fit(dataset, tmp_path / "run")
    noted = Run(tmp_path / "run").read("run.json")["decisions"]
    decide(dataset, train[3:4], "relabel")
    run, _ = fit(dataset, tmp_path / "run")
    assert run.read("run.json")["decisions"] != noted


def test_a_finished_run_only_says_that_decisions_changed(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, before = fit(dataset, tmp_path / "run")
    parts = run.divide(dataset)
    capsys.readouterr()
    assert api.evaluate(run) == before
    assert "Decisions" not in capsys.readouterr().err
    decide(dataset, parts.indices("test")[:2].tolist(), "drop")
    assert api.evaluate(run) == before
    assert "have changed since this run was judged" in capsys.readouterr().err
    assert (run.divide(dataset).parts == parts.parts).all()
    model = Model.load(run.storage, choose("cpu"))
    run.storage.remove("evaluation.json")  # killed before it was judged
    found = evaluate(model, dataset, run.divide(dataset), run)
    assert "have changed since the model was trained" in capsys.readouterr().err
    assert found["test"]["n"] == before["test"]["n"] - 2


def test_other_data_is_judged_by_labels_in_force(dataset: Dataset, tmp_path: Path) -> None:
    run, _ = fit(dataset, tmp_path / "run")
    folder = folder_of(tmp_path / "new", 50)
    other = api.prepare(folder, tmp_path / "other", PrepareConfig(size=(8,)))
    (found,) = api.evaluate(run, other).values()
    assert (found["n"], found["seen"], found["labels"]) == (44, 56, "given")
    fresh = [place for place, id_ in enumerate(other.rows(["id"])["id"].to_pylist())
             if id_.endswith("45.png")]  # fmt: skip
    decide(other, fresh, "drop")
    (found,) = api.evaluate(run, other).values()
    assert (found["n"], found["labels"]) == (42, "decided")


@pytest.mark.parametrize("together", ["no", "yes"])
def test_folds_are_judged_by_the_labels_that_they_learn(
    dataset: Dataset, tmp_path: Path, together: Any
) -> None:
    decide(dataset, [0, 1, 41], "relabel")
    decide(dataset, [2, 43], "drop")
    engine = LocalEngine(1)
    found = {
        which: crossvalidate(
            dataset, tiny(f"train.labels={which}"), Run(tmp_path / which), engine, k=3,
            together=together,
        )
        for which in ("decided", "given")
    }  # fmt: skip
    for which, facts in found.items():
        assert facts["pooled"]["labels"] == which
        assert facts["pooled"]["n"] == (80 if which == "given" else 78)
        predictions = Predictions.load(Run(tmp_path / which).storage, OUT_OF_FOLD)
        assert len(predictions) == 80
        assert predictions.labels is not None
        assert predictions.labels.tolist() == dataset.labels(which).tolist()  # type: ignore[arg-type]
        assert sum(fold["test"]["n"] for fold in facts["folds"]) == facts["pooled"]["n"]


def test_a_cross_validation_does_not_go_on_with_other_labels(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: Callable[..., Config] = tiny) -> dict[str, Any]:
        place, engine = Run(tmp_path / "cv"), LocalEngine(1)
        return crossvalidate(dataset, config(), place, engine, k=2, together="no")

    decide(dataset, [0], "relabel")
    before = run()
    decide(dataset, [1], "confirm")
    capsys.readouterr()
    assert run() == before
    assert "changed labels" not in capsys.readouterr().err
    decide(dataset, [2], "drop")
    assert run() == before
    assert "have changed labels since" in capsys.readouterr().err
    (tmp_path / "cv" / "crossval.json").unlink()  # not finished, then
    with pytest.raises(ModelError, match="have changed labels since"):
        run()
    decide(dataset, [2], "undo")
    assert run()["pooled"] == before["pooled"]


def test_the_whole_path_with_decisions(dataset: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    decide(dataset, [0, 1], "relabel")
    run = pipeline.train(dataset.location, tiny(), str(tmp_path / "run"))
    assert run.read("evaluation.json")["test_given"]["labels"] == "given"
    assert (run.root / "report.html").is_file()
