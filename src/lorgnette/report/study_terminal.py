"""A search in a terminal: a live board while it runs, and a summary at its end."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lorgnette.report import study, study_space, study_words, words
from lorgnette.tuning.facts import StudyFacts, Trial

RUNNING = 12
"""Trials under way that are listed."""
BEST = 5
"""Trials in the summary."""
REASONS = 3
"""Reasons of rejection and failure that are told."""
SETTINGS = 4
"""Settings that the summary shows of each, the most important ones."""


def board(facts: StudyFacts, now: float, since: float = 0.0) -> RenderableType:
    """What a search is doing: the best so far, trials under way, states, rate and time left.

    Args:
        facts: what is known of the study; `seconds` up to now.
        now: seconds since the study began, as the trials count them.
        since: when this session of it began, likewise; only what ended since tells the rate.
    """
    parts: list[RenderableType] = [_title(facts), _best(facts), _pace(facts, now, since)]
    running = facts.in_state("running")
    if running:
        parts += ["", _under_way(facts, running, now)]
    return Group(*parts)


def summary(facts: StudyFacts) -> RenderableType:
    """The headline, the best trials with their main settings, states, time and cautions."""
    parts: list[RenderableType] = [f"[bold]{escape(''.join(study_words.headline(facts)))}[/]"]
    found = facts.optimism
    if found is not None and facts.best is not None:
        limits = study_words.span(facts, found.low, found.high)
        parts.append(
            f"corrected for the choice: {study_words.figure(facts, found.corrected)} "
            f"[dim]({limits})[/]"
        )
    if facts.best_first:
        parts.append(_trials(facts))
    spent = f"{words.seconds(study.compute(facts))} of training in {words.seconds(facts.seconds)}"
    counted = study_words.tally(facts) or "none"
    parts.append(f"trials: {counted}; {spent}")
    best = facts.trial(facts.best)
    if best is not None and facts.command:
        parts.append(Text(f"the best again: {study.command(facts, best)}"))
    parts += _ends(facts)
    parts += [f"[yellow]{escape(text)}[/]" for text in study_words.cautions(facts)]
    return Group(*parts)


def show(facts: StudyFacts, page: Path | None = None) -> None:
    """Print the summary and where the page is, on standard output."""
    out = Console(highlight=False)
    out.print(summary(facts), soft_wrap=True)
    if page is not None:
        out.print(f"report: {page}", soft_wrap=True, markup=False)


def rate(facts: StudyFacts, now: float, since: float = 0.0) -> float | None:
    """Trials in an hour, over those that ended in this session; None before the first of them."""
    ended = [t for t in facts.trials if t.finished is not None and t.finished >= since]
    return 3600 * len(ended) / (now - since) if ended and now > since else None


def left(facts: StudyFacts, now: float, since: float = 0.0) -> float | None:
    """Seconds until the first budget is used up; None where that cannot be told.

    Trials and epochs are reckoned at the pace of this session.
    """
    found = []
    per_hour = rate(facts, now, since)
    if facts.planned is not None and per_hour:
        found.append(3600 * max(0, facts.planned - _ended(facts)) / per_hour)
    if facts.planned_seconds is not None:
        found.append(max(0.0, facts.planned_seconds - facts.seconds))
    if facts.planned_epochs is not None and per_hour:
        done = sum(trial.epochs for trial in facts.trials)
        ended = [t for t in facts.trials if t.finished is not None and t.finished >= since]
        each = sum(trial.epochs for trial in ended) / len(ended)
        if each:
            missing = max(0, facts.planned_epochs - done)
            found.append(3600 * missing / each / per_hour)
    return min(found) if found else None


def _ended(facts: StudyFacts) -> int:
    return len(facts.trials) - len(facts.in_state("running", "waiting"))


def _title(facts: StudyFacts) -> Text:
    way = facts.sampler + (f" with {facts.pruner}" if facts.pruner != "none" else "")
    return Text.assemble((facts.title, "bold"), ("  " + way, "dim"))


def _best(facts: StudyFacts) -> Text:
    best, default = facts.trial(facts.best), facts.trial(facts.default)
    if best is None or best.value is None:
        return Text("best  none yet")
    line = Text.assemble(
        "best  ", (study_words.figure(facts, best.value), "bold green"), f"  trial {best.number}"
    )
    if default is not None and default.value is not None and default.number != best.number:
        line.append(f"  default {study_words.figure(facts, default.value)}", "dim")
    keys = [each.key for each in study_space.ordered(facts)][:SETTINGS]
    line.append("  " + study_words.settings(best, keys), "dim")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _pace(facts: StudyFacts, now: float, since: float) -> RenderableType:
    """A bar where the number of trials is known; states, rate and time left beside it."""
    ended = _ended(facts)
    said = [study_words.tally(facts, "running", "waiting") or "no trial has ended yet"]
    per_hour = rate(facts, now, since)
    if per_hour is not None:
        said.append(f"{per_hour:,.0f} trials/h" if per_hour >= 10 else f"{per_hour:.1f} trials/h")
    remaining = left(facts, now, since)
    if remaining is not None:
        said.append(f"{words.seconds(round(remaining))} left")
    line = Table.grid(padding=(0, 2))
    if facts.planned:
        count = f"{ended:,}/{facts.planned:,}"
        line.add_row(ProgressBar(facts.planned, ended, width=16), count, ", ".join(said))
    else:
        line.add_row(words.count(ended, "trial"), ", ".join(said))
    return line


def _under_way(facts: StudyFacts, running: list[Trial], now: float) -> Table:
    """A row for each trial that runs: its worker, epoch, value after it and age."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("trial", "epoch", study_words.measure(facts), "for"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("worker", no_wrap=True)
    for trial in running[:RUNNING]:
        epochs = f"{trial.epochs:,}" + (f"/{facts.trial_epochs:,}" if facts.trial_epochs else "")
        last = study_words.figure(facts, trial.curve[-1][1]) if trial.curve else words.NONE
        age = words.NONE if trial.started is None else words.seconds(max(0, now - trial.started))
        again = "  (taken up)" if trial.taken_up else ""
        table.add_row(str(trial.number), epochs, last, age, escape(trial.worker) + again)
    if len(running) > RUNNING:
        table.add_row(f"and {len(running) - RUNNING} more", style="dim")
    return table


def _trials(facts: StudyFacts) -> Table:
    keys = [each.key for each in study_space.ordered(facts)][:SETTINGS]
    table = Table(box=None, header_style="dim", pad_edge=False)
    kind = study_words.measure(facts).partition(" ")[2]
    for name in ("\ntrial", f"validation\n{kind}", "\nepochs", "\ntime"):
        table.add_column(name, justify="right", no_wrap=True)
    for key in keys:
        own, section = study_words.parted(key)
        name = f"{section.rpartition('.')[2]}\n{own}"
        table.add_column(escape(name), no_wrap=True, overflow="ellipsis")
    for trial in facts.best_first[:BEST]:
        limits = study_words.interval(facts, trial.value)
        value = study_words.figure(facts, trial.value)
        value += f"\n[dim]{study_words.span(facts, *limits)}[/]" if limits else ""
        name = f"{trial.number}" + ("\n[dim]default[/]" if trial.number == facts.default else "")
        cells = [
            study_words.said(trial.values[key]) if key in trial.values else words.NONE
            for key in keys
        ]
        table.add_row(
            name, value, f"{trial.epochs:,}", words.seconds(trial.seconds), *map(escape, cells)
        )
    return table


def _ends(facts: StudyFacts) -> list[Text]:
    """Why trials have no result, the commonest reasons."""
    return [
        Text(
            f"{row.state}: {words.count(len(row.numbers), 'trial')}, such as {row.numbers[0]}: "
            f"{row.reason}"
        )
        for row in study.ended(facts)[:REASONS]
    ]
