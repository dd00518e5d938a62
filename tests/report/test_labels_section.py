"""A report's section on labels: three yardsticks, none of them mixed with another."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import audit_of, audited_run, decide
from report_runs import EVIL, finished_run
from scipy.stats import binomtest
from sheets import check

from lorgnette.dataset.store import Dataset
from lorgnette.evaluation.intervals import wilson
from lorgnette.predictions import Predictions
from lorgnette.report import labels_words
from lorgnette.report.collect import collect
from lorgnette.report.facts import Facts
from lorgnette.report.page import render, write
from lorgnette.rundir import Run

RULE = "suspicion >= 0.95"


def ids_on_test(root: Path) -> list[str]:
    """The ids of a run's test items."""
    ids: list[str] = Predictions.load(Run(root).storage, "predictions/test.parquet").ids.tolist()
    return ids


def settled(
    root: Path, *, each: int = 40, ruled: int = 6, confirmed: int = 60, dropped: int = 0, **of: Any
) -> Path:
    """A run on `2 * each` test items, whose first labels a rule has turned into the other class.

    Given labels: `each` times 0, then `each` times 1. A person confirms the first `confirmed` of
    the others' labels and drops the last `dropped` ones. The model before answers as given but for
    the last 10; the one after answers as decided but for the last 2.
    """
    finished_run(root, each=each, **of)
    dataset = Dataset.load(str(root / "dataset"))
    names, ids = dataset.info.classes, ids_on_test(root)
    decide(dataset, ids[:ruled], "relabel", names[1], by="rule", reason=RULE)
    person = ids[ruled : ruled + confirmed] if confirmed else []
    if person:
        decide(dataset, person, "confirm")
    if dropped:
        decide(dataset, ids[-dropped:], "drop")
    given = np.repeat([0, 1], each)
    decided = np.where(np.arange(2 * each) < ruled, 1, given)
    before, after = given.copy(), decided.copy()
    before[-10:] = 0
    after[-2:] = 0
    audit = audit_of(dataset, np.where(np.arange(len(dataset)) % 10 == 0, 0.97, 0.02))
    audited_run(root, before, after, confirmed=ruled + confirmed, audit=audit)
    return root


def labels_of(facts: Facts) -> Any:
    assert facts.labels is not None
    return facts.labels


def test_without_decisions_and_audit_there_is_no_section(tmp_path: Path) -> None:
    facts = collect(finished_run(tmp_path))
    assert facts.labels is None
    page = check(render(facts))
    assert "#labels" not in {attributes.get("href") for attributes in page.all("a")}
    assert "by the labels as" not in page.text
    assert "The labels are as given and were not verified." in page.text


def test_three_yardsticks_by_hand(tmp_path: Path) -> None:
    labels = labels_of(collect(settled(tmp_path)))
    assert (labels.learnt, labels.tested, labels.leads) == ("decided", "decided", "confirmed")
    found = {row.kind: row.evaluation for row in labels.yardsticks}
    assert {kind: evaluation.n for kind, evaluation in found.items()} == {
        "given": 80,
        "decided": 80,
        "confirmed": 60,
    }
    # The model after is right as decided but for the last two: against given labels the six that
    # the rule changed are wrong too; the confirmed ones end at item 65.
    assert found["given"].accuracy.value == pytest.approx(72 / 80)
    assert found["decided"].accuracy.value == pytest.approx(78 / 80)
    assert found["confirmed"].accuracy.value == 1
    parts = {part.name: (part.items, part.changed, part.by_rule) for part in labels.parts}
    assert parts == {"train": (80, 0, 0), "val": (80, 0, 0), "test": (80, 6, 6)}


def test_before_and_after_are_paired_by_hand(tmp_path: Path) -> None:
    rows = {row.kind: row for row in labels_of(collect(settled(tmp_path))).against}
    given, decided, confirmed = rows["given"], rows["decided"], rows["confirmed"]
    # Given: before is wrong about the last 10; after about the first 6 and the last 2.
    assert (given.n, given.lost, given.gained) == (80, 6, 8)
    assert given.before.value == pytest.approx(70 / 80)
    assert given.after.value == pytest.approx(72 / 80)
    assert given.difference == pytest.approx(2 / 80)
    assert given.p == pytest.approx(binomtest(6, 14).pvalue)
    # Decided: before is wrong about the first 6 and the last 10, after about the last 2.
    assert (decided.n, decided.lost, decided.gained) == (80, 0, 14)
    assert decided.difference == pytest.approx(14 / 80)
    assert decided.p == pytest.approx(binomtest(0, 14).pvalue)
    assert (decided.before.low, decided.before.high) == pytest.approx(wilson(64 / 80, 80))
    assert decided.low is not None
    assert decided.low > 0
    # Confirmed: items 6 to 65, where both are right.
    assert (confirmed.n, confirmed.lost, confirmed.gained, confirmed.p) == (60, 0, 0, 1)
    assert confirmed.before.value == confirmed.after.value == 1


def test_the_headline_says_by_which_labels(tmp_path: Path) -> None:
    few = collect(settled(tmp_path / "few", confirmed=20))
    assert labels_of(few).leads == "decided"
    assert "".join(labels_words.headline(few)) == (
        "On 80 test images that were never used for any choice, 97.5% were right by the labels as "
        "decided."
    )
    assert labels_words.cautions(few.labels, "image")[0].startswith(
        "6 labels of the test part were decided by rule, after models of the same kind"
    )
    assert "With 20 labels it is too rough" in labels_words.meaning(
        "confirmed", labels_of(few), "image"
    )
    many = collect(settled(tmp_path / "many", confirmed=50))
    assert "".join(labels_words.headline(many)) == (
        "On 50 test images that were never used for any choice and whose labels a person "
        "confirmed, 100% were right."
    )
    assert many.judged is not None
    assert many.judged.n == 50
    assert many.test is not None
    assert many.test.n == 80
    assert labels_words.cautions(many.labels, "image") == []


def test_only_the_yardstick_confirms(tmp_path: Path) -> None:
    root = settled(tmp_path, confirmed=20)
    dataset = Dataset.load(str(root / "dataset"))
    decide(dataset, ids_on_test(root)[30:], "confirm")  # suspicious ones, and not drawn at random
    rows = {row.kind: row.n for row in labels_of(collect(root)).against}
    assert rows["confirmed"] == 20


def test_what_was_dropped_counts_against_given_labels_alone(tmp_path: Path) -> None:
    labels = labels_of(collect(settled(tmp_path, confirmed=0, dropped=5)))
    rows = {row.kind: row for row in labels.against}
    assert {kind: row.n for kind, row in rows.items()} == {"given": 80, "decided": 75}
    assert rows["decided"].gained == 6 + 5
    # The run was split before anything was dropped: the items still stand in the test part.
    assert (labels.part("test").changed, labels.part("test").unlabelled) == (6, 5)
    text = labels_words.meaning("decided", labels, "image")
    assert "6 test labels changed and 5 images left out" in text
    assert "6 of these by rule" in text


def test_the_verdict_follows_confirmed_labels(tmp_path: Path) -> None:
    labels = labels_of(collect(settled(tmp_path)))
    row = next(row for row in labels.against if row.kind == "confirmed")

    def said(**changes: Any) -> str:
        rows = [row.model_copy(update=changes)] if changes else []
        return labels_words.verdict(labels.model_copy(update={"against": rows}), 0.95)

    assert said() == ""
    assert "better by +5.0 points, beyond chance" in said(difference=0.05, p=0.01)
    assert "worse by -5.0 points, beyond chance" in said(difference=-0.05, p=0.01)
    assert "no more than chance would give" in said(difference=0.05, p=0.2)
    assert "Only 20 of these test labels were drawn at random" in said(n=20, p=0.01)
    none = labels.model_copy(update={"against": labels.against[:2]})
    assert labels_words.verdict(none, 0.95).startswith("None of these test labels was drawn")


def test_decisions_after_the_run_are_told(tmp_path: Path) -> None:
    root = settled(tmp_path)
    assert not labels_of(collect(root)).stale
    decide(Dataset.load(str(root / "dataset")), ids_on_test(root)[-1:], "confirm")
    facts = collect(root)
    assert labels_of(facts).stale
    assert "since this run was judged" in check(render(facts)).text


def test_another_training_before_is_not_compared(tmp_path: Path) -> None:
    root = settled(tmp_path)
    (root / "before" / "predictions" / "test.parquet").unlink()
    labels = labels_of(collect(root))
    assert labels.against == []
    assert "holds no predictions" in labels.before_apart
    assert "is not set against this one" in check(render(collect(root))).text


def test_an_audit_that_is_gone_leaves_the_decisions(tmp_path: Path) -> None:
    root = settled(tmp_path)
    shutil.rmtree(root / "dataset" / "audit")
    labels = labels_of(collect(root))
    assert labels.audit is None
    assert labels.changed.total == 6
    assert labels.changed.shown[0].suspicion is None
    assert "relabelled by a rule" in check(render(collect(root))).text


def test_an_audit_without_decisions(tmp_path: Path) -> None:
    root = finished_run(tmp_path)
    dataset = Dataset.load(str(root / "dataset"))
    audit_of(dataset, np.full(60, 0.1))
    Run(root).note(audit="dataset/audit")  # relative: inside the run
    facts = collect(root)
    assert labels_of(facts).audit is not None
    text = check(render(facts)).text
    assert "Nothing was decided about any of them." in text
    assert "by the labels as" not in text


def test_groups_are_the_observations(tmp_path: Path) -> None:
    labels = labels_of(collect(settled(tmp_path, groups=10)))
    assert labels.against[0].groups == 10
    assert "Sign test over 10 groups" in labels_words.method(labels.against)


@pytest.mark.parametrize("classes", [("cats", "dogs"), ("cats", "dogs", "eels")])
def test_the_page(tmp_path: Path, classes: tuple[str, ...]) -> None:
    root = settled(tmp_path, classes=("cats", "dogs")) if len(classes) == 2 else None
    if root is None:
        root = finished_run(tmp_path, classes)
        decide(Dataset.load(str(root / "dataset")), ids_on_test(root)[:2], "relabel", "eels")
    facts = collect(root)
    page = check(write(root).read_text(encoding="utf-8"))
    for said in ("Labels", "What was decided", "By whom, and why", "Changed labels"):
        assert said in page.text
    if len(classes) == 2:
        for said in (
            "What the audit changed", "Before and after", "This figure flatters.",
            "Against confirmed labels the difference is +0.0 points", "McNemar", "the headline’s",
            "The labels are as decided", RULE,
        ):  # fmt: skip
            assert said in page.text, said
    assert Facts.model_validate_json(facts.model_dump_json()) == facts


def test_names_cannot_become_code(tmp_path: Path) -> None:
    root = settled(tmp_path, classes=(EVIL, "dogs"))
    dataset = Dataset.load(str(root / "dataset"))
    decide(dataset, ids_on_test(root)[:1], "relabel", EVIL, who=EVIL, reason=EVIL)
    text = render(collect(root))
    check(text)
    assert EVIL not in text


@pytest.mark.browser
def test_a_browser_shows_it_without_a_word(tmp_path: Path, shown: Callable[[Path], str]) -> None:
    # The six changed labels, and the two mistakes.
    assert shown(write(settled(tmp_path / "run"))).count('role="button"') == 8
