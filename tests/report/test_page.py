"""The page: self-contained, escaped, and whole for every kind of run."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from report_runs import EVIL, finished_run, row

from lorgnette.report import figures
from lorgnette.report.collect import collect
from lorgnette.report.page import render, write

LOADING = {"src", "href", "srcset", "data", "poster", "action", "formaction", "xlink:href"}
BOXES = {"img", "meta", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page says: tags with their attributes, ids, texts; and whether tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in BOXES:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check(text: str) -> Page:
    """What holds for every page."""
    page = Page(text)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        for name in LOADING & set(attributes):
            value = attributes[name] or ""
            assert value.startswith(("data:", "#")), (tag, name, value[:80])
            if value.startswith("#"):
                assert value[1:] in ids
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\((?!['\"]?(?:#|data:))|@import", text)
    assert all("alt" in attributes for attributes in page.all("img"))
    assert len(page.all("script")) == 1
    policy = next(a for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")
    for reference in re.findall(r"url\(#([^)]+)\)", text):
        assert reference in ids
    assert "#0a0" not in text  # no placeholder colour is left
    assert "None" not in page.text.replace("None of", "")
    assert len(text) < 3 << 20
    return page


REJECTED = [
    row("cats/a.png", status="corrupt", error="The file is empty."),
    row("cats/b.png", status="missing", error="There is no such file."),
    row(
        "dogs/e.png",
        status="duplicate",
        label="dogs",
        error="the same bytes as cats/1.png, which is labelled 'cats' and this one 'dogs'",
    ),
]


def test_two_classes_with_everything(tmp_path: Path) -> None:
    root = finished_run(tmp_path, rejected=REJECTED, unlabelled=1, groups=5)
    page = check(write(root).read_text(encoding="utf-8"))
    assert "On 20 test images that were never used for any choice, 85.0%" in page.text
    for part in (
        "64 images",
        "The file is empty.",
        "The same image under two labels",
        "Augmentation",
        "design effect",
        "All 3 wrong answers",
        "Newcombe",
        "12,345 parameters",
        "1 min 01 s",
    ):
        assert part in page.text, part
    assert {f"#{name}" for name in ("data", "split", "metrics", "mistakes", "run")} <= {
        attributes.get("href") for attributes in page.all("a")
    }


@pytest.mark.parametrize("count", [2, 5, 12, 30, 60])
def test_any_number_of_classes(tmp_path: Path, count: int) -> None:
    root = finished_run(tmp_path, [f"class {k}" for k in range(count)], each=3)
    page = check(render(collect(root)))
    for k in range(count):
        assert f"class {k}" in page.text
    assert ("Confusion matrix" in str(page.tags)) == (count <= figures.MATRIX_CLASSES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wrong": 0}, "There is none: all 20 test images were answered as labelled."),
        ({"absent": "dogs"}, "The test split has no image of dogs"),
        ({"wrong": 1}, "The only wrong answer"),
        ({"unlabelled": 3}, "3 images without a label took no part"),
        ({"groups": 2}, "only 2 groups"),
        ({"channels": 1}, "16 × 16 pixels, grey"),
        ({"wrong": 20}, "0%"),
        ({"each": 1, "wrong": 0}, "There are only 2 test images"),
        ({}, "all could be used"),
    ],
)
def test_kinds_of_runs(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    assert said in check(render(collect(finished_run(tmp_path, **options)))).text


def test_nothing_to_test_on(tmp_path: Path) -> None:
    facts = collect(finished_run(tmp_path))
    bare = facts.model_copy(
        update={"test": None, "validation": None, "mistakes": [], "histogram": None, "epochs": []}
    )
    assert "nothing can be said of the accuracy" in check(render(bare)).text


def test_names_cannot_become_code(tmp_path: Path) -> None:
    quotes = "\"'><img src=x onerror=alert(1)>"
    error = f"It is not an image: {EVIL}"
    root = finished_run(
        tmp_path,
        (EVIL, quotes, "$\\frac$ & 猫 \x1b[0m"),
        rejected=[row(quotes, status="corrupt", error=error), row(EVIL, status="missing")],
    )
    text = render(collect(root))
    page = check(text)
    assert EVIL not in text
    assert quotes not in text
    assert EVIL in page.text
    assert not [attributes for attributes in page.all("img") if attributes.get("src") == "x"]


def test_the_same_facts_give_the_same_page(tmp_path: Path) -> None:
    facts = collect(finished_run(tmp_path))
    assert render(facts) == render(facts)


def test_figures_are_well_formed_and_labelled(tmp_path: Path) -> None:
    facts = collect(finished_run(tmp_path, ("a <b>", "c & d", "e"), each=5))
    assert facts.test is not None
    drawn = [
        figures.learning(facts.epochs, 3, "loss"),
        figures.confusion(facts.test, facts.classes),
        figures.roc(facts.test, facts.classes),
        figures.precision_recall(facts.test, facts.classes),
        figures.reliability(facts.test.calibration),
    ]
    for svg in drawn:
        root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "font-family" not in svg
    assert "14 of 15" not in drawn[1]
    assert "3 of 15 answers were wrong" in drawn[1]


@pytest.mark.browser
def test_a_browser_shows_it_without_a_word(tmp_path: Path, shown: Callable[[Path], str]) -> None:
    document = shown(write(finished_run(tmp_path / "run", (EVIL, "dogs"), rejected=REJECTED)))
    # The page's own script ran: it makes buttons of the three mistakes.
    assert document.count('role="button"') == 3
