"""Studies as a collector finds them, made up for the tests of the report."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from lorgnette.tuning.facts import Dimension, Optimism, State, StudyFacts, Trial

DIMENSIONS = [
    Dimension(key="train.optimizer.lr", kind="log", low=1e-4, high=1e-1),
    Dimension(key="model.filters", kind="choice", choices=[[32, 64], [32, 64, 128], [16, 32, 64]]),
    Dimension(key="model.dropout", kind="linear", low=0.0, high=0.7),
    Dimension(key="train.optimizer.name", kind="choice", choices=["adam", "sgd", "rmsprop"]),
    Dimension(key="train.optimizer.momentum", kind="linear", low=0.5, high=0.99),
    Dimension(key="train.batch_size", kind="choice", choices=[16, 32, 64, 128]),
    Dimension(key="model.layers", kind="linear", integer=True, low=1, high=4),
    Dimension(key="model.batchnorm", kind="choice", choices=[False, True]),
]
"""Of every kind; the momentum depends on the optimizer."""


def study(
    trials: int = 40,
    *,
    seed: int = 0,
    objective: Literal["val_accuracy", "val_loss"] = "val_accuracy",
    dimensions: int = len(DIMENSIONS),
    states: dict[State, float] | None = None,
    epochs: int = 12,
    workers: int = 2,
    items: int = 400,
    curves: bool = True,
    importance: bool = True,
    optimism: bool = True,
    **changes: Any,
) -> StudyFacts:
    """A search that is mostly of the learning rate.

    Args:
        trials: how many.
        seed: of everything.
        objective: what is judged.
        dimensions: settings; beyond eight they are plain numbers without an effect.
        states: the shares of the states, of which complete is the rest.
        epochs: of a trial.
        workers: how many.
        items: validation items.
        curves: whether there are any.
        importance: likewise.
        optimism: likewise.
        changes: to the facts as a whole.
    """
    random = np.random.default_rng(seed)
    space = [*DIMENSIONS[:dimensions]]
    space += [
        Dimension(key=f"model.extra_{n}", kind="linear", low=0, high=1)
        for n in range(len(space), dimensions)
    ]
    shares = {"pruned": 0.3, "rejected": 0.05, "failed": 0.03} if states is None else states
    names = [f"host-{1 + n // 2}.{n % 2}" for n in range(workers)]
    free = np.zeros(workers)
    made = []
    for number in range(trials):
        worker = int(free.argmin())
        values = draw(space, random)
        state = _state(shares, float(random.random()), number)
        quality = _quality(values, random)
        trial = _trial(number, state, values, quality, objective, epochs, curves, random)
        started = float(free[worker])
        finished = started + trial.seconds * 1.05 + 0.2
        free[worker] = finished
        done = state not in ("running", "waiting")
        made.append(
            trial.model_copy(
                update={
                    "worker": names[worker] if state != "waiting" else "",
                    "started": started if state != "waiting" else None,
                    "finished": finished if done else None,
                    "taken_up": int(number % 17 == 5),
                }
            )
        )
    facts = StudyFacts(
        title="studies/glasses",
        dataset="/data/portraits-2000",
        objective=objective,
        direction="maximize" if objective == "val_accuracy" else "minimize",
        sampler="tpe",
        pruner="hyperband",
        budget=f"{trials} trials of at most {epochs} epochs",
        seed=seed,
        created="2026-05-03T10:00:00+00:00",
        items=items,
        dimensions=space,
        trials=made,
        default=0 if made and made[0].state == "complete" else None,
        seconds=float(free.max()),
        compute=sum(trial.seconds for trial in made),
        workers=names,
        machine={"processor": "Some Processor", "gpu": None},
        command="lorgnette run --recipe studies/glasses/{run}/config.toml --out again-{number}",
        planned=trials,
        trial_epochs=epochs,
    )
    best = facts.best_first
    update: dict[str, Any] = {"best": best[0].number if best else None}
    if importance and best:
        weights = np.array([0.5 * 0.55**n for n in range(len(space))])
        update["importance"] = {
            each.key: float(weight)
            for each, weight in zip(space, weights / weights.sum(), strict=True)
        }
    if optimism and best and best[0].value is not None:
        own = best[0].value
        worse = -0.018 if objective == "val_accuracy" else 0.02
        update["optimism"] = Optimism(
            value=own,
            corrected=own + worse,
            low=own + worse - 0.03,
            high=own + worse + 0.026,
            trials=len(best),
            items=items,
        )
    return facts.model_copy(update={**update, **changes})


def draw(space: list[Dimension], random: np.random.Generator) -> dict[str, Any]:
    """A point of the space."""
    values: dict[str, Any] = {}
    for each in space:
        if each.kind == "choice":
            values[each.key] = each.choices[int(random.integers(len(each.choices)))]
            continue
        assert each.low is not None
        assert each.high is not None
        if each.kind == "log":
            drawn = math.exp(random.uniform(math.log(each.low), math.log(each.high)))
        else:
            drawn = float(random.uniform(each.low, each.high + (0.999 if each.integer else 0)))
        values[each.key] = int(drawn) if each.integer else drawn
    if values.get("train.optimizer.name") == "adam":
        values.pop("train.optimizer.momentum", None)
    return values


def _state(shares: dict[Any, float], at: float, number: int) -> State:
    if number == 0 and "complete" not in shares and sum(shares.values()) < 1:
        return "complete"
    for state, share in shares.items():
        if at < share:
            return state  # type: ignore[no-any-return]
        at -= share
    return "complete"


def _quality(values: dict[str, Any], random: np.random.Generator) -> float:
    rate = values.get("train.optimizer.lr", 0.003)
    far = abs(math.log10(rate / 0.004))
    found = 0.93 - 0.07 * far**2 - 0.06 * max(0.0, values.get("model.dropout", 0.3) - 0.4)
    found -= 0.02 * (values.get("train.optimizer.name") == "rmsprop")
    return float(np.clip(found + random.normal(0, 0.012), 0.5, 0.995))


def _trial(
    number: int,
    state: State,
    values: dict[str, Any],
    quality: float,
    objective: str,
    epochs: int,
    curves: bool,
    random: np.random.Generator,
) -> Trial:
    if state in ("rejected", "waiting"):
        reason = "Layer 4 would see a map of 2 pixels, smaller than its kernel of 3."
        return Trial(
            number=number, state=state, values=values, reason=reason if state == "rejected" else ""
        )
    done = {"complete": epochs, "failed": 2}.get(state, int(random.integers(1, max(2, epochs))))
    curve = []
    for epoch in range(1, done + 1):
        at = quality - (quality - 0.5) * math.exp(-epoch / 2.5) + float(random.normal(0, 0.006))
        at = min(max(at, 0.3), 1.0)
        curve.append((epoch, at if objective == "val_accuracy" else 2.2 * (1 - at) + 0.1))
    best = max(at for _, at in curve)
    if objective == "val_loss":
        best = min(at for _, at in curve)
    return Trial(
        number=number,
        state=state,
        reason="CUDA ran out of memory: 2.1 GiB were asked for." if state == "failed" else "",
        values=values,
        value=best if state in ("complete", "pruned") else None,
        curve=curve if curves else [],
        epochs=done,
        seconds=done * float(random.uniform(0.5, 1.6)),
        executions=[best] if state == "complete" else [],
        run=f"trials/{number:04d}/0",
    )
