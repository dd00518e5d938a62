"""The verb: search a space on a dataset, with workers here, elsewhere, or both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage

from lorgnette.dataset.store import Dataset
from lorgnette.engines import open_engine
from lorgnette.errors import ConfigError, EngineError
from lorgnette.progress import say
from lorgnette.tuning import facts, leases
from lorgnette.tuning.chief import Chief, Trials
from lorgnette.tuning.record import collect
from lorgnette.tuning.settings import TuneConfig
from lorgnette.tuning.storages import CHIEF, address, serve, storage_at, without_password
from lorgnette.tuning.study import Plan, StudyDir, create, dataset_digest, trials_of
from lorgnette.tuning.trial import parts
from lorgnette.tuning.worker import labour

ELSEWHERE = 8
"""How many workers a chief expects that cannot know."""
ON_ONE_GPU = 3
"""Small networks leave most of a GPU idle; each worker has its own copy of the pixels there."""
LINGER_SECONDS = 3.0
"""How long a chief stays when all is done, so that workers elsewhere hear of it."""

Shown = Callable[[facts.StudyFacts], None]


def search(
    dataset: Dataset,
    data: Mapping[str, Any],
    settings: TuneConfig,
    place: StudyDir,
    *,
    workers: int | None = None,
    storage: str | None = None,
    bind: str | None = None,
    grace: float = leases.GRACE_SECONDS,
    shown: Shown | None = None,
) -> facts.StudyFacts:
    """Try configurations until the budget is used up; killed and called again, it goes on.

    The caller holds the lock of the study's directory.

    Args:
        dataset: what is learnt; the search sees its train and validation parts.
        data: the recipe with its spaces, as `lorgnette.resolve.data` gives it, without `tune`.
        settings: sampler, pruner, budget.
        place: the study's directory; empty, or holding the same study.
        workers: processes here; one per processor, 3 on a GPU, if not given; with `bind` none.
        storage: of the trials; SQLite in the directory if not given.
        bind: `HOST:PORT` that workers elsewhere may call, which makes this a chief.
        grace: seconds after which a silent worker elsewhere counts as dead.
        shown: given the facts so far, twice a second.

    Returns:
        The facts of the study.

    Raises:
        ConfigError: the space or a setting is not allowed.
        ModelError: the directory holds something else.
        EngineError: every worker ended with an error; what was finished stays.
    """
    if storage is not None and storage != without_password(storage):
        raise ConfigError(
            "A study notes where its trials are, and a password does not belong there: leave it "
            "out of --storage and set PGPASSWORD, or use ~/.pgpass."
        )
    plan = Plan(data, settings, dataset.location, dataset_digest(dataset), str(place.root))
    if not plan.space.dimensions:
        raise ConfigError(
            "A search needs a setting that is left open: --set train.optimizer.lr='{log = [1e-4, "
            "1e-2]}', or a recipe with spaces such as quick."
        )
    # What cannot be done is told before anything is begun.
    parts(dataset, plan)
    if settings.sampler == "grid":
        next(plan.space.grid())
    if storage is not None:
        with storage_at(storage):
            pass
    place.begin(plan, str(data.get("recipe", "default")), storage)
    with storage_at(place.location) as opened:
        study = create(opened, place.name, plan)
        seconds = _conduct(study, plan, place, opened, workers, bind, grace, shown)
        return collect(study, plan, place, study.get_trials(deepcopy=False), seconds)


def _conduct(
    study: optuna.Study,
    plan: Plan,
    place: StudyDir,
    storage: BaseStorage,
    workers: int | None,
    bind: str | None,
    grace: float,
    shown: Shown | None,
) -> float:
    """Keep chief and workers at it until the study is over; the seconds that it took in all."""
    here = (0 if bind is not None else usual_workers(plan)) if workers is None else workers
    where = plan.space.config({}).engine
    engine = None if here == 0 else open_engine(where.model_copy(update={"workers": here}))
    shower = _Shower(shown, study, plan, place) if shown else None
    chief = Chief(study, plan, place, engine.workers if engine else ELSEWHERE, shower, grace)
    location = place.location
    if bind is not None:
        called = _listen(storage, bind)
        _invite(called, plan.dataset)
        location = location if where.name == "local" else CHIEF + called
    elif engine is not None and where.name != "local" and location.startswith("sqlite"):
        # Processes of other machines must not share a file of SQLite: they call.
        location = CHIEF + _listen(storage, "127.0.0.1:0")
    ended: list[str] = []
    with chief:
        if engine is not None:
            ended = labour(
                engine,
                location=location,
                name=place.name,
                dataset=plan.dataset,
                directory=str(place.root),
                over=lambda: chief.over,
            )
        if not ended:
            chief.wait()
    if chief.error is not None:
        raise chief.error
    if ended:
        raise EngineError(
            f"The workers of the study ended with an error: {ended[0]} What was finished is kept: "
            "mend the cause and start the same command again."
        )
    if bind is not None:
        time.sleep(LINGER_SECONDS)
    return chief.elapsed


def usual_workers(plan: Plan) -> int | None:
    """Workers where nobody says how many: one per processor; on a GPU some that share it."""
    from lorgnette.devices import choose

    train = plan.space.config({}).train
    on_cpu = choose(train.device, train.precision).torch.type == "cpu"
    return None if on_cpu else ON_ONE_GPU


def _listen(storage: BaseStorage, bind: str) -> str:
    """Let workers call; returns HOST:PORT."""
    host, port = address(bind)
    return f"{host}:{serve(storage, host, port)}"


def _invite(where: str, dataset: str) -> None:
    host, _ = address(where)
    say(
        f"The chief listens on {where}. On each machine: lorgnette tune worker --chief {where} "
        f"--dataset {dataset}"
    )
    if host not in ("127.0.0.1", "localhost", "::1"):
        say(
            "Whoever reaches this address can change the study: keep it inside a network that you "
            "trust."
        )


class _Shower:
    """Turns trials into facts for whoever watches."""

    def __init__(self, shown: Shown, study: Any, plan: Plan, place: StudyDir) -> None:
        self.shown, self.study, self.plan, self.place = shown, study, plan, place

    def __call__(self, trials: Trials, seconds: float) -> None:
        self.shown(collect(self.study, self.plan, self.place, trials, seconds, whole=False))


def best_values(place: StudyDir, number: int) -> dict[str, Any]:
    """The values of a trial by setting, as its worker noted them."""
    values: dict[str, Any] = trials_of(place)[number].user_attrs["values"]
    return values
