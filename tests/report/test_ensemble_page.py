"""The page of an ensemble: self-contained, escaped, whole for every kind."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from report_runs import EVIL
from rich.console import Console
from sheets import check

from ensemble_runs import CNN, pictures, trained, vectors
from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ModelError
from lorgnette.evaluation.ensembles import ensemble
from lorgnette.report import ensemble as page
from lorgnette.report import ensemble_figures
from lorgnette.rundir import Run

SECTIONS = {"together", "members", "agreement", "metrics", "confusion", "curves", "mistakes", "how"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Four runs that know little."""
    root = tmp_path_factory.mktemp("runs")
    data = pictures(root / "own", each=40, size=(8, 4), strength=12)
    settings = [("train.epochs=1",), (), ("model.family=perceptron",), ("train.size=4",)]
    return [trained(data, root / f"run-{n}", *each) for n, each in enumerate(settings)]


def facts(runs: list[Run], out: Path, **options: Any) -> tuple[dict[str, Any], str]:
    """What was found, and the page."""
    found = ensemble(runs, Run(out), **options)
    return found, page.write(out).read_text(encoding="utf-8")


@pytest.mark.parametrize("how", ["average", "vote"])
def test_members_agreement_and_mistakes_are_there(
    made: list[Run], tmp_path: Path, how: str
) -> None:
    found, text = facts(made, tmp_path / "together", combine=how)
    seen = check(text)
    assert {attributes.get("id") for attributes in seen.all("section")} == SECTIONS
    assert "4 networks answer as one" in seen.text
    for each in found["members"]:
        assert each["name"] in seen.text
    accuracy = found["test"]["ensemble"]["accuracy"]["value"]
    assert f"{100 * accuracy:.1f}%" in seen.text
    assert f"{100 * found['test']['agreement']['pairwise']:.1f}%" in seen.text
    mistakes = round((1 - accuracy) * 20)
    pictured = [a for a in seen.all("img") if ": labelled" in (a.get("alt") or "")]
    assert len(pictured) == mistakes > 0
    assert "There are only 20 test images" in seen.text
    assert "Members take images of different sizes" in seen.text
    assert ("shares of votes" in seen.text) == (how == "vote")
    assert "left out" not in seen.text


def test_what_was_left_out_and_the_steps_are_told(made: list[Run], tmp_path: Path) -> None:
    found, text = facts(made, tmp_path / "out", select="greedy")
    seen = check(text)
    assert "one by one, each time the one with which validation is best" in seen.text
    assert "Filled dots are the steps that count" in seen.text
    if any(each["weight"] > 1 for each in found["members"]):
        assert "Counts" in seen.text
    found, text = facts(made, tmp_path / "best", select="best", best=2, above=0.1)
    seen = check(text)
    assert "2 runs left out" in seen.text
    told = "from 4 runs, of those with a validation accuracy above 10.0%: the best 2 on validation"
    assert told in seen.text


def test_one_member_is_said_to_be_one(made: list[Run], tmp_path: Path) -> None:
    found, text = facts(made, tmp_path / "out", select="best", best=1)
    seen = check(text)
    name = found["members"][0]["name"]
    assert f"There is one member, {name}, with" in seen.text
    assert "The ensemble is a single network: it can be no better than that." in seen.text
    assert "from 4 runs: the best one on validation" in seen.text
    greedy = {**found, "select": "greedy"}
    assert "3 other runs did not help on validation" in " ".join(page.cautions(greedy, "image"))
    assert 'href="#agreement"' not in text


def test_a_soup_says_what_it_is(tmp_path: Path) -> None:
    data = pictures(tmp_path / "own", each=40, strength=12)
    runs = [
        trained(data, tmp_path / f"run-{n}", *CNN, f"train.optimizer.lr=0.0{n + 1}") for n in (0, 1)
    ]
    _, text = facts(runs, tmp_path / "out", combine="soup")
    seen = check(text)
    assert "of use where trainings have the same beginning" in seen.text
    assert "of one network" in seen.text
    assert "those with which validation does not get worse" in seen.text


def test_vectors_have_no_pictures_and_no_pixels(tmp_path: Path) -> None:
    data = vectors(tmp_path / "own")
    runs = [trained(data, tmp_path / f"run-{n}", f"train.epochs={n + 1}") for n in (0, 1)]
    _, text = facts(runs, tmp_path / "out")
    seen = check(text)
    assert "test vectors" in seen.text
    assert "Pixels" not in seen.text
    body = text[text.index("<body>") : text.index("<script>")]
    assert "image" not in body.replace('role="img"', "").lower()


def test_decided_labels_are_named(tmp_path: Path) -> None:
    data = pictures(tmp_path / "own", each=40, strength=12)
    ids = data.rows(["id"])["id"].to_pylist()
    data.ledger.append([Wanted(id_, "drop") for id_ in ids[::9]])
    data = Dataset.load(data.location)
    runs = [trained(data, tmp_path / f"run-{n}", f"train.epochs={n + 1}") for n in (0, 1)]
    _, text = facts(runs, tmp_path / "out")
    seen = check(text)
    assert "were right by the labels as decided." in seen.text
    assert "Given labels" in seen.text
    assert "Decided labels" in seen.text


def test_names_cannot_become_code(tmp_path: Path) -> None:
    data = pictures(tmp_path / "own", ("<b>x", "$\\frac$ & 猫"), each=40, strength=12)
    runs = [trained(data, tmp_path / EVIL.replace("/", "") / f"<i>{n}") for n in (0, 1)]
    _, text = facts(runs, tmp_path / "<u>out")
    seen = check(text)
    for name in ("<b>x", "<i>0", "<u>out", "<script>alert"):
        assert name not in text
        assert name in seen.text or name == "<script>alert"


def test_figures_are_well_formed_and_empty_where_nothing_is(
    made: list[Run], tmp_path: Path
) -> None:
    found, _ = facts(made, tmp_path / "out", select="greedy")
    found["path"][0]["name"] = "a <b>"
    for svg in (ensemble_figures.forest(found), ensemble_figures.path(found)):
        root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
        assert root.get("aria-label")
    alone, _ = facts(made, tmp_path / "alone", select="best", best=1)
    assert ensemble_figures.path(alone) == ""
    assert ensemble_figures.matrix(alone) == ""
    many = {**found, "members": [*found["members"]] * 30}
    assert ensemble_figures.matrix(many) == ""
    assert len(ensemble_figures.rows(many)) <= ensemble_figures.SHOWN + 2


def test_an_unfinished_one_has_no_page(made: list[Run], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no finished ensemble"):
        page.write(made[0].root)
    facts(made, tmp_path / "out")
    (tmp_path / "out/ensemble.json").unlink()
    with pytest.raises(ModelError, match="start the same `lorgnette ensemble` again"):
        page.write(tmp_path / "out")


def test_the_terminal_says_the_same(
    made: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = facts(made, tmp_path / "out")
    page.show(found, tmp_path / "out/report.html")
    said = capsys.readouterr().out
    for part in ("together", "mean member", "run-2", "two members agree on", "report: "):
        assert part in said
    console = Console(width=200, file=io.StringIO())
    assert console.measure(page.table(found)).maximum <= 80


@pytest.mark.browser
def test_a_browser_shows_it_without_a_word(
    made: list[Run], tmp_path: Path, shown: Callable[[Path], str]
) -> None:
    found, _ = facts(made, tmp_path / "out", combine="vote")
    document = shown(tmp_path / "out/report.html")
    wrong = json.loads((tmp_path / "out/evaluation.json").read_text())["test"]["confusion"]
    assert document.count('role="button"') == wrong[0][1] + wrong[1][0]
    assert found["combine"] == "vote"
