"""The page of a search: what it says against what was put in, and whole for every kind of study."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_runs import EVIL
from sheets import check
from studies import study

from lorgnette.report import study_axes, study_figures, study_space, study_words
from lorgnette.report.study import NAME, alike, ended, rate, render, steps, workers, write
from lorgnette.tuning.facts import Dimension, Optimism, State, StudyFacts, Trial


def few(*trials: Trial, **changes: Any) -> StudyFacts:
    """A study of these trials and one setting."""
    facts = StudyFacts(
        title="few",
        dataset="d",
        sampler="random",
        dimensions=[Dimension(key="train.lr", kind="log", low=1e-4, high=1e-1)],
        trials=list(trials),
        items=200,
        default=0,
        **changes,
    )
    best = facts.best_first
    return facts.model_copy(update={"best": best[0].number if best else None})


def trial(number: int, value: float | None, **rest: Any) -> Trial:
    settings = {"state": "complete", "values": {"train.lr": 1e-3 * (number + 1)}, "seconds": 10.0}
    return Trial(number=number, value=value, **{**settings, **rest})


def test_a_whole_study() -> None:
    facts = study(seed=2)
    page = check(render(facts))
    best = facts.trial(facts.best)
    assert best is not None
    assert best.value is not None
    for part in (
        f"The best of {len(facts.best_first)} finished trials gets {100 * best.value:.1f}%",
        "of 400 validation items right; about 1.8 points of that are likely the luck",
        "tpe with hyperband; 40 trials of at most 12 epochs",
        f"{len(facts.in_state('pruned'))} pruned",
        "n = 400",
        "32·64·128",
        f"lorgnette run --recipe studies/glasses/{best.run}/config.toml",
        f"--out again-{best.number}",
        "smaller than its kernel",
        "Tsamardinos",
        "3 May 2026",
    ):
        assert part in page.text, part
    sections = {a.get("id") for a in page.all("section")}
    assert sections == {"worth", "history", "best", "importance", "values", "parallel", "curves",
                        "cost", "ended", "workers", "all", "how"}  # fmt: skip
    linked = {(a.get("href") or "").removeprefix("#") for a in page.all("a")}
    assert linked == sections
    labels = [a.get("aria-label") or "" for a in page.all("svg") if a.get("role") == "img"]
    assert sum(" by train." in label or " by model." in label for label in labels) == 8


KINDS: dict[str, dict[str, Any]] = {
    "empty": {"trials": 0},
    "one": {"trials": 1},
    "all failed": {"trials": 9, "states": {"failed": 0.5, "rejected": 0.5}},
    "all pruned": {"trials": 9, "states": {"pruned": 1.0}},
    "all waiting": {"trials": 5, "states": {"waiting": 1.0}},
    "under way": {"states": {"running": 0.2, "waiting": 0.2}},
    "a loss": {"objective": "val_loss"},
    "no curves": {"curves": False, "importance": False, "optimism": False},
    "one setting": {"dimensions": 1},
    "one epoch": {"epochs": 1},
    "grouped": {"groups": 7},
    "unknown items": {"items": 0},
    "thirty workers": {"trials": 60, "workers": 30},
}


@pytest.mark.parametrize("kind", KINDS, ids=list(KINDS))
def test_every_kind_of_study_has_a_page(kind: str) -> None:
    page = check(render(study(**{"trials": 20, **KINDS[kind]})))
    said = {
        "empty": "So far, no trial has finished.",
        "one": "The only finished trial gets",
        "all failed": "Of 9 trials, none finished.",
        "all pruned": "Of 9 trials, none finished.",
        "all waiting": "The search is not over: 5 trials are under way or waiting.",
        "under way": "The search is not over",
        "a loss": "too low, by the luck of the choice",
        "no curves": "by how much is not known here",
        "grouped": "from only 7 groups",
        "unknown items": "of the validation items right",
        "thirty workers": "The first 24 of 30 workers.",
    }
    assert said.get(kind, "") in page.text
    sections = {a.get("id") for a in page.all("section")}
    assert ("curves" in sections) == (kind not in
        ("empty", "all failed", "all waiting", "no curves"))  # fmt: skip
    assert ("values" in sections) == (kind not in
        ("empty", "one", "all failed", "all pruned", "all waiting"))  # fmt: skip
    assert ("parallel" in sections) == ("values" in sections and kind != "one setting")


def test_hundreds_of_trials_with_many_settings() -> None:
    facts = study(500, dimensions=20, workers=8)
    page = check(render(facts))  # which also looks at its size
    drawn = study_space.drawn(facts)
    assert len(drawn) == study_space.DRAWN
    rest = [each.key for each in facts.dimensions if each not in drawn]
    assert f"Not drawn, since less important or in no finished trial: {rest[0]}, " in page.text
    assert all(key in page.text for key in rest)


def test_the_most_important_setting_is_first() -> None:
    facts = study(importance=False)
    assert [d.key for d in study_space.ordered(facts)] == [d.key for d in facts.dimensions]
    known = facts.model_copy(update={"importance": {"model.layers": 0.9, "model.dropout": 0.1}})
    order = [d.key for d in study_space.ordered(known)]
    assert order[:3] == ["model.layers", "model.dropout", "train.optimizer.lr"]


def test_names_of_all_kinds_are_escaped() -> None:
    dimension = Dimension(key=EVIL, kind="choice", choices=[EVIL, ["$x$", EVIL], None])
    trials = [
        Trial(number=n, state="complete", value=0.5 + n / 40, worker=EVIL, run=EVIL, seconds=1,
              started=n, finished=n + 1, values={EVIL: dimension.choices[n % 3]})
        for n in range(9)
    ]  # fmt: skip
    trials.append(Trial(number=9, state="failed", reason=EVIL))
    page = check(render(StudyFacts(
        title=EVIL, dataset=EVIL, sampler="random", dimensions=[dimension], trials=trials,
        best=8, default=0, workers=[EVIL], command=f"{EVIL} {{run}}", importance={EVIL: 1.0},
        seconds=9,
    )))  # fmt: skip
    assert EVIL in page.text


def test_values_as_people_write_them() -> None:
    assert study_words.said([32, 64, 128]) == "32·64·128"
    assert study_words.said([[3, 3], 2]) == "(3·3)·2"
    assert study_words.said([]) == "(empty)"
    assert study_words.said(0.0031622776) == "0.00316"
    assert [study_words.said(each) for each in (True, None, 4096, 0.5, "adam")] == [
        "true", "none", "4096", "0.5", "adam",
    ]  # fmt: skip


def test_names_of_settings_in_two_parts() -> None:
    assert study_words.parted("train.optimizer.lr") == ("lr", "train.optimizer")
    assert study_words.parted("model.filters.0") == ("filters.0", "model")
    assert study_words.parted("seed") == ("seed", "")


def test_steps_and_what_they_cost_by_hand() -> None:
    facts = few(
        trial(0, 0.80, finished=30.0),
        trial(1, 0.90, finished=20.0),
        trial(2, 0.85, state="pruned", finished=40.0, seconds=5.0),
        trial(3, 0.89, finished=50.0),
        trial(4, 0.92, finished=60.0),
        trial(5, None, state="running"),
    )
    # In the order in which they ended: 1, 0, 2, 3, 4, then what runs.
    found = [(s.number, s.value, s.spent, s.seconds) for s in steps(facts)]
    assert found == [(1, 0.90, 10.0, 10.0), (4, 0.92, 45.0, 35.0)]
    assert steps(facts)[1].gained == pytest.approx(0.02)
    assert steps(facts)[1].each == pytest.approx(17.5)
    # 55 seconds for 12 points.
    assert "the search gained 12 points in 55 s: 4.6 s for each point" in check(render(facts)).text


def test_steps_of_a_loss_go_down() -> None:
    facts = few(trial(0, 0.5), trial(1, 0.6), trial(2, 0.3), objective="val_loss",
                direction="minimize")  # fmt: skip
    assert facts.best == 2
    assert [step.value for step in steps(facts)] == [0.5, 0.3]
    assert steps(facts)[1].each == pytest.approx(1.0)
    text = check(render(facts)).text
    assert "The best of 3 finished trials has a validation loss of 0.300" in text


def test_trials_without_a_result_are_told_by_reason() -> None:
    facts = few(
        trial(0, None, state="rejected", reason="too small"),
        trial(1, None, state="rejected", reason="too small"),
        trial(2, None, state="failed", reason="no memory"),
        trial(3, None, state="rejected"),
    )
    assert [(row.state, row.reason, row.numbers) for row in ended(facts)] == [
        ("failed", "no memory", [2]),
        ("rejected", "too small", [0, 1]),
        ("rejected", "no reason is known", [3]),
    ]
    assert "1 trial failed while training" in check(render(facts)).text


def test_what_workers_did() -> None:
    facts = few(
        trial(0, 0.8, worker="b"),
        trial(1, 0.8, worker="a", taken_up=2),
        trial(2, None, worker="a", state="failed"),
        trial(3, 0.7, worker="a", state="pruned"),
        workers=["a", "idle"],
        seconds=7200.0,
    )
    rows = {row.name: row for row in workers(facts)}
    assert list(rows) == ["a", "idle", "b"]
    one = rows["a"]
    assert (one.trials, one.complete, one.pruned, one.other, one.taken_up) == (3, 1, 1, 1, 1)
    assert one.seconds == 30
    assert rate(facts) == 2


def test_how_many_are_as_good_as_the_best() -> None:
    # Wilson's interval of 180 of 200 reaches down to 85.1%.
    facts = few(trial(0, 0.9), trial(1, 0.86), trial(2, 0.84), trial(3, 0.88, state="pruned"))
    assert alike(facts) == 1
    assert "One other trial is within the best one’s 95% interval" in check(render(facts)).text
    assert alike(facts.model_copy(update={"groups": 20})) is None


def test_hopeless_trials_do_not_press_the_others_together() -> None:
    good = [trial(n, 0.90 + n / 1000) for n in range(1, 20)]
    facts = few(*good, trial(30, 0.1))
    shown = study_axes.window(facts)
    assert 0.8 < shown.low < 0.901
    assert shown.high > 0.919
    # The default is always seen, however bad.
    assert study_axes.window(few(trial(0, 0.2), *good)).low < 0.2
    assert shown.share(0.1) == 0
    assert shown.inside([0.1, 0.905]).tolist() == [0.905]
    loss = few(*good, objective="val_loss", direction="minimize")
    assert study_axes.window(loss).share(0.901) > study_axes.window(loss).share(0.919)


def test_the_luck_is_not_overstated() -> None:
    def said(value: float, corrected: float) -> str:
        found = Optimism(
            value=value, corrected=corrected, low=0.5, high=1, trials=2, items=200
        )  # fmt: skip
        return "".join(study_words.headline(few(trial(0, 0.8), trial(1, value), optimism=found)))

    assert "about 1 point of that is likely the luck" in said(0.9, 0.89)
    assert "about 12 points of that are likely" in said(0.9, 0.776)
    assert "next to nothing of that is the luck" in said(0.9, 0.9)
    assert "next to nothing of that is the luck" in said(0.9, 0.91)
    assert "less than 0.1 points" in said(0.9, 0.8994)


def test_a_default_as_good_as_the_best_is_told() -> None:
    judged = Optimism(value=0.9, corrected=0.88, low=0.85, high=0.91, trials=2, items=200)

    def told(default: float) -> str:
        facts = few(trial(0, default), trial(1, 0.9), optimism=judged)
        return " ".join(study_words.cautions(facts))

    assert "these figures do not show that the search gained anything" in told(0.86)
    assert "gained" not in told(0.84)
    assert "found nothing better" in told(0.95)


@pytest.mark.parametrize(
    ("value", "end"),
    [(1e-4, True), (1.05e-4, True), (2e-4, False), (1e-2, False), (0.099, True)],
)
def test_a_best_at_the_end_of_its_range_is_told(value: float, end: bool) -> None:
    facts = few(trial(0, 0.9, values={"train.lr": value}))
    text = " ".join(study_words.cautions(facts))
    assert ("beyond it may be better" in text) == end
    slight = facts.model_copy(update={"importance": {"train.lr": 0.01}})
    assert "beyond it" not in " ".join(study_words.cautions(slight))


def test_zero_is_no_end() -> None:
    dropout = Dimension(key="d", kind="linear", low=0.0, high=0.5)
    assert study_words.at_end(dropout, {"d": 0.0}) == ""
    assert study_words.at_end(dropout, {"d": 0.5}) == "d = 0.5"
    assert study_words.at_end(dropout, {}) == ""


def test_places_of_values() -> None:
    choice = Dimension(key="k", kind="choice", choices=[0, False, [3, 5], None])
    scale = study_space.Scale(choice, [])
    assert [scale.at(each) for each in (0, False, [3, 5], None, 0.0)] == [0, 1, 2, 3, 0]
    log = Dimension(key="train.lr", kind="log", low=1e-4, high=1e-2)
    scale = study_space.Scale(log, [trial(0, 0.5)])
    assert scale.share(1e-3) == pytest.approx(0.5)
    whole = Dimension(key="k", kind="linear", integer=True, low=1, high=9)
    trials = [trial(n, 0.5, values={"k": 1 + 4 * (n % 2)}) for n in range(6)]
    assert study_space.Scale(whole, trials).categories == [1, 5]
    assert study_space.Scale(whole, trials[:2]).categories is None


def test_what_is_not_finite_is_no_value() -> None:
    odd = Trial(number=0, state="complete", value=float("nan"),
                curve=[(1, 0.5), (2, float("inf"))])  # fmt: skip
    assert odd.value is None
    assert odd.curve == [(1, 0.5)]
    check(render(few(odd, trial(1, 0.5))))


def test_many_curves_are_thinned_evenly() -> None:
    trials = [trial(n, 0.5, curve=[(1, 0.5)]) for n in range(200)]
    some = study_figures._some(trials)
    assert len(some) == study_figures.CURVES
    assert (some[0].number, some[-1].number) == (0, 199)


def test_facts_go_through_json() -> None:
    facts = study()
    assert StudyFacts.model_validate_json(facts.model_dump_json()) == facts


def test_it_is_written_beside_the_study(tmp_path: Path) -> None:
    page = write(tmp_path, study(8))
    assert page == tmp_path / NAME
    assert check(page.read_text(encoding="utf-8")).text


@pytest.mark.browser
def test_a_browser_shows_it_without_a_word(tmp_path: Path, shown: Callable[[Path], str]) -> None:
    states: dict[State, float] = {"pruned": 0.2, "failed": 0.1, "running": 0.1}
    document = shown(write(tmp_path, study(30, title=EVIL, states=states)))
    assert document.count("<section") == 12
    assert "viewBox" in document
