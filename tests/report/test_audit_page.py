"""The report of an audit: facts against numbers counted by hand, and whole pages of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import audit_of, decide
from report_runs import EVIL, finished_run
from rich.console import Console
from sheets import check, vectors

from lorgnette.dataset.ledger import Ledger, Wanted
from lorgnette.dataset.store import Dataset
from lorgnette.errors import DatasetError
from lorgnette.report.audit import cautions, headline, render, write
from lorgnette.report.audit_collect import CHANGED, PAIRS, collect_audit
from lorgnette.report.audit_facts import Audit
from lorgnette.report.audit_terminal import audit

SUSPICION = np.array([0.99, 0.1, 0.95, 0.0, 0.6, 0.2, 0.4, 0.01, 0.05, 0.0, 0.0, 0.0])
"""Of twelve items; the last two have no label."""
IDS = [f"item-{n}" for n in range(12)]
LABELS = [*("a", "b") * 5, None, None]


def twelve(root: Path, names: tuple[str, str] = ("a", "b")) -> Dataset:
    """Twelve vectors; five of each class, and two without a label."""
    x = np.arange(24, dtype=float).reshape(12, 2)
    labels = [None if label is None else names["ab".index(label)] for label in LABELS]
    return vectors(root, x, labels)


def pets(root: Path, **options: Any) -> Dataset:
    """Pictures, from a finished run."""
    return Dataset.load(str(finished_run(root, **options) / "dataset"))


def facts_of(dataset: Dataset, suspicion: np.ndarray[Any, Any], **options: Any) -> Audit:
    return collect_audit(str(audit_of(dataset, suspicion, **options)), dataset)


def test_suspicions_by_hand(tmp_path: Path) -> None:
    facts = facts_of(twelve(tmp_path), SUSPICION)
    assert (facts.items, facts.labelled, facts.unlabelled) == (12, 10, 2)
    found = [(row.at, row.items, round(row.expected, 4), row.open) for row in facts.thresholds]
    assert found == [(0.5, 3, 2.54, 3), (0.9, 2, 1.94, 2), (0.95, 2, 1.94, 2), (0.99, 1, 0.99, 1)]
    # In order: .99 .95 .6 .4 .2 .1 .05 .01 0 0; sums: .99 1.94 2.54 2.94 3.14 3.24 3.29 3.3
    assert facts.ranking.total == pytest.approx(3.3)
    targets = [
        (t.share, t.looked, round(t.found, 4), round(t.last, 4)) for t in facts.ranking.targets
    ]
    assert targets == [
        (0.5, 2, 1.94, 0.95),  # 1.65 of 3.3
        (0.8, 4, 2.94, 0.4),  # 2.64
        (0.9, 5, 3.14, 0.2),  # 2.97
        (0.95, 5, 3.14, 0.2),  # 3.135
        (0.99, 7, 3.29, 0.05),  # 3.267
    ]
    assert facts.ranking.looked == list(range(11))
    assert facts.ranking.found[:4] == pytest.approx([0, 0.99, 1.94, 2.54])
    assert sum(facts.histogram.counts) == 10
    assert facts.histogram.counts[-1] == 1  # .99 alone: .95 is below the last bin of 1/40
    assert Audit.model_validate_json(facts.model_dump_json()) == facts


def test_the_noise_is_that_of_the_audit(tmp_path: Path) -> None:
    noise = facts_of(twelve(tmp_path), SUSPICION).noise
    # a: items 0, 2, 4, 6, 8; b: items 1, 3, 5, 7, 9.
    assert noise.joint[0] == pytest.approx([5 - 2.99, 2.99])
    assert noise.joint[1] == pytest.approx([0.31, 5 - 0.31])
    assert noise.wrong == pytest.approx(3.3)
    assert noise.rate.value == pytest.approx(0.33)
    assert noise.rate.n == 10
    assert [(row.name, row.n) for row in noise.by_class] == [("a", 5), ("b", 5)]
    assert noise.by_class[0].rate.value == pytest.approx(2.99 / 5)
    assert noise.cleanlab is not None
    assert noise.cleanlab.value == pytest.approx(0.29)


def test_what_is_left_by_hand(tmp_path: Path) -> None:
    dataset = twelve(tmp_path)
    decide(dataset, ["item-0", "item-2"], "relabel", "b", by="rule", reason="suspicion >= 0.95")
    decide(dataset, ["item-4"], "confirm")
    decide(dataset, ["item-5"], "drop", who="Grace", reason="empty")
    decide(dataset, ["item-11"], "relabel", "a", by="rule", reason="confidence > 0.9")
    confidence = np.where(np.arange(12) == 11, 0.92, np.maximum(SUSPICION, 1 - SUSPICION))
    rule = {"rule": "suspicion >= 0.95", "matched": 3, "changed": 2}
    left = facts_of(dataset, SUSPICION, confidence=confidence, applied=[rule]).left
    # Undecided: items 1, 3, 6, 7, 8, 9; the rule's: 1 - .99, 1 - .95, and 1 - .92 of item 11.
    undecided = 0.1 + 0.4 + 0.01 + 0.05
    assert left.before == pytest.approx(3.3, abs=1e-5)
    assert left.by_rule == pytest.approx(0.01 + 0.05 + 0.08, abs=1e-5)
    assert left.expected == pytest.approx(undecided + 0.14, abs=1e-5)
    assert left.labelled == 10  # ten, less the dropped one, and one more
    assert left.rate == pytest.approx((undecided + 0.14) / 10, abs=1e-5)
    assert left.open == 0
    assert left.hundred == pytest.approx(undecided, abs=1e-5)


def test_a_rule_against_the_proposal_is_likely_wrong(tmp_path: Path) -> None:
    dataset = twelve(tmp_path)
    decide(dataset, ["item-1"], "relabel", "a", by="rule")  # proposed: b, with 0.9
    left = facts_of(dataset, SUSPICION).left
    assert left.by_rule == pytest.approx(0.9, abs=1e-5)


def test_decisions_by_hand(tmp_path: Path) -> None:
    dataset = twelve(tmp_path)
    decide(dataset, ["item-0", "item-2"], "relabel", "b", by="rule", reason="suspicion >= 0.95")
    decide(dataset, ["item-1"], "relabel", "a")
    decide(dataset, ["item-4"], "confirm")
    decide(dataset, ["item-5"], "undecidable", who="Grace", by="import", reason="labels.csv")
    Ledger(dataset).append([Wanted("item-4", "undo", by="person")])
    rule = {"rule": "suspicion >= 0.95", "matched": 3, "changed": 2}
    decisions = facts_of(dataset, SUSPICION, applied=[rule]).decisions
    assert (decisions.items, decisions.lines, decisions.changed) == (4, 6, 4)
    assert [(row.action, row.person, row.rule, row.imported) for row in decisions.tallies] == [
        ("relabel", 1, 2, 0),
        ("undecidable", 0, 0, 1),
    ]
    assert [decisions.by(hand) for hand in ("person", "rule", "imported")] == [1, 2, 1]
    assert {(hand.who, hand.by, hand.count) for hand in decisions.hands} == {
        ("Ada", "rule", 2),
        ("Ada", "person", 1),
        ("Grace", "import", 1),
    }
    first = decisions.grounds[0]
    assert (first.text, first.matched, first.changed, first.count) == (rule["rule"], 3, 2, 2)
    assert {(flow.given, flow.now, flow.count, flow.person) for flow in decisions.flows} == {
        ("a", "b", 2, 0),
        ("b", "a", 1, 1),
        ("b", None, 1, 0),
    }


def test_changes_a_rule_was_least_sure_of_come_first(tmp_path: Path) -> None:
    dataset = twelve(tmp_path)
    decide(dataset, ["item-0", "item-2", "item-4"], "relabel", "b", by="rule")
    decide(dataset, ["item-1"], "relabel", "a")
    facts = facts_of(dataset, SUSPICION)
    assert [item.id for item in facts.changed.shown] == ["item-4", "item-2", "item-0", "item-1"]
    assert facts.changed.total == 4
    assert facts.changed.shown[0].verdict is not None
    assert facts.changed.shown[0].verdict.by == "rule"
    # What is decided is marked where it is shown for its suspicion too.
    (pair,) = facts.pairs
    assert (pair.given, pair.proposed, pair.total) == ("a", "b", 3)
    assert [(item.id, item.verdict is not None) for item in pair.shown] == [
        ("item-0", True),
        ("item-2", True),
        ("item-4", True),
    ]
    assert [row.open for row in facts.thresholds] == [0, 0, 0, 0]


def test_other_findings(tmp_path: Path) -> None:
    kinds = {1: "undecidable", 3: "undecidable", 7: "outlier"}
    facts = facts_of(
        twelve(tmp_path), SUSPICION, kinds=kinds, undecidable={1: 0.6, 3: 0.9}, outlier={7: 0.999}
    )
    assert [item.id for item in facts.undecidable.shown] == ["item-3", "item-1"]
    assert [item.id for item in facts.outliers.shown] == ["item-7"]
    assert facts.outliers.shown[0].outlier == pytest.approx(0.999)
    assert facts.unlabelled_found.total == 2
    assert facts.unlabelled_found.shown[0].given is None
    assert facts.unlabelled_found.shown[0].suspicion is None


def copy(place: int, cluster: int, first: int, **values: Any) -> dict[str, Any]:
    """A row of `duplicates.parquet` about one of the twelve."""
    usual = {"kind": "hash", "distance": 2.0, "part": "train", "conflict": True}
    ids = {"id": f"item-{place}", "of": f"item-{first}"}
    return {**usual, **ids, "cluster": cluster, "given": LABELS[place], **values}


def test_copies(tmp_path: Path) -> None:
    dataset = twelve(tmp_path)
    rows = [
        copy(0, 0, 0), copy(1, 0, 0),
        copy(2, 1, 2), copy(3, 1, 2),
        copy(4, 2, 4), copy(5, 2, 4, part="test", straddles=True),
        copy(6, 3, 6, conflict=False), copy(8, 3, 6, conflict=False),
    ]  # fmt: skip
    for row in (rows[4], *rows[6:]):
        row["straddles"] = True
    decide(dataset, ["item-0"], "relabel", "b")  # cluster 0 agrees now
    decide(dataset, ["item-2"], "confirm")  # cluster 1 does not
    decide(dataset, ["item-4"], "drop")  # one of cluster 2 is left
    facts = facts_of(dataset, SUSPICION, copies=rows)
    assert (facts.conflicts.total, facts.conflicts.settled) == (3, 2)
    assert [one.settled for one in facts.conflicts.shown] == [False, True, True]
    assert [one.given for one in facts.conflicts.shown[0].copies] == ["a", "b"]
    assert [one.now for one in facts.conflicts.shown[1].copies] == ["b", "b"]
    assert facts.straddling.total == 2
    text = check(render(facts)).text
    assert "2 are settled" in text
    assert "2 clusters of copies are in more than one part" in text


def test_an_exact_copy_without_pixels_shows_those_of_the_first(tmp_path: Path) -> None:
    dataset = pets(tmp_path)
    kept = dataset.rows(["id"])["id"][5].as_py()
    row = {"cluster": 0, "kind": "exact", "of": kept, "distance": 0.0, "conflict": True}
    copies = [{**row, "id": kept, "given": "cats"}, {**row, "id": "gone.png", "given": "dogs"}]
    (cluster,) = facts_of(dataset, np.zeros(60), copies=copies).conflicts.shown
    assert cluster.kind == "exact"
    assert cluster.copies[0].source.startswith("data:image/webp")
    assert cluster.copies[1].source == cluster.copies[0].source


def test_a_large_cluster_shows_every_label(tmp_path: Path) -> None:
    dataset = pets(tmp_path)
    ids = dataset.rows(["id"])["id"].to_pylist()
    row = {"cluster": 7, "kind": "embedding", "of": ids[0], "conflict": True}
    copies = [{**row, "id": ids[n], "given": "dogs" if n == 19 else "cats"} for n in range(20)]
    (cluster,) = facts_of(dataset, np.zeros(60), copies=copies).conflicts.shown
    assert (cluster.size, len(cluster.copies)) == (20, 4)
    assert {one.given for one in cluster.copies} == {"cats", "dogs"}


def test_the_page_with_everything(tmp_path: Path) -> None:
    dataset = pets(tmp_path, unlabelled=3)
    suspicion = np.linspace(0, 1, 63)
    ids = dataset.rows(["id"])["id"].to_pylist()
    codes = dataset.labels("given")
    for place in range(58, 60):
        to = dataset.info.classes[1 - codes[place]]
        decide(dataset, [ids[place]], "relabel", to, by="rule", reason="suspicion >= 0.95")
    decide(dataset, [ids[0]], "confirm", who="Grace", reason="clear")
    root = audit_of(
        dataset,
        suspicion,
        kinds={4: "undecidable", 5: "outlier"},
        undecidable={4: 0.9},
        outlier={5: 0.99},
        copies=[copy(0, 0, 0, id=ids[0], of=ids[0]), copy(1, 0, 0, id=ids[1], of=ids[0])],
        calibration=[{"low": 0.0, "high": 0.1, "n": 30, "expected": 0.05, "observed": 0.04},
                     {"low": 0.9, "high": 1.0, "n": 30, "expected": 0.95, "observed": None}],
        applied=[{"rule": "suspicion >= 0.95", "matched": 4, "changed": 2}],
    )  # fmt: skip
    path = write(str(root), dataset)
    assert path == root / "report.html"
    page = check(path.read_text(encoding="utf-8"))
    for said in (
        "An estimated", "of the 60 labels are wrong", "Undecidable", "Odd ones", "Copies",
        "3 images came without a label", "suspicion >= 0.95", "a person’s note", "clear",
        "cleanlab’s own estimate", "2 decisions were made by rule", "Noise matrix",
        "There are only 60 labels", "relabelled by a rule", "41 s",
    ):  # fmt: skip
        assert said in page.text or said in str(page.tags), said
    anchors = {attributes.get("href") for attributes in page.all("a")}
    assert {"#noise", "#suspicious", "#copies", "#decisions", "#left", "#how"} <= anchors
    assert all((image["src"] or "").startswith("data:") for image in page.all("img"))


def test_nothing_done_and_nothing_wrong(tmp_path: Path) -> None:
    dataset = pets(tmp_path)
    facts = facts_of(dataset, np.full(60, 0.01))
    assert "Nothing yet: all labels are as given" in check(render(facts)).text
    assert not facts.pairs  # nothing is proposed but what is given
    nearest = facts_of(dataset, np.linspace(0, 0.4, 60), proposed=1 - dataset.labels("given"))
    assert "No label is more likely wrong than right" in check(render(nearest)).text
    assert sum(pair.total for pair in nearest.pairs) == 12


def test_no_label_at_all(tmp_path: Path) -> None:
    dataset = vectors(tmp_path, np.zeros((4, 2)), ["a", "b", None, None])
    facts = facts_of(dataset, np.zeros(4))
    none = facts.model_copy(update={"labelled": 0})
    assert "".join(headline(none)) == "There is no label on these 4 vectors."
    check(render(facts))


def test_vectors_have_tables_and_no_pictures(tmp_path: Path) -> None:
    dataset = twelve(tmp_path)
    decide(dataset, ["item-0"], "relabel", "b")
    page = check(render(facts_of(dataset, SUSPICION, copies=[copy(0, 0, 0), copy(1, 0, 0)])))
    assert [image["src"] for image in page.all("img")] == ["data:,"]  # the lightbox alone
    assert "item-2" in page.text
    assert "relabelled by Ada" in page.text


@pytest.mark.parametrize("count", [2, 12, 50, 60])
def test_any_number_of_classes(tmp_path: Path, count: int) -> None:
    dataset = pets(tmp_path, classes=[f"class {k:02d}" for k in range(count)], each=4)
    suspicion = np.random.default_rng(0).random(len(dataset))
    ids = dataset.rows(["id"])["id"].to_pylist()
    for code, id_ in zip(dataset.labels("given").tolist(), ids[:60], strict=False):
        decide(dataset, [id_], "relabel", dataset.info.classes[(code + 1) % count], by="rule")
    facts = facts_of(dataset, suspicion)
    page = check(render(facts))
    assert len(facts.pairs) == min(count, PAIRS)
    assert facts.rare == max(0, count - PAIRS)
    assert len(facts.changed.shown) == CHANGED if count > 2 else facts.changed.total <= 60
    assert ("Noise matrix" in str(page.tags)) == (count <= 50)


def test_names_cannot_become_code(tmp_path: Path) -> None:
    quotes = "\"'><img src=x onerror=alert(1)>"
    dataset = twelve(tmp_path, (EVIL, quotes))
    decide(dataset, ["item-0"], "relabel", quotes, who=EVIL, reason=quotes)
    decide(dataset, ["item-2"], "relabel", quotes, by="rule", who=quotes, reason=EVIL)
    rule = {"rule": EVIL, "matched": 1, "changed": 1}
    copies = [copy(0, 0, 0, given=EVIL), copy(1, 0, 0, given=quotes)]
    text = render(facts_of(dataset, SUSPICION, copies=copies, applied=[rule]))
    page = check(text)
    assert EVIL not in text
    assert quotes not in text
    assert EVIL in page.text
    assert not [attributes for attributes in page.all("img") if attributes.get("src") == "x"]


def test_cautions(tmp_path: Path) -> None:
    dataset = pets(tmp_path, each=200)
    suspicion = np.where(dataset.labels("given") == 0, 0.6, 0.02)
    bins: list[dict[str, Any]] = [
        {"low": 0.5, "high": 0.6, "n": 400, "expected": 0.6, "looked": 100, "observed": 0.3},
        # of many labels one was looked at: that says nothing
        {"low": 0.0, "high": 0.1, "n": 400, "expected": 0.07, "looked": 1, "observed": 1.0},
    ]
    text = " ".join(cautions(facts_of(dataset, suspicion, calibration=bins)))
    assert text.count("Suspicion is not what it says it is") == 1
    assert "Suspicion" not in " ".join(cautions(facts_of(dataset, suspicion, calibration=bins[1:])))
    assert "More than 40% of the labels cats look wrong" in text
    assert "of the labels marked 60.0%, 30.0% were found wrong" in text
    assert "There are only" not in text
    calm = facts_of(dataset, np.full(len(dataset), 0.02))
    assert cautions(calm) == []


def test_what_is_no_audit_is_refused(tmp_path: Path) -> None:
    dataset = twelve(tmp_path / "one")
    with pytest.raises(DatasetError, match="There is no audit in"):
        collect_audit(str(tmp_path / "nothing"), dataset)
    root = audit_of(dataset, SUSPICION)
    other = vectors(tmp_path / "two", np.zeros((5, 2)), list("ababa"))
    with pytest.raises(DatasetError, match="12 are not the 5 that are there"):
        collect_audit(str(root), other)
    (root / "suspicion.parquet").unlink()
    with pytest.raises(DatasetError, match=r"suspicion\.parquet is missing or damaged"):
        collect_audit(str(root), dataset)
    (root / "audit.json").write_text("{")
    with pytest.raises(DatasetError, match=r"audit\.json is missing or damaged"):
        collect_audit(str(root), dataset)


def test_the_terminal_says_it_shortly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = twelve(tmp_path, ("a", "[bold]b"))
    decide(dataset, ["item-0"], "relabel", "[bold]b", by="rule", reason="suspicion >= 0.95")
    rule = {"rule": "suspicion >= 0.95", "matched": 1, "changed": 1}
    facts = facts_of(dataset, SUSPICION, applied=[rule])
    Console(width=100, highlight=False).print(audit(facts))
    said = capsys.readouterr().out
    for part in (
        "An estimated 33.0% of the 10 labels are wrong: about 3.3 of them.",
        "[bold]b",
        "≥ 0.95",
        "50% in 2, 90% in 5",
        "suspicion >= 0.95: 1 matched, 1 changed",
        "0 by persons, 1 by rule",
        "expected to be left: about 2.3 wrong labels",
    ):
        assert part in said, part


@pytest.mark.browser
def test_a_browser_shows_it_without_a_word(tmp_path: Path, shown: Callable[[Path], str]) -> None:
    dataset = pets(tmp_path / "run", classes=(EVIL, "dogs"))
    root = audit_of(dataset, np.linspace(0, 1, 60))
    # The page's own script makes buttons of the 30 suspicious pictures.
    assert shown(write(str(root), dataset)).count('role="button"') == 30
