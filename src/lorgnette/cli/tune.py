"""`lorgnette tune`: search settings here, or as chief and workers on several machines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from lorgnette.cli.app import app
from lorgnette.cli.options import (
    Address,
    Debug,
    Engine,
    Json,
    Master,
    Overwrite,
    Quiet,
    Seed,
    Set,
    engine_settings,
)
from lorgnette.progress import console, say

if TYPE_CHECKING:
    from lorgnette.tuning.facts import StudyFacts

STUDIES = "studies"
DEFAULT = "here"
"""The command that `lorgnette tune DATASET` is, without its name."""


class _Group(TyperGroup):
    """Commands of which one needs no name: `tune DATASET` beside `tune chief` and `tune worker`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name in where it is left out."""
        if not args or args[0] not in self.commands:
            args = ["", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; the one that needs none by an empty name, which help shows."""
        return super().get_command(ctx, cmd_name or DEFAULT)


tune = typer.Typer(
    cls=_Group,
    help="Search settings: `tune DATASET` on this machine, `tune chief` and `tune worker` on "
    "several.",
    rich_markup_mode="rich",
)
app.add_typer(tune, name="tune")

DatasetArgument = Annotated[str, typer.Argument(help="A prepared dataset.")]
Out = Annotated[str | None, typer.Option(help="The study; default: studies/NAME.")]
Recipe = Annotated[
    str, typer.Option(help="A study's name (see `lorgnette recipes`) or a TOML file with spaces.")
]
Sampler = Annotated[str | None, typer.Option(help="random, grid, tpe or gp.")]
Pruner = Annotated[str | None, typer.Option(help="none, hyperband, halving or median.")]
Trials = Annotated[int | None, typer.Option(help="Budget in trials; default: 30.")]
Minutes = Annotated[float | None, typer.Option(help="Budget in minutes.")]
TotalEpochs = Annotated[
    int | None, typer.Option(help="Budget in passes over the data, of all trials together.")
]
Epochs = Annotated[int | None, typer.Option(help="Passes of one trial, at most.")]
Objective = Annotated[str | None, typer.Option(help="val_accuracy or val_loss.")]
Executions = Annotated[int | None, typer.Option(help="Trainings of each trial; their mean counts.")]
Folds = Annotated[
    int | None, typer.Option(help="Folds of each trial, over the train and validation parts.")
]
Keep = Annotated[int | None, typer.Option(help="How many of the best models stay.")]
Workers = Annotated[
    int | None, typer.Option(help="Processes; default: one per processor, 3 on a GPU.")
]
StorageOption = Annotated[
    str | None,
    typer.Option("--storage", help="postgresql://USER@HOST/NAME; default: SQLite in the study."),
]
Grace = Annotated[
    float | None,
    typer.Option(help="Seconds after which a silent worker of another machine counts as dead."),
]


@tune.command(DEFAULT, hidden=True)
def here(
    dataset: DatasetArgument,
    out: Out = None,
    recipe: Recipe = "quick",
    settings: Set = None,
    sampler: Sampler = None,
    pruner: Pruner = None,
    trials: Trials = None,
    minutes: Minutes = None,
    total_epochs: TotalEpochs = None,
    epochs: Epochs = None,
    objective: Objective = None,
    executions: Executions = None,
    folds: Folds = None,
    keep: Keep = None,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    workers: Workers = None,
    storage: StorageOption = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search settings on this machine. Started again, it continues.

    On several machines: `lorgnette tune chief DATASET` hands out trials, and any number of
    `lorgnette tune worker` do them (each has its own --help).
    """
    told = _told(sampler, pruner, trials, minutes, total_epochs, epochs, objective, executions,
                 folds, keep)  # fmt: skip
    told |= engine_settings(engine, None, master, address)
    _search(
        dataset, out, recipe, settings, told, seed, as_json,
        workers=workers, storage=storage, overwrite=overwrite,
    )  # fmt: skip


@tune.command()
def chief(
    dataset: DatasetArgument,
    bind: Annotated[
        str, typer.Option(help="HOST:PORT to listen on; other machines need an address of a net.")
    ] = "127.0.0.1:13000",
    out: Out = None,
    recipe: Recipe = "quick",
    settings: Set = None,
    sampler: Sampler = None,
    pruner: Pruner = None,
    trials: Trials = None,
    minutes: Minutes = None,
    total_epochs: TotalEpochs = None,
    epochs: Epochs = None,
    objective: Objective = None,
    executions: Executions = None,
    folds: Folds = None,
    keep: Keep = None,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes beside it, or in the cluster; default: none.")
    ] = None,
    storage: StorageOption = None,
    grace: Grace = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hand out trials to workers that call, and collect results. May be killed and restarted.

    The address has no password: bind it inside a network that you trust.
    """
    told = _told(sampler, pruner, trials, minutes, total_epochs, epochs, objective, executions,
                 folds, keep)  # fmt: skip
    told |= engine_settings(engine, None, master, address)
    _search(
        dataset, out, recipe, settings, told, seed, as_json,
        workers=workers, storage=storage, bind=bind, grace=grace, overwrite=overwrite,
    )  # fmt: skip


@tune.command()
def worker(
    chief: Annotated[
        str, typer.Option(help="HOST:PORT of the chief, or a postgresql://… storage.")
    ],
    dataset: Annotated[str, typer.Option(help="The prepared dataset, as this machine sees it.")],
    out: Annotated[
        str | None,
        typer.Option(help="The study's directory, as this machine sees it; default: the chief's."),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Its name, where a storage holds several.")
    ] = None,
    engine: Engine = None,
    master: Master = None,
    address: Address = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Do trials for a chief until the study is over. Any number may join and leave at will."""
    from lorgnette import resolve
    from lorgnette.engines import open_engine
    from lorgnette.errors import EngineError
    from lorgnette.tuning.search import usual_workers
    from lorgnette.tuning.storages import CHIEF, PATIENCE, answers, storage_at
    from lorgnette.tuning.storages import address as parsed
    from lorgnette.tuning.study import join
    from lorgnette.tuning.worker import labour

    if "://" not in chief:
        parsed(chief)
        chief = CHIEF + chief
    where = resolve.load(overrides=engine_settings(engine, workers, master, address)).engine
    if not answers(chief):
        say(f"Nobody answers at {chief} yet: waiting for up to {PATIENCE / 60:.0f} minutes.")
    if workers is None:
        with storage_at(chief) as storage:
            _, plan = join(storage, study)
        where = where.model_copy(update={"workers": usual_workers(plan)})
    opened = open_engine(where)
    say(f"Working for {chief}: {opened.workers} at a time.")
    ended = labour(
        opened,
        location=chief,
        name=study,
        dataset=str(Path(dataset).absolute()) if "://" not in dataset else dataset,
        directory=out,
        over=lambda: False,
    )
    if ended:
        raise EngineError(ended[0])
    if as_json:
        print(json.dumps({"chief": chief, "workers": opened.workers}))
    else:
        say("The study is over.")


def _told(*values: Any) -> dict[str, Any]:
    names = ("sampler", "pruner", "trials", "minutes", "total_epochs", "epochs", "objective",
             "executions", "folds", "keep")  # fmt: skip
    return {f"tune.{name}": value for name, value in zip(names, values, strict=True)}


def _search(
    dataset: str,
    out: str | None,
    recipe: str,
    settings: list[str] | None,
    told: dict[str, Any],
    seed: int | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Run a search and print what came out."""
    from lorgnette import resolve, studies
    from lorgnette.report import study_terminal
    from lorgnette.tuning.settings import parse

    data = resolve.data(recipe, settings or (), {**told, "seed": seed})
    tuned = parse(data.pop("tune", {}), f"recipe {recipe}")
    place = out or str(Path(STUDIES) / (Path(dataset.rstrip("/")).stem or "study"))
    with _board() as shown:
        stages = studies.tune(dataset, data, tuned, place, shown=shown, **how)
    if as_json:
        made = [str(folder) for folder in _made(Path(place))]
        plain = [_plain(facts) for facts in stages]
        print(json.dumps({"study": place, "stages": plain, "made": made}))
        return
    for number, facts in enumerate(stages):
        folder = Path(place) if number == 0 else Path(place) / f"stage-{number + 1}"
        study_terminal.show(facts, folder / "study.html")
    for folder in _made(Path(place)):
        found = json.loads((folder / "evaluation.json").read_text())["test"]
        test = found.get("ensemble", found)["accuracy"]
        interval = f"{test['low']:.4f}–{test['high']:.4f}, n = {test['n']:,}"
        print(f"{folder}: test accuracy {test['value']:.4f} ({interval})")


def _made(place: Path) -> list[Path]:
    """The finished runs that a recipe has made of the best: a training anew, ensembles."""
    folders = [place / "final" / "run", *sorted((place / "ensembles").glob("*"))]
    return [folder for folder in folders if (folder / "evaluation.json").is_file()]


def _plain(facts: StudyFacts) -> dict[str, Any]:
    """What `--json` tells of a study."""
    numbered = {trial.number: trial for trial in facts.trials}
    best = None if facts.best is None else numbered[facts.best]
    default = None if facts.default is None else numbered[facts.default].value
    states: dict[str, int] = {}
    for trial in facts.trials:
        states[trial.state] = states.get(trial.state, 0) + 1
    return {
        "objective": facts.objective,
        "trials": states,
        "best": None if best is None else best.model_dump(mode="json", exclude={"curve"}),
        "default": default,
        "corrected": facts.optimism and facts.optimism.corrected,
        "seconds": round(facts.seconds, 2),
        "compute": round(facts.compute, 2),
    }


@contextmanager
def _board() -> Iterator[Callable[[StudyFacts], None] | None]:
    """A live table where somebody looks."""
    if console.quiet or not console.is_terminal:
        yield None
        return
    from rich.live import Live

    from lorgnette.report.study_terminal import board

    began = time.time()

    def show(facts: StudyFacts) -> None:
        created = datetime.fromisoformat(facts.created).timestamp()
        live.update(board(facts, time.time() - created, began - created))

    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield show
