import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lorgnette.config import Config, PrepareConfig, SourceConfig, SplitConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.base import Item, Outcome, Task, Value
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import ConfigError, EngineError, LorgnetteError, ModelError, SplitError
from lorgnette.evaluation import crossval
from lorgnette.evaluation.crossval import FOLD_RESULT, OUT_OF_FOLD, clear, crossvalidate
from lorgnette.evaluation.folds import TEST, TRAIN, VAL, folds
from lorgnette.evaluation.foldtable import corrected_interval, summarise
from lorgnette.predictions import Predictions
from lorgnette.report import crossval as page
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.training import loop, together
from pictures import folder_of

TINY = [
    "model.family=mlp", "model.units=[5]", "train.epochs=3", "train.batch_size=16",
    "train.device=cpu", "train.precision=float32", "train.optimizer.lr=0.01",
    "train.augment.flip_horizontal=false",
]  # fmt: skip


class Here:
    """An engine in this process, which lets a crash through."""

    name = "here"
    workers = 1

    def map(self, task: Task[Item, Value], items: Iterable[Item]) -> Iterator[Outcome[Item, Value]]:
        for item in items:
            try:
                yield Outcome(item, task(item))
            except LorgnetteError as error:
                yield Outcome(item, error=str(error))

    def gang(self, task: Task[int, Value], members: int) -> list[Value]:
        raise NotImplementedError


def tiny(*settings: str) -> Config:
    return load(settings=[*TINY, *settings])


def prepared(folder: Path, per_class: int = 40, group: str | None = None) -> Dataset:
    source = SourceConfig(location=str(folder_of(folder / "source", per_class)), group=group)
    settings = PrepareConfig(size=(8,), shard_items=32)
    return prepare(source, str(folder / "out"), settings, LocalEngine(1))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """80 pictures of 8 pixels, half of each class."""
    return prepared(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same in 14 groups of at most six: three numbers, each in both classes."""
    return prepared(tmp_path_factory.mktemp("grouped"), 41, group=r"00(\d)\d")


def without_clock(found: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps({**found, "seconds": 0}))
    for fold in plain["folds"]:
        del fold["seconds"]
    return plain


def test_folds_are_stratified_and_every_item_is_tested_once(small: Dataset) -> None:
    labels = small.labels()
    splits = folds(small, 7, SplitConfig(), 0, 0)
    assert len(splits) == 7
    tested = np.concatenate([split.indices("test") for split in splits])
    assert sorted(tested.tolist()) == list(range(len(small)))
    for split in splits:
        assert (split.parts >= 0).all()
        for part, least, most in ((TEST, 5, 6), (VAL, 3, 5), (TRAIN, 29, 31)):
            counts = np.bincount(labels[split.parts == part], minlength=2)
            assert ((counts >= least) & (counts <= most)).all(), (part, counts)


def test_the_seed_and_the_repeat_divide_anew(small: Dataset) -> None:
    def tested(seed: int, repeat: int) -> list[list[int]]:
        return [s.indices("test").tolist() for s in folds(small, 4, SplitConfig(), seed, repeat)]

    assert tested(0, 0) == tested(0, 0)
    assert tested(0, 0) != tested(0, 1)
    assert tested(0, 0) != tested(1, 0)


def test_no_group_straddles(grouped: Dataset) -> None:
    groups = grouped.groups()
    assert groups is not None
    for split in folds(grouped, 4, SplitConfig(), 3, 0):
        of_parts = [set(groups[split.parts == part].tolist()) for part in (TRAIN, VAL, TEST)]
        assert all(of_parts)
        assert not of_parts[0] & of_parts[1]
        assert not of_parts[0] & of_parts[2]
        assert not of_parts[1] & of_parts[2]


def test_copies_do_not_straddle_either(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    rows = Dataset.rows
    copies = [f"{number % 40}" for number in range(80)]  # item i and i + 40 are one file

    def with_copies(self: Dataset, columns: Any, status: Any = "ok") -> Any:
        if list(columns) == ["sha256"]:
            return pa.table({"sha256": pa.chunked_array([copies])})
        return rows(self, columns, status)

    monkeypatch.setattr(Dataset, "rows", with_copies)
    for chain in (False, True):
        if chain:  # groups of two that overlap with the copies: four items hang together
            monkeypatch.setattr(Dataset, "groups", lambda self: np.arange(80) // 2)
        for split in folds(small, 5, SplitConfig(), 0, 0):
            assert (split.parts[:40] == split.parts[40:]).all()
            if chain:
                assert (split.parts[::2] == split.parts[1::2]).all()


def test_too_many_folds_are_one_sentence(small: Dataset) -> None:
    with pytest.raises(SplitError, match=r"each of 60 folds.*class '[ab]' \(40 items\).*--k"):
        folds(small, 60, SplitConfig(), 0, 0)
    with pytest.raises(ConfigError, match="two folds or more, got 1"):
        folds(small, 1, SplitConfig(), 0, 0)


def test_the_interval_is_the_corrected_one() -> None:
    # By hand: mean 0.86, s² = 0.0013, J = 5, ratio 1/4, t(4) at 0.95 is 2.776445.
    values = np.array([0.82, 0.84, 0.86, 0.87, 0.91])
    spread = 2.776445 * np.sqrt((0.2 + 0.25) * values.var(ddof=1))
    assert corrected_interval(values, 0.25) == pytest.approx((0.86 - spread, 0.86 + spread))


def test_the_interval_holds_what_it_should() -> None:
    """Folds of one data set go together; the corrected interval still covers about 95%."""
    rng = np.random.default_rng(0)
    k, n, covered, naive = 10, 200, 0, 0
    for _ in range(1000):
        # The mean of n normal numbers is learnt; a fold's figure is its mean squared error.
        x = rng.normal(size=n).reshape(k, -1)
        means = (x.sum() - x.sum(axis=1)) / (n - n / k)
        values = ((x - means[:, None]) ** 2).mean(axis=1)
        truth = 1 + 1 / (n - n / k)
        low, high = corrected_interval(values, 1 / (k - 1))
        covered += low <= truth <= high
        low, high = corrected_interval(values, 0.0)
        naive += low <= truth <= high
    assert covered > 930
    assert naive < covered


def test_the_summary_has_an_interval_for_the_test_part_only() -> None:
    part = {"accuracy": 0.9, "loss": 0.3, "roc_auc": None, "n": 10}
    rows = [{"train": {**part, "n": 80}, "validation": part, "test": {**part, "accuracy": value}}
            for value in (0.8, 1.0)]  # fmt: skip
    found = summarise(rows, 0.95)
    assert found["test"]["accuracy"]["value"] == pytest.approx(0.9)
    assert found["test"]["accuracy"]["deviation"] == pytest.approx(0.1 * 2**0.5)
    assert found["test"]["accuracy"]["low"] == 0.0  # two folds say little
    assert found["test"]["accuracy"]["high"] == 1.0
    assert found["train"]["accuracy"]["low"] is None
    assert found["test"]["roc_auc"] == {
        "value": None, "deviation": None, "low": None, "high": None, "n": 0,
    }  # fmt: skip


@pytest.mark.parametrize("how", ["no", "yes"])
def test_what_it_leaves(grouped: Dataset, tmp_path: Path, how: Any) -> None:
    run = Run(tmp_path / "run")
    config = tiny("train.epochs=8")
    found = crossvalidate(grouped, config, run, Here(), k=3, repeats=2, together=how)
    assert found == run.read("crossval.json")
    assert [(fold["repeat"], fold["fold"]) for fold in found["folds"]] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip
    assert len({fold["seed"] for fold in found["folds"]}) == 6
    assert found["together"] == (how == "yes")
    for fold in found["folds"]:
        assert fold["epochs"] == 8
        assert sum(fold[part]["n"] for part in ("train", "validation", "test")) == len(grouped)
        assert fold["seconds"] > 0
        own = Run(run.root / f"folds/{fold['repeat']}-{fold['fold']}")
        judged = own.read("evaluation.json")["test"]
        assert fold["test"]["accuracy"] == judged["accuracy"]["value"]
        assert fold["test"]["loss"] == judged["loss"]["value"]
    accuracies = [fold["test"]["accuracy"] for fold in found["folds"]]
    assert found["summary"]["test"]["accuracy"]["value"] == pytest.approx(np.mean(accuracies))
    assert found["pooled"]["accuracy"]["value"] > 0.9
    assert found["pooled"]["groups"] == found["groups"]

    predictions = Predictions.load(run.storage, OUT_OF_FOLD)
    assert predictions.ids.tolist() == grouped.rows(["id"])["id"].to_pylist()
    assert predictions.labels is not None
    assert predictions.labels.tolist() == grouped.labels().tolist()
    assert predictions.groups is not None
    # The mean of the two predictions of an item, each by the fold that it was held out of.
    place = 17
    held = []
    for repeat in range(2):
        for fold, split in enumerate(folds(grouped, 3, config.split, config.seed, repeat)):
            if split.parts[place] == TEST:
                own = Run(run.root / f"folds/{repeat}-{fold}")
                part = Predictions.load(own.storage, "predictions/test.parquet")
                held.append(part.probabilities[part.ids.tolist().index(predictions.ids[place])])
    assert len(held) == 2
    assert predictions.probabilities[place] == pytest.approx(np.mean(held, axis=0), abs=1e-6)


def test_together_and_one_by_one_agree(small: Dataset, tmp_path: Path) -> None:
    found = [
        crossvalidate(small, tiny(), Run(tmp_path / how), Here(), k=3, together=how)
        for how in ("yes", "no")
    ]
    one, two = (
        Predictions.load(Run(tmp_path / how).storage, OUT_OF_FOLD).probabilities
        for how in ("yes", "no")
    )
    assert np.abs(one - two).max() < 1e-4
    for fold, other in zip(found[0]["folds"], found[1]["folds"], strict=True):
        for part in ("train", "validation", "test"):
            assert fold[part] == pytest.approx(other[part], abs=1e-4)


class Crash(BaseException):
    """Stands for a kill: nothing in the package catches it."""


@pytest.mark.parametrize(("how", "crash_at"), [("no", 2), ("no", 13), ("yes", 2), ("yes", 7)])
def test_taken_up_again_it_ends_the_same(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any, crash_at: int
) -> None:
    config = tiny("model.dropout=0.2")
    monkeypatch.setattr(together, "CHECKPOINT_SECONDS", 0.0)
    whole = crossvalidate(small, config, Run(tmp_path / "whole"), Here(), k=3, together=how)
    kind = together.TogetherTrainer if how == "yes" else loop.Trainer
    step, calls = kind._step, 0

    def crashing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > crash_at:
            raise Crash
        return step(*args)

    run = Run(tmp_path / "crashed")
    monkeypatch.setattr(kind, "_step", crashing)
    with pytest.raises(Crash):
        crossvalidate(small, config, run, Here(), k=3, together=how)
    monkeypatch.setattr(kind, "_step", step)
    again = crossvalidate(small, config, run, Here(), k=3, together=how)
    assert without_clock(again) == without_clock(whole)
    files = [(tmp_path / name / OUT_OF_FOLD).read_bytes() for name in ("whole", "crashed")]
    assert files[0] == files[1]


def test_folds_that_are_finished_are_not_trained_again(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    found = crossvalidate(small, tiny(), run, Here(), k=3, together="no")
    run.storage.remove("crossval.json")
    run.storage.remove(f"folds/0-1/{FOLD_RESULT}")
    monkeypatch.setattr(loop, "train", None)  # the model of 0-1 is there: it is only judged
    again = crossvalidate(small, tiny(), run, Here(), k=3, together="no")
    assert without_clock(again) == without_clock(found)
    monkeypatch.setattr(crossval, "_jobs", None)
    assert crossvalidate(small, tiny(), run, Here(), k=3) == again


@pytest.mark.parametrize(
    ("config", "options", "what"),
    [
        (tiny("train.epochs=2"), {"k": 3}, "train.epochs"),
        (tiny(), {"k": 4}, r"k \(3 before, 4 now\)"),
        (tiny(), {"k": 3, "repeats": 2}, r"repeats \(1 before, 2 now\)"),
        (tiny(), {"k": 3, "together": "yes"}, "together"),
    ],
    ids=["setting", "k", "repeats", "together"],
)
def test_other_settings_are_refused(
    small: Dataset, tmp_path: Path, config: Config, options: Any, what: str
) -> None:
    run = Run(tmp_path)
    crossvalidate(small, tiny(), run, Here(), k=3, together="no")
    with pytest.raises(ModelError, match=what):
        crossvalidate(small, config, run, Here(), **options)
    clear(run)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
    assert crossvalidate(small, tiny(), run, Here(), k=2, together="no")["k"] == 2


def test_a_training_run_is_refused(small: Dataset, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(tiny(), small.location)
    with pytest.raises(ModelError, match="no cross-validation"):
        crossvalidate(small, tiny(), run, Here(), k=3)


def test_arguments_are_checked(small: Dataset, tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'yes'"):
        crossvalidate(small, tiny(), run, Here(), k=3, together="yess")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--repeat 0"):
        crossvalidate(small, tiny(), run, Here(), k=3, repeats=0)
    with pytest.raises(ConfigError, match="cannot train together, for batch normalisation"):
        crossvalidate(small, tiny("model.norm=batch"), run, Here(), k=3, together="yes")
    assert not list(tmp_path.rglob("crossval.json"))


def test_a_failed_fold_leaves_the_others(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, train = Run(tmp_path), loop.train

    def failing(dataset: Any, split: Any, config: Any, own: Run) -> Any:
        if own.root.name == "0-1":
            raise ModelError("it is broken.")
        return train(dataset, split, config, own)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", failing)
        with pytest.raises(EngineError, match=r"folds/0-1 after 1 attempts: it is broken\."):
            crossvalidate(small, tiny(), run, Here(), k=3, together="no")
    assert (tmp_path / "folds/0-2" / FOLD_RESULT).exists()
    assert not (tmp_path / "folds/0-1" / FOLD_RESULT).exists()
    assert crossvalidate(small, tiny(), run, Here(), k=3, together="no")["k"] == 3


def test_the_local_engine_gives_the_same(small: Dataset, tmp_path: Path) -> None:
    config = tiny("train.epochs=1", "model.dropout=0.2")
    far = crossvalidate(small, config, Run(tmp_path / "far"), LocalEngine(2), k=2, together="no")
    here = crossvalidate(small, config, Run(tmp_path / "here"), Here(), k=2, together="no")
    assert without_clock(far) == without_clock(here)


def test_with_workers_folds_that_train_together_are_shared_out(
    small: Dataset, tmp_path: Path
) -> None:
    class Four(Here):
        workers = 4

    seen = []
    engine = Four()
    run_task = engine.map

    def watched(task: Any, items: Any) -> Any:
        items = list(items)
        seen.extend(items)
        return run_task(task, items)

    engine.map = watched  # type: ignore[method-assign]
    crossvalidate(small, tiny("train.epochs=1"), Run(tmp_path), engine, k=5, repeats=2)
    assert [(job.repeat, job.folds) for job in seen] == [
        (0, (0, 1, 2)), (0, (3, 4)), (1, (0, 1, 2)), (1, (3, 4)),
    ]  # fmt: skip


def test_the_page_and_the_table(small: Dataset, tmp_path: Path) -> None:
    run = Run(tmp_path / "<b>run")
    with pytest.raises(ModelError, match="no run"):
        page.write(run.root)
    found = crossvalidate(small, tiny(), run, Here(), k=3, repeats=2)
    text = page.write(run.root).read_text()
    assert "&lt;b&gt;run" in text
    assert "<b>run" not in text
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in text
    assert text.count('class="plot"') == 4
    assert "Nadeau" in text
    for fold in found["folds"]:
        assert f"<th>{fold['repeat'] + 1}.{fold['fold'] + 1}</th>" in text
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(page.table(found))
    shown = console.export_text()
    mean = found["summary"]["test"]["accuracy"]
    for wanted in ("2.3", "mean", "deviation", "95% low", f"{mean['value']:.4f}"):
        assert wanted in shown


def test_show_prints_where_the_page_is(
    small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = crossvalidate(small, tiny("train.epochs=1"), Run(tmp_path), Here(), k=2)
    page.show(found, tmp_path / "crossval.html")
    out = capsys.readouterr().out
    assert "crossval.html" in out
    assert f"accuracy {found['pooled']['accuracy']['value']:.4f}" in out


SCRIPT = """
import sys
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.evaluation.crossval import crossvalidate
from lorgnette.resolve import load
from lorgnette.rundir import Run
dataset, out, how, *settings = sys.argv[1:]
crossvalidate(Dataset.load(dataset), load(settings=settings), Run(out), LocalEngine(2), k=2,
              together=how)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["no", "yes"])
def test_sigkill_and_the_same_command_end_the_same(
    small: Dataset, tmp_path: Path, how: str
) -> None:
    settings = [*TINY, "train.epochs=30", "model.dropout=0.2"]

    def command(name: str) -> list[str]:
        out = str(tmp_path / name)
        return [sys.executable, "-c", SCRIPT, small.location, out, how, *settings]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("killed"), start_new_session=True)
    checkpoints = tmp_path / "killed" / "folds"
    while process.poll() is None:
        if list(checkpoints.glob("*/checkpoints/*.safetensors")):
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "crossval.json").exists()
    subprocess.run(command("killed"), check=True, capture_output=True)
    one, two = (Run(tmp_path / name).read("crossval.json") for name in ("whole", "killed"))
    assert without_clock(one) == without_clock(two)
