"""The review page in a real browser: every key, a killed server, and what is on the disk."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from review_audits import write_audit

from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.ledger import Ledger
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from pictures import encoded, picture

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
EACH, WRONG = 40, 12
PATIENCE_MS = 10_000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """80 pictures of two classes, 24 of them in the wrong folder, and an audit that knows them."""
    truth = {}
    for label, name in enumerate(("a", "b")):
        (tmp_path / "source" / name).mkdir(parents=True)
        for number in range(EACH):
            true = 1 - label if number < WRONG else label
            data = encoded(picture(1000 * label + number, true))
            (tmp_path / "source" / name / f"{number}.png").write_bytes(data)
            truth[f"{name}/{number}.png"] = true
    source = SourceConfig(location=str(tmp_path / "source"))
    dataset = prepare(source, str(tmp_path / "data"), PrepareConfig(size=(24,)), LocalEngine(1))
    ids = dataset.rows(["id"])["id"].to_pylist()
    write_audit(dataset, np.array([truth[id_] for id_ in ids], np.int32), sharpness=3.0)
    return tmp_path / "data"


class Server:
    """`lorgnette review` as a process."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.port = "0"
        self.start("--yardstick", "4")

    def start(self, *more: str) -> None:
        command = [sys.executable, "-m", "lorgnette", "review", str(self.place), "--who", "ada"]
        self.process = subprocess.Popen(
            [*command, "--port", self.port, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.port = self.url.rstrip("/").rpartition(":")[2]

    def stop(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        status = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def lines(self) -> list[dict[str, Any]]:
        path = self.place / "decisions.jsonl"
        return [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def server(place: Path) -> Iterator[Server]:
    server = Server(place)
    yield server
    if server.process.poll() is None:
        server.stop(signal.SIGKILL)


@pytest.fixture
def browser(missing: Callable[[str, str], NoReturn]) -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("browser", "there is no chromium on the PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        missing("browser", f"playwright is not installed ({error})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


class Reviewer:
    """A person at the page."""

    def __init__(self, browser: Any, server: Server) -> None:
        self.server = server
        self.page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._ours)
        self.page.goto(server.url)
        self.page.wait_for_selector("#work[data-places]")
        self.idle()

    def _ours(self, request: Any) -> None:
        if not request.url.startswith(self.server.url):
            self.said.append(f"asked {request.url}")

    @property
    def places(self) -> str:
        """What is on the screen."""
        return str(self.page.get_attribute("#work", "data-places"))

    @property
    def question(self) -> str:
        return str(self.page.inner_text("#question"))

    def press(self, key: str) -> None:
        """A key that changes what is on the screen; then everything it does is done."""
        before = self.places
        self.page.keyboard.press(key)
        self.page.wait_for_function(
            "before => document.getElementById('work').dataset.places !== before", arg=before
        )
        self.idle()

    def touch(self, key: str) -> None:
        """A key that does not."""
        self.page.keyboard.press(key)
        self.idle()

    def idle(self) -> None:
        self.page.wait_for_function("() => !document.querySelector('#work.busy')")

    def decide(self, key: str, action: str) -> dict[str, Any]:
        """A key that decides about the one item on the screen: when it has gone, it is written."""
        number, before = int(self.places), len(self.server.lines())
        self.press(key)
        lines = self.server.lines()
        assert len(lines) == before + 1
        assert lines[-1]["action"] == action
        assert lines[-1]["id"] == self.id(number)
        return lines[-1]

    def id(self, number: int) -> str:
        id_: str = Dataset.load(str(self.server.place)).rows(["id"])["id"][number].as_py()
        return id_


def test_every_key_and_a_kill_in_the_middle(browser: Any, server: Server) -> None:
    ada = Reviewer(browser, server)

    # The yardstick, blind
    assert ada.question == "Which class is it?"
    shown = ada.page.inner_text("body")
    assert "suspect" not in shown
    assert "Nearest" not in shown
    given = ada.id(int(ada.places))[0]
    ada.decide({"a": "1", "b": "2"}[given], "confirm")
    given = ada.id(int(ada.places))[0]
    ada.decide({"a": "2", "b": "1"}[given], "relabel")
    ada.decide("u", "undecidable")
    ada.press("y")

    # One at a time
    assert re.fullmatch(r"Labelled [ab]\. Is it [ab]\?", ada.question)
    first = ada.places
    line = ada.decide("k", "confirm")
    assert line["from"] == line["to"] == line["id"][0]
    line = ada.decide("f", "relabel")
    assert {line["from"], line["to"]} == {"a", "b"}
    ada.decide("d", "drop")
    ada.decide("u", "undecidable")
    fifth = ada.places
    ada.press("n")
    ada.press("ArrowRight")
    ada.press("ArrowLeft")
    ada.press("ArrowLeft")
    assert ada.places == fifth
    for _ in range(4):
        ada.press("ArrowLeft")
    assert ada.places == first
    assert "You kept" in ada.page.inner_text("#facts")
    ada.touch("ArrowLeft")
    assert "first item" in ada.page.inner_text("#toast")
    for _ in range(4):
        ada.press("ArrowRight")
    assert ada.places == fifth
    ada.decide({"a": "1", "b": "2"}[ada.question.split()[1][0]], "confirm")
    for key in ("z", "Backspace"):
        ada.press(key)
        assert server.lines()[-1]["action"] == "undo"
    ada.touch("o")
    assert "network" in ada.page.inner_text("#caption")
    ada.touch("o")
    assert "original" in ada.page.inner_text("#caption")
    ada.touch("?")
    ada.touch("k")  # no key works behind the help
    assert ada.page.is_visible("#help")
    ada.touch("Escape")
    assert not ada.page.is_visible("#help")
    count = len(server.lines())
    ada.page.keyboard.press("Control+k")
    assert len(server.lines()) == count
    assert ada.said == []

    # Killed between a look and a decision
    server.stop(signal.SIGKILL)
    before = ada.places
    ada.page.keyboard.press("f")
    ada.page.wait_for_selector("#trouble:not([hidden])")
    ada.page.keyboard.press("d")  # nothing is decided while the last is not known to be written
    assert ada.places == before
    assert len(server.lines()) == count
    server.start()
    ada.page.wait_for_function(
        "before => document.getElementById('work').dataset.places !== before", arg=before
    )
    ada.idle()
    assert [x["action"] for x in server.lines()[count:]] == ["relabel"]
    assert server.lines()[-1]["id"] == ada.id(int(before))
    assert ada.page.is_hidden("#trouble")
    assert [text for text in ada.said if "ERR_" not in text] == []
    ada.said.clear()

    # Several at once
    ada.press("g")
    cells = ada.places.split()
    assert len(cells) > 6
    here = ada.page.locator(".cell.at")
    for key, number in (("ArrowRight", 1), ("ArrowDown", 7), ("ArrowUp", 1), ("ArrowLeft", 0)):
        ada.touch(key)
        assert here.get_attribute("aria-label").startswith(f"{number + 1} of ")
    ada.touch(" ")
    assert "stays" in here.inner_text()
    ada.touch("ArrowRight")
    ada.touch("d")
    ada.touch("ArrowRight")
    ada.touch("u")
    ada.touch("ArrowRight")
    ada.touch(" ")
    ada.touch(" ")
    count = len(server.lines())
    ada.press("Enter")
    batch = server.lines()[count:]
    assert [ada.id(int(cell)) for cell in cells] == [x["id"] for x in batch]
    actions = ["confirm", "drop", "undecidable"] + ["relabel"] * (len(cells) - 3)
    assert [x["action"] for x in batch] == actions
    ada.press("z")
    assert sorted(ada.places.split()) == sorted(cells)
    assert [x["action"] for x in server.lines()[-len(cells) :]] == ["undo"] * len(cells)
    ada.press("n")
    ada.press("g")

    # Another reviewer, another name, a reload, and the end
    bob = Reviewer(browser, server)
    bob.page.click("#who")
    bob.page.fill("#name", "bob <b>")
    bob.page.keyboard.press("Enter")
    assert bob.places != ada.places
    assert bob.decide("k", "confirm")["who"] == "bob <b>"
    standings = Ledger(Dataset.load(str(server.place))).standings()
    ada.page.reload()
    ada.page.wait_for_function("() => document.querySelectorAll('#done dd').length > 3")
    assert "bob <b>" in ada.page.inner_text("#done")
    assert f"{len(standings)} of {2 * EACH}" in ada.page.inner_text("#done")
    assert ada.said + bob.said == []
    assert server.stop(signal.SIGINT) == 0


def test_what_is_typed_and_held_down_decides_nothing(browser: Any, server: Server) -> None:
    ada = Reviewer(browser, server)
    ada.press("y")
    ada.page.click("#who")
    ada.page.keyboard.type("kfdu")
    ada.page.keyboard.press("Enter")
    assert ada.page.inner_text("#who") == "kfdu"
    assert server.lines() == []
    held = "new KeyboardEvent('keydown', {key: 'k', repeat: true, bubbles: true})"
    ada.page.evaluate(f"document.body.dispatchEvent({held})")
    ada.idle()
    assert server.lines() == []
    ada.page.select_option("#kind", "outlier")
    ada.page.wait_for_function("() => document.getElementById('facts').innerText.includes('odder')")
    ada.decide("d", "drop")
    ada.decide("d", "drop")
    ada.page.wait_for_selector("text=Nothing of this kind is left.")
    assert ada.said == []


def test_dark_and_narrow(browser: Any, server: Server) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 720}, color_scheme="dark")
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#actions button")
    page.keyboard.press("y")
    page.wait_for_selector(".thumb")
    page.wait_for_selector("#curve svg[aria-label]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    unnamed = """[...document.querySelectorAll('button, select, input, img, svg')].filter(e =>
        !e.closest('[aria-hidden=true]') && e.getAttribute('aria-hidden') !== 'true' &&
        !(e.innerText || '').trim() && !e.getAttribute('aria-label') && !e.labels?.length &&
        !e.hasAttribute('alt')).length"""
    assert page.evaluate(unnamed) == 0
