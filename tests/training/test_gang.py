"""Several processes that train one network. A gang takes seconds to start: most tests are slow."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pydantic import ValidationError

from gang_runs import curve, die_in_the_middle, fit, fit_all, on_two_machines
from lorgnette.config import Config, PrepareConfig, SourceConfig, TrainConfig, UpdateConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.split import split
from lorgnette.dataset.store import Dataset
from lorgnette.engines.base import Task
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import TrainingError
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.training import gang, loop

PLAIN = [
    "train.epochs=3", "train.batch_size=16", "train.precision=float32", "train.device=cpu",
    "train.augment.flip_horizontal=false",  # left and right are the classes
]  # fmt: skip
RESNET = [*PLAIN, "model.family=resnet", "model.widths=[4,8]", "model.blocks=1",
          "model.dropout=0.2"]  # fmt: skip
MLP = [*PLAIN, "model.family=mlp", "model.units=[16, 8]", "model.dropout=0.3"]
LIMIT = 280.0


def settings(*more: str) -> Config:
    return load(settings=more)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """150 vectors of four numbers in two classes, sorted by class, in ten shards."""
    folder = tmp_path_factory.mktemp("vectors")
    rng = np.random.default_rng(0)
    lines = ["id,label,a,b,c,d"]
    for number in range(150):
        label = number // 75
        values = rng.normal(label, 1, 4).round(4).tolist()
        lines.append(",".join(map(str, [f"v{number}", ["no", "yes"][label], *values])))
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    source = SourceConfig(location=str(folder / "table.csv"), features="a,b,c,d")
    return prepare(source, str(folder / "out"), PrepareConfig(shard_items=15), LocalEngine(1))


# what cannot be asked for


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"members": 2, "update": {"mode": "hogwild", "accumulate": 2}}, "for the mode sync"),
        ({"members": 2, "update": {"every": "epoch"}}, "for the modes periodic and async"),
        ({"members": 2, "update": {"mode": "hogwild", "every": 3}}, "for the modes periodic"),
        ({"members": 2, "update": {"mode": "hogwild"}, "device": "cuda"}, "use device=cpu"),
        ({"update": {"mode": "async"}}, "members=2 or more"),
        ({"members": 2, "update": {"mode": "periodic", "every": 0}}, "every"),
        ({"members": 2, "update": {"mode": "periodic", "every": "step"}}, "every"),
    ],
)
def test_what_makes_no_sense_is_refused(train: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(train)


def test_every_is_a_word_or_a_number() -> None:
    found = load(settings=["train.members=2", "train.update.mode=async", "train.update.every=4"])
    assert found.train.update == UpdateConfig(mode="async", every=4)
    assert found.train.update.model_dump(mode="json")["every"] == 4


def test_more_members_than_items_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    config = settings(*RESNET, "train.members=97")
    with pytest.raises(TrainingError, match=r"96 for 97 members.*train\.members=96"):
        fit(dataset, config, tmp_path)


# sync


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_sync_draws_the_curve_of_one_process(dataset: Dataset, tmp_path: Path) -> None:
    two = "train.members=2"
    cases = {
        "resnet": [*RESNET, "train.augment.cutout=0.2", "train.augment.rotation=10",
                   "train.augment.contrast=0.2", "train.average=0.9"],
        "accumulate": [*RESNET, "train.update.accumulate=4"],
        "tiny-batches": [*MLP, "train.batch_size=2", "train.epochs=1"],
        "weighted": [*MLP, "train.class_weights=balanced", "model.l2=0.01"],
    }  # fmt: skip
    together = fit_all(
        dataset, {tmp_path / name: settings(*case, two) for name, case in cases.items()}, 2
    )
    for name, case in cases.items():
        _, alone = fit(dataset, settings(*case), tmp_path / f"{name}-alone")
        found = together[tmp_path / name]
        assert curve(found) == pytest.approx(curve(alone), abs=2e-4), name
        facts = found.read("run.json")["training"]
        assert facts["members"] == 2
        assert facts["update"]["mode"] == "sync"
        assert [(start["epoch"], start["step"]) for start in facts["starts"]] == [(0, 0)]
        rest = {key: facts[key] for key in facts if key not in ("members", "update", "starts")}
        assert rest == alone.read("run.json")["training"]
        assert found.is_trained


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_four_members_draw_it_too(vectors: Dataset, tmp_path: Path) -> None:
    # SGD: a bias before a norm has no gradient but rounding errors, and Adam makes them steps.
    case = [*MLP, "model.norm=batch", "train.batch_size=10", "train.optimizer.name=sgd",
            "train.optimizer.lr=0.1"]  # fmt: skip
    configs = {
        tmp_path / "four": settings(*case, "train.members=4"),
        tmp_path / "stream": settings(*case, "train.members=4", "train.memory_gib=1e-7"),
    }
    runs = fit_all(vectors, configs, 4)
    _, alone = fit(vectors, settings(*case), tmp_path / "alone")
    assert curve(runs[tmp_path / "four"]) == pytest.approx(curve(alone), abs=2e-4)
    # Rows that do not fit are streamed: other batches, and as many rows.
    streamed = curve(runs[tmp_path / "stream"])
    assert not np.allclose(streamed, curve(alone), atol=2e-4)
    assert streamed[-1, 0] < streamed[0, 0]


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_a_checkpoint_is_continued_by_another_number_of_members(
    dataset: Dataset, tmp_path: Path
) -> None:
    def stopped(config: Config, epochs: int) -> Config:
        """The same training, ended early."""
        stop = config.train.stopping.model_copy(update={"patience": epochs})
        return config.model_copy(
            update={"train": config.train.model_copy(update={"stopping": stop})}
        )

    one = settings(*RESNET, "train.stopping.monitor=val_accuracy", "train.epochs=4")
    two = settings(*RESNET, "train.stopping.monitor=val_accuracy", "train.epochs=4",
                   "train.members=2")  # fmt: skip
    _, whole = fit(dataset, one, tmp_path / "whole")
    accuracies = curve(whole)[:, 3]
    best = int(np.argmax(accuracies))
    patience = 1 if best < 3 else 2
    _, first = fit(dataset, stopped(one, patience), tmp_path / "first")
    done = len(first.metrics())
    if done == 4:
        pytest.fail("the training was not stopped early: choose other settings")
    fit(dataset, two, tmp_path / "first")
    assert curve(first) == pytest.approx(curve(whole), abs=2e-4)
    (start,) = first.read("run.json")["training"]["starts"]
    assert start["epoch"] == done


# the other ways


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_members_that_train_by_themselves_learn(dataset: Dataset, tmp_path: Path) -> None:
    more = [*RESNET, "train.members=2", "train.epochs=8", "train.average=0.8"]
    ways = {
        name: settings(*more, f"train.update.mode={mode}", f"train.update.every={every}")
        for name, (mode, every) in {
            "periodic-batch": ("periodic", "batch"),
            "periodic-2": ("periodic", 2),
            "periodic-epoch": ("periodic", "epoch"),
            "hogwild": ("hogwild", "batch"),
        }.items()
    }
    runs = fit_all(dataset, {tmp_path / name: config for name, config in ways.items()}, 2)
    for folder, run in runs.items():
        assert curve(run)[-1, 3] >= 0.9, folder.name
        assert curve(run)[-1, 0] < curve(run)[0, 0], folder.name
        assert run.read("run.json")["training"]["update"]["mode"] == folder.name.split("-")[0]
    assert not list(Path("/dev/shm").glob("lorgnette-*"))


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_a_server_learns_from_what_comes(dataset: Dataset, tmp_path: Path) -> None:
    more = [*RESNET, "train.members=2", "train.epochs=8", "train.update.mode=async"]
    ways = {"batch": ["train.average=0.8"], "2": [], "epoch": ["train.memory_gib=1e-6"]}
    configs = {
        tmp_path / every: settings(*more, f"train.update.every={every}", *rest)
        for every, rest in ways.items()
    }
    for folder, run in fit_all(dataset, configs, 3).items():
        assert curve(run)[-1, 3] >= 0.9, folder.name
        assert len(run.metrics()) == 8


# what goes wrong


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("mode", ["sync", "periodic"])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_member_changes_no_figure(
    dataset: Dataset, tmp_path: Path, mode: str, victim: int
) -> None:
    every = ["train.update.every=4"] if mode == "periodic" else []
    config = settings(
        *RESNET, "train.members=2", f"train.update.mode={mode}", *every,
        "train.optimizer.name=adam", "train.checkpoint_minutes=1e-9", "train.batch_size=8",
    )  # fmt: skip
    steps = 12 if mode == "sync" else 6
    parts = split(dataset, config.split, config.seed)
    runs = {}
    for name, after in (("whole", 10**6), ("killed", steps + 3)):
        runs[name] = run = Run(tmp_path / name)
        run.begin(config, dataset.location)
        (tmp_path / f"{name}-marks").mkdir()
        arguments = dict(gang.gang_task(dataset, parts, config, run).arguments)
        task = Task.of(
            die_in_the_middle,
            folder=str(tmp_path / f"{name}-marks"), victim=victim, after=after, **arguments,
        )  # fmt: skip
        LocalEngine(2, 200).gang(task, 2)
    found, whole = curve(runs["killed"]), curve(runs["whole"])
    assert found == pytest.approx(whole, abs=1e-6)
    starts = runs["killed"].read("run.json")["training"]["starts"]
    assert [(start["epoch"], start["step"]) for start in starts] == [(0, 0), (1, 2)]
    assert len(starts[0]["machines"]) == 1


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_verdicts_end_a_gang_at_once(dataset: Dataset, tmp_path: Path) -> None:
    wild = settings(*RESNET, "train.members=2", "train.update.mode=hogwild")
    run = Run(tmp_path / "apart")
    run.begin(wild, dataset.location)
    parts = split(dataset, wild.split, wild.seed)
    arguments = dict(gang.gang_task(dataset, parts, wild, run).arguments)
    with pytest.raises(TrainingError, match=r"memory of one machine.*update\.mode=async"):
        LocalEngine(2, 200).gang(Task.of(on_two_machines, **arguments), 2)
    for mode in ("sync", "async"):
        lost = settings(*MLP, "train.members=2", f"train.update.mode={mode}",
                        "train.optimizer.name=sgd", "train.optimizer.lr=1e30")  # fmt: skip
        with pytest.raises(TrainingError, match="not a number any more"):
            fit(dataset, lost, tmp_path / mode)
        assert not (tmp_path / mode / "model.json").exists()


class Crash(BaseException):
    """Stands for a kill: nothing in the package catches it."""


def test_in_another_order_an_epoch_begins_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOSS_CHECK_STEPS", 2)
    step, finish = loop.Trainer._step, loop.Trainer._finish_epoch
    done: list[int] = []
    counts: list[float] = []

    def crashing(*args: Any) -> Any:
        done.append(1)
        if len(done) == 6 + 4:  # in the middle of the second epoch, behind a checkpoint
            raise Crash
        return step(*args)

    def counting(self: loop.Trainer, *rest: Any) -> None:
        counts.append(self.progress.sums[2])
        finish(self, *rest)

    monkeypatch.setattr(loop.Trainer, "_step", crashing)
    monkeypatch.setattr(loop.Trainer, "_finish_epoch", counting)
    plain = [*RESNET, "train.checkpoint_minutes=1e-9"]
    with pytest.raises(Crash):
        fit(dataset, settings(*plain), tmp_path)
    fit(dataset, settings(*plain, "train.memory_gib=0.00005"), tmp_path)
    assert counts == [96, 96, 96]
    assert len(done) == 6 + 4 + 6 + 6  # four steps were in vain


def told_by_all(monkeypatch: pytest.MonkeyPatch, *others: object) -> None:
    """Stand in for the other members of a gang in which this process is the first."""

    def gather(found: list[object], own: object) -> None:
        found[:] = [own, *others]

    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 1 + len(others))
    monkeypatch.setattr("torch.distributed.all_gather_object", gather)


def test_the_order_of_shares_tells_how_each_member_holds_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Streamed:
        order = "windows of 3 shards"

    told_by_all(monkeypatch, "windows of 3 shards", "windows of 5 shards")
    held = gang._held(cast("Any", Streamed()))
    told_by_all(monkeypatch, "windows of 3 shards", "windows of 3 shards")
    assert held != gang._held(cast("Any", Streamed()))  # or a restart would go on in another order


def test_members_of_one_machine_divide_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    told_by_all(monkeypatch, "another", gang.machine(), "another")
    assert gang._members_here() == 2
