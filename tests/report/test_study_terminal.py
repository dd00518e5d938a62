"""A search in a terminal: the board while it runs, the summary at its end."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from studies import study

from lorgnette.report.study_terminal import RUNNING, board, left, rate, show, summary
from lorgnette.tuning.facts import StudyFacts, Trial


def text(shown: RenderableType, width: int = 110) -> str:
    console = Console(width=width, highlight=False, record=True, file=io.StringIO())
    console.print(shown)
    return console.export_text()


def live(*trials: Trial, **changes: Any) -> StudyFacts:
    settings: dict[str, Any] = {"title": "t", "dataset": "d", "sampler": "gp", "dimensions": []}
    return StudyFacts(trials=list(trials), items=200, **{**settings, **changes})


def ended(number: int, finished: float, **rest: Any) -> Trial:
    settings = {"state": "complete", "value": 0.5 + number / 100, "epochs": 10}
    return Trial(number=number, finished=finished, **{**settings, **rest})


def test_rate_and_time_left_by_hand() -> None:
    facts = live(ended(0, 100.0), ended(1, 1010.0), ended(2, 1050.0, state="pruned", epochs=4),
                 Trial(number=3, state="running", epochs=6), planned=23, seconds=300.0)  # fmt: skip
    # Two in the 100 seconds of this session: the night before it does not count.
    assert rate(facts, 1100.0, since=1000.0) == pytest.approx(72)
    assert rate(facts, 1100.0) == pytest.approx(3 * 3600 / 1100)
    assert left(facts, 1100.0, since=1000.0) == pytest.approx(20 * 50)
    timed = facts.model_copy(update={"planned_seconds": 700.0})
    assert left(timed, 1100.0, since=1000.0) == pytest.approx(400)
    # 30 epochs are done; those of this session took 7 each on average, at 72 trials an hour.
    counted = facts.model_copy(update={"planned": None, "planned_epochs": 100})
    assert left(counted, 1100.0, since=1000.0) == pytest.approx(70 / 7 * 50)
    assert left(facts.model_copy(update={"planned": None}), 1100.0) is None
    assert rate(live(), 5.0) is None


def test_the_board_says_what_goes_on() -> None:
    facts = live(
        ended(0, 30.0, value=0.80),
        ended(1, 60.0, value=0.91, values={"train.lr": 0.00312345}),
        ended(2, 70.0, state="rejected", value=None),
        Trial(number=3, state="running", worker="host-1", epochs=4, curve=[(4, 0.7)], started=70.0),
        Trial(number=4, state="running", worker="host-2", started=80.0, taken_up=1),
        Trial(number=5, state="waiting"),
        best=1, default=0, planned=20, trial_epochs=12,
    )  # fmt: skip
    shown = text(board(facts, now=90.0))
    for part in ("best  91.0%  trial 1  default 80.0%", "3/20", "2 complete, 1 rejected",
                 "120 trials/h", "8 min 30 s left", "4/12", "70.0%", "20 s", "host-1",
                 "host-2  (taken up)"):  # fmt: skip
        assert part in shown, part
    assert "waiting" not in shown


def test_the_board_before_anything_has_ended() -> None:
    shown = text(board(live(Trial(number=0, state="running")), now=0.0))
    assert "none yet" in shown
    assert "no trial has ended yet" in shown
    assert "left" not in shown


def test_the_board_stays_short() -> None:
    facts = live(*(Trial(number=n, state="running", worker="w") for n in range(40)))
    lines = text(board(facts, now=1.0)).splitlines()
    assert len(lines) < RUNNING + 8
    assert any("and 28 more" in line for line in lines)


def test_names_are_not_markup() -> None:
    facts = live(
        ended(0, 1.0, value=0.9, worker="[red]w", values={"[bold]k": "[link=x]v"}, run="[dim]r"),
        Trial(number=1, state="running", worker="[/red]"),
        Trial(number=2, state="failed", reason="[/nothing]"),
        title="[blink]", best=0, command="run {run}",
    )  # fmt: skip
    assert "[blink]" in text(board(facts, now=2.0))
    assert "[/red]" in text(board(facts, now=2.0))
    shown = text(summary(facts))
    assert "run [dim]r" in shown
    assert "[/nothing]" in shown


def test_the_summary_and_where_the_page_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = study(states={"pruned": 0.2, "failed": 0.2})
    show(facts, tmp_path / "study.html")
    out = capsys.readouterr().out
    best = facts.best_first[0]
    for part in (
        f"The best of {len(facts.best_first)} finished trials",
        "corrected for the choice:",
        f"studies/glasses/{best.run}/config.toml",
        f"trials: {len(facts.best_first)} complete",
        "CUDA ran out of memory",
        f"report: {tmp_path / 'study.html'}",
    ):
        assert part in out, part
    assert max(map(len, text(summary(facts), 80).splitlines())) <= 80


@pytest.mark.parametrize("states", [{"failed": 1.0}, {"pruned": 1.0}, {"waiting": 1.0}])
def test_a_summary_without_a_result(states: Any, capsys: pytest.CaptureFixture[str]) -> None:
    show(study(5, states=states))
    out = capsys.readouterr().out
    assert "finished" in out
    assert f"5 {next(iter(states))}" in out
    assert "report" not in out
