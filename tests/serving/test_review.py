"""The server behind the review page: queue, ledger, economy, and who may talk to it."""

import asyncio
import io
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from review_audits import suspicions, write_audit

from lorgnette.config import PrepareConfig, SourceConfig, SplitConfig
from lorgnette.dataset.history import ACTIONS, BY, Fold
from lorgnette.dataset.ledger import Ledger, Wanted
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import ConfigError, DatasetError, LorgnetteError, StorageError
from lorgnette.serving.review import queue as queues
from lorgnette.serving.review import run
from lorgnette.serving.review.advice import advise
from lorgnette.serving.review.board import Board
from lorgnette.serving.review.economy import Economy, estimate
from lorgnette.serving.review.findings import KINDS, Findings, load
from lorgnette.serving.review.guard import is_loopback
from lorgnette.serving.review.pace import Pace
from lorgnette.serving.review.queue import LEASE_SECONDS, Queue
from pictures import encoded, picture

HERE = "http://127.0.0.1:8765"
WRONG = 8
EACH = 30


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of 24 pixels with 8 in the wrong folder, and an audit that knows most of them."""
    root = tmp_path_factory.mktemp("review")
    truth = {}
    for label, name in enumerate(("a", "b")):
        (root / "source" / name).mkdir(parents=True)
        for number in range(EACH):
            true = 1 - label if number < WRONG // 2 else label
            image = picture(1000 * label + number, true, (48, 40))
            path = root / "source" / name / f"{number:04d}.png"
            path.write_bytes(encoded(image))
            truth[f"{name}/{number:04d}.png"] = true
    dataset = prepare(
        SourceConfig(location=str(root / "source")),
        str(root / "data"),
        PrepareConfig(size=(24,), shard_items=16),
        LocalEngine(2),
    )
    ids = dataset.rows(["id"])["id"].to_pylist()
    write_audit(dataset, np.array([truth[id_] for id_ in ids], np.int32), sharpness=2.5)
    return root


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    """A copy that a test may decide about."""
    return Path(shutil.copytree(prepared / "data", tmp_path / "data"))


class Client:
    """A browser's requests, without a network; it keeps cookies."""

    def __init__(self, app: Any, base: str) -> None:
        self.app, self.base = app, base
        self.cookies = httpx.Cookies()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url=self.base, cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **more)
                self.cookies = client.cookies
                return answer

        return asyncio.run(send())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)


class Page:
    """What the page's script does, without a browser."""

    def __init__(self, review: run.Review, who: str = "ada", base: str = HERE) -> None:
        self.client = Client(review.app, base)
        self.who = who
        self.session = f"session-of-{who}-{id(self)}"

    def ask(self, path: str, status: int = 200, **body: Any) -> Any:
        known = {"session": self.session, "who": self.who}
        answer = self.client.post(f"/api/{path}", json=known | body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def next(self, **body: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.ask("next", **body)["items"]
        return items

    def decide(
        self, item: dict[str, Any], wish: str, to: str | None = None, **more: Any
    ) -> dict[str, Any]:
        choice = {"place": item["place"], "wish": wish, "to": to, "stamp": item["stamp"]}
        done: dict[str, Any] = self.ask("decide", choices=[choice], **more)
        return done

    def progress(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("progress")
        return found


@pytest.fixture
def opened(place: Path) -> Iterator[run.Review]:
    review = run.prepare(str(place), port=0, who="ada")
    yield review
    review.listener.close()


@pytest.fixture
def ada(opened: run.Review) -> Page:
    return Page(opened)


def lines(place: Path) -> list[dict[str, Any]]:
    path = place / "decisions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# Deciding


def test_the_most_suspicious_come_first_with_everything_about_them(ada: Page) -> None:
    items = ada.next(count=10)
    suspected = [item["suspicion"] for item in items if item["kind"] == "label"]
    assert suspected == sorted(suspected, reverse=True)
    assert suspected[0] > 0.9
    first = next(item for item in items if item["kind"] == "label")
    assert first["target"] == first["proposed"] != first["label"] == first["given"]
    assert first["said"] == "almost certainly wrong"
    assert first["percent"] == ">99%"
    same, other = first["neighbours"]
    assert {each["label"] for each in same["items"]} == {first["given"]}
    assert {each["label"] for each in other["items"]} == {first["target"]}
    conflict = next(item for item in items if item["kind"] == "conflict")
    assert [each["label"] for each in conflict["copies"]] == [conflict["target"]]


def test_every_key_becomes_a_line_on_the_disk_before_the_answer(
    ada: Page, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def spy(file: int) -> None:
        fsync(file)
        synced.append(os.fstat(file).st_size)

    monkeypatch.setattr(os, "fsync", spy)
    items = [item for item in ada.next(count=12) if item["kind"] == "label"][:4]
    wishes = [("keep", None), ("label", items[1]["target"]), ("drop", None), ("undecidable", None)]
    for count, (item, (wish, to)) in enumerate(zip(items, wishes, strict=True), 1):
        assert ada.decide(item, wish, to)["wrote"] == 1
        assert len(lines(place)) == count
        assert (place / "decisions.jsonl").stat().st_size in synced
    assert ada.ask("undo")["undone"] == 1
    told = [
        (line["id"], line["action"], line["from"], line["to"], line["who"], line["by"])
        for line in lines(place)
    ]
    a, b, c, d = items
    assert told == [
        (a["id"], "confirm", a["label"], a["label"], "ada", "person"),
        (b["id"], "relabel", b["label"], b["target"], "ada", "person"),
        (c["id"], "drop", c["label"], None, "ada", "person"),
        (d["id"], "undecidable", d["label"], None, "ada", "person"),
        (d["id"], "undo", None, d["label"], "ada", "person"),
    ]


def test_a_full_disk_is_told_and_the_item_stays(
    ada: Page, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (item,) = ada.next(count=1)

    def full(self: Ledger, wanted: list[Wanted]) -> None:
        raise StorageError("No space left to write decisions.jsonl: free some.")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", full)
        choice = {"place": item["place"], "wish": "keep", "stamp": item["stamp"]}
        assert "No space left" in ada.ask("decide", 507, choices=[choice])["error"]
    assert lines(place) == []
    assert ada.next(count=1)[0]["place"] == item["place"]
    assert ada.decide(item, "keep")["wrote"] == 1


def test_what_makes_no_sense_is_refused_in_a_sentence(ada: Page, place: Path) -> None:
    (item,) = ada.next(count=1)
    stamp = item["stamp"]
    for choice, status, said in (
        ({"place": item["place"], "wish": "label", "to": "c", "stamp": stamp}, 400, "no class 'c'"),
        ({"place": 10**6, "wish": "keep", "stamp": ""}, 400, "no item 1000000"),
        ({"place": item["place"], "wish": "burn", "stamp": stamp}, 422, "choices.0.wish"),
    ):
        assert said in ada.ask("decide", status, choices=[choice])["error"]
    assert "no finding 'odd'" in ada.ask("next", 400, kind="odd")["error"]
    assert ada.client.get("/api/item/999999").status_code == 400
    assert lines(place) == []


def test_a_decision_sent_twice_is_written_once(ada: Page, place: Path) -> None:
    item = ada.next(count=1)[0]
    for _ in range(2):
        done = ada.decide(item, "label", item["target"])
        assert done["conflicts"] == []
    assert done["wrote"] == 0
    assert len(lines(place)) == 1


def test_kept_items_that_were_left_out_get_their_label_back(ada: Page, place: Path) -> None:
    item = ada.next(count=1)[0]
    ada.decide(item, "drop")
    seen = ada.client.get(f"/api/item/{item['place']}").json()
    assert seen["label"] is None
    assert seen["decided"]["text"] == "ada dropped it."
    ada.decide(seen, "keep")
    assert [line["to"] for line in lines(place)] == [None, item["given"]]


# Several reviewers, restarts


def test_two_reviewers_get_different_items_and_lose_nothing(opened: run.Review) -> None:
    ada, bob = Page(opened), Page(opened, "bob")
    hers, his = ada.next(count=6), bob.next(count=6)
    assert not {item["place"] for item in hers} & {item["place"] for item in his}
    for one, other in zip(hers, his, strict=True):
        ada.decide(one, "keep")
        bob.decide(other, "drop")
    assert ada.progress()["who"] == {"ada": 6, "bob": 6}
    assert ada.progress()["others"] == ["bob"]
    bob.client.post("/api/leave", json={"session": bob.session})
    assert ada.progress()["others"] == []


def test_a_page_that_is_gone_frees_its_items_in_time(
    opened: run.Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = Page(opened), Page(opened, "bob")
    time = [0.0]
    opened.board.queue.clock = lambda: time[0]
    hers = ada.next(count=3)
    time[0] += LEASE_SECONDS - 1
    assert bob.next(count=1)[0]["place"] not in {item["place"] for item in hers}
    time[0] += 2
    assert bob.next(count=1)[0]["place"] == hers[0]["place"]


def test_who_comes_second_is_shown_what_the_first_decided(opened: run.Review, place: Path) -> None:
    ada, bob = Page(opened), Page(opened, "bob")
    item = ada.next(count=1)[0]
    Ledger(Dataset.load(str(place))).append([Wanted(item["id"], "drop", who="cy", by="person")])
    done = ada.decide(item, "keep")
    assert done["wrote"] == 0
    (now,) = done["conflicts"]
    assert now["decided"]["text"] == "cy dropped it."
    assert item["place"] not in {each["place"] for each in bob.next(count=100)}
    assert ada.decide(now, "keep")["wrote"] == 1  # looked again, and meant
    assert [line["who"] for line in lines(place)] == ["cy", "ada"]


def test_undo_takes_back_only_what_is_still_ones_own(opened: run.Review, place: Path) -> None:
    ada, bob = Page(opened), Page(opened, "bob")
    first, second = ada.next(count=2)
    ada.decide(first, "keep")
    ada.decide(second, "keep")
    seen = bob.client.get(f"/api/item/{second['place']}").json()
    bob.decide(seen, "drop")
    undone = ada.ask("undo")
    assert [item["place"] for item in undone["items"]] == [first["place"]]
    assert ada.ask("undo")["undone"] == 0
    assert bob.ask("undo")["undone"] == 1
    assert ada.ask("undo")["undone"] == 1
    standings = Ledger(Dataset.load(str(place))).standings()
    assert standings == {}


def test_an_undo_sent_twice_takes_back_one_decision(opened: run.Review, place: Path) -> None:
    ada = Page(opened)
    first, second = ada.next(count=2)
    ada.decide(first, "keep")
    ada.decide(second, "keep")
    shown = ada.ask("undo", key="0af3")["items"]
    again = run.prepare(str(place), port=0)  # killed before it could answer
    try:
        repeated = Page(again).ask("undo", key="0af3")
        assert (repeated["undone"], repeated["items"]) == (1, shown)
        assert len(lines(place)) == 3
        assert Page(again).ask("undo", key="0af4")["undone"] == 1
    finally:
        again.listener.close()


def test_what_the_dataset_has_no_more_is_not_in_the_way_of_an_undo(ada: Page, place: Path) -> None:
    ada.decide(ada.next()[0], "drop")
    gone = {"id": "gone.png", "action": "drop", "who": "ada", "by": "person"}
    with (place / "decisions.jsonl").open("a") as file:
        file.write(json.dumps(gone) + "\n")
    assert ada.ask("undo")["undone"] == 1


def test_a_restart_loses_nothing(opened: run.Review, place: Path) -> None:
    ada = Page(opened)
    for item in ada.next(count=5):
        ada.decide(item, "label", item["target"])
    before = ada.progress()
    again = run.prepare(str(place), port=0)
    try:
        later = Page(again)
        after = later.progress()
        for key in ("settled", "by_person", "who", "economy", "kinds"):
            assert after[key] == before[key], key
        assert later.ask("undo")["undone"] == 1
    finally:
        again.listener.close()


def test_passed_items_come_again_when_nothing_else_is_left() -> None:
    line = Queue(np.array([0.5, 0.9, 0.1, 0.7], np.float32))
    session = line.session("page", "ada")
    wanted = np.ones(4, bool)
    assert line.take(session, 2, wanted, ()) == [1, 3]
    line.pass_over(session, [1])
    assert line.take(session, 2, wanted, [3]) == [0, 2]
    wanted[[0, 2]] = False
    assert line.take(session, 2, wanted, [3]) == [1]
    assert line.take(session, 2, wanted, [3, 1]) == []
    other = line.session("other", "bob")
    assert line.take(other, 4, wanted, ()) == []  # all wanted ones are away


def test_passing_over_is_remembered_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "PASSED_MOST", 2)
    line = Queue(np.zeros(5, np.float32))
    session = line.session("page", "ada")
    line.pass_over(session, [0, 1, 2])
    assert list(session.passed) == [1, 2]


# Several at once


def test_a_grid_is_decided_at_once_and_undone_by_one_key(ada: Page, place: Path) -> None:
    found = ada.ask("next", mode="grid", count=24)
    items = found["items"]
    assert len(items) > 1
    assert {item["label"] for item in items} == {found["from"]}
    assert found["marked"] == found["from"] != found["to"]
    choices = [
        {"place": item["place"], "stamp": item["stamp"], "wish": "label", "to": found["to"]}
        for item in items[1:]
    ]
    choices.append({"place": items[0]["place"], "stamp": items[0]["stamp"], "wish": "keep"})
    assert ada.ask("decide", mode="grid", choices=choices)["wrote"] == len(items)
    written = lines(place)
    assert [line["action"] for line in written] == ["relabel"] * (len(items) - 1) + ["confirm"]
    assert len({line["reason"] for line in written}) == 1
    (single,) = ada.next(count=1)
    ada.decide(single, "keep")
    assert ada.ask("undo", mode="grid")["undone"] == 1
    undone = ada.ask("undo", mode="grid")
    assert undone["undone"] == len(items)
    assert {item["place"] for item in undone["items"]} == {item["place"] for item in items}
    assert Ledger(Dataset.load(str(place))).standings() == {}
    again = ada.ask("next", mode="grid", count=24)
    assert {item["place"] for item in again["items"]} == {item["place"] for item in items}


def test_a_grid_without_a_proposal_keeps(ada: Page) -> None:
    found = ada.ask("next", mode="grid", count=5, kind="none")
    assert found["to"] is None
    assert found["marked"] != found["from"]
    assert len(found["items"]) == 5


# The yardstick


@pytest.fixture
def blind(place: Path) -> Iterator[Page]:
    review = run.prepare(
        str(place), yardstick=4, division=SplitConfig(train=0.6, val=0.2, test=0.2), port=0
    )
    yield Page(review)
    review.listener.close()


def test_the_yardstick_is_judged_without_a_hint(blind: Page, place: Path) -> None:
    assert blind.client.get("/api/start").json()["blind"]
    answer = blind.client.post(
        "/api/next",
        json={"session": blind.session, "who": "ada", "mode": "blind", "count": 4},
    )
    items = answer.json()["items"]
    assert len(items) == 4
    assert {key for item in items for key in item} == {"place", "blind", "stamp", "answered"}
    ids = json.loads((place / "yardstick.json").read_text())["ids"]
    given = [id_[0] for id_ in ids]
    blind.decide(items[0], "label", given[0], mode="blind")
    other = {"a": "b", "b": "a"}[given[1]]
    done = blind.decide(items[1], "label", other, mode="blind")
    assert "label" not in json.dumps(done)
    written = lines(place)
    assert [line["id"] for line in written] == ids[:2]
    assert [(line["action"], line["to"]) for line in written] == [
        ("confirm", given[0]),
        ("relabel", other),
    ]
    assert {line["reason"] for line in written} == {"yardstick"}
    assert blind.progress()["yardstick"] == {"items": 4, "settled": 2}


def test_undecided_yardstick_items_are_not_shown_otherwise(blind: Page, place: Path) -> None:
    first = blind.next(mode="blind", count=1)[0]
    blind.decide(first, "label", "a", mode="blind")
    ids = set(json.loads((place / "yardstick.json").read_text())["ids"])
    shown = {item["id"] for item in blind.next(count=100)}
    assert len(shown) == 2 * EACH - len(ids)
    assert not shown & ids
    undone = blind.ask("undo", mode="one")
    assert undone["undone"] == 1
    assert undone["items"] == []  # it would no longer be blind
    again = blind.next(mode="blind", count=1)[0]
    assert again["place"] == first["place"]


# Who may talk


def test_on_loopback_other_names_and_other_sites_are_refused(opened: run.Review) -> None:
    assert "token" not in opened.url
    ada = Page(opened)
    page = ada.client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert ada.client.get("/", headers={"host": "evil.example:8765"}).status_code == 403
    assert ada.client.get("/", headers={"host": "localhost:8765"}).status_code == 200
    body = {"session": ada.session, "who": "ada"}
    for headers, status in (
        ({}, 200),
        ({"origin": HERE}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ):
        answer = ada.client.post("/api/progress", json=body, headers=headers)
        assert answer.status_code == status, headers
    form = ada.client.post("/api/progress", data=body)
    assert form.status_code == 415
    assert ada.client.post("/api/progress", json={**body, "x": "x" * (1 << 20)}).status_code == 413


def test_beyond_loopback_a_token_is_demanded(place: Path) -> None:
    review = run.prepare(str(place), host="0.0.0.0", port=0)
    try:
        token = review.url.partition("?token=")[2]
        assert len(token) > 20
        page = Page(review, base="http://somewhere:8765")
        for path in ("/", "/review.js", "/api/start", "/image/0", "/?token=", "/?token=wrong"):
            assert page.client.get(path).status_code == 401, path
        first = page.client.get(f"/?token={token}")
        assert first.status_code == 200
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert page.client.get("/api/start").status_code == 200
        assert page.next(count=1)
        page.client.cookies.clear()
        assert page.client.get("/api/start").status_code == 401
    finally:
        review.listener.close()


def test_a_token_can_be_asked_for_on_loopback(place: Path) -> None:
    review = run.prepare(str(place), port=0, token="open sesame")
    try:
        page = Page(review)
        assert page.client.get("/").status_code == 401
        assert page.client.get("/", params={"token": "open sesame"}).status_code == 200
    finally:
        review.listener.close()


@pytest.mark.parametrize("token", ["a+b&c", "100%41", "Zürich; 7"])
def test_any_token_works_in_the_address_and_beside_other_cookies(place: Path, token: str) -> None:
    review = run.prepare(str(place), port=0, token=token)
    try:
        client = Client(review.app, HERE)
        assert client.get("/" + review.url.rpartition("/")[2]).status_code == 200
        ((name, value),) = client.cookies.items()
        others = Client(review.app, HERE)
        crowd = {"cookie": f'theme={{"dark":1}}; a b=c; {name}={value}'}
        assert others.get("/review.js", headers=crowd).status_code == 200
        assert others.get("/review.js", headers={"cookie": f"{name}=x"}).status_code == 401
    finally:
        review.listener.close()


@pytest.mark.parametrize("token", ["", " ", "a\nb"])
def test_a_token_is_a_text(place: Path, token: str) -> None:
    with pytest.raises(ConfigError, match="--token is a text"):
        run.prepare(str(place), port=0, token=token)


def test_an_origin_that_is_no_address_is_refused(ada: Page) -> None:
    body = {"session": ada.session}
    answer = ada.client.post("/api/leave", json=body, headers={"origin": "http://["})
    assert answer.status_code == 403


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(ConfigError, match="from 0 to 65535"):
        run.listen("127.0.0.1", port)


def test_a_host_that_is_no_name() -> None:
    with pytest.raises(LorgnetteError, match="cannot be listened on"):
        run.listen("a" * 70, 0)


def test_a_yardstick_is_drawn_whatever_was_decided(place: Path) -> None:
    dataset = Dataset.load(str(place))
    ids = dataset.rows(["id"])["id"].to_pylist()
    dataset.ledger.append([Wanted(id_, "drop", by="rule") for id_ in ids if id_[0] == "a"])
    review = run.prepare(str(place), port=0, yardstick=3)
    review.listener.close()
    assert len(review.board.yardstick) == 3


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.7", True), ("::1", True), ("0.0.0.0", False), ("box", False)],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_busy_port() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        with pytest.raises(LorgnetteError, match=rf"127.0.0.1:{taken} cannot be listened on"):
            run.listen("127.0.0.1", taken)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "PORT", taken)
            with run.listen("127.0.0.1", None) as free:
                assert free.getsockname()[1] > taken


def test_a_target_is_a_share(place: Path) -> None:
    with pytest.raises(ConfigError, match="from 0 to below 1, not 5"):
        run.prepare(str(place), target=5)


@pytest.mark.parametrize("who", ["  ", "a\nb", "x" * 81])
def test_a_name_is_a_name(place: Path, who: str) -> None:
    with pytest.raises(ConfigError, match="--who is a name of 1 to 80 printable characters"):
        run.prepare(str(place), who=who)


# What is shown


def test_pictures_are_the_prepared_pixels_and_the_originals(ada: Page, place: Path) -> None:
    pixels = Dataset.load(str(place)).read(np.array([3]))[0]
    answer = ada.client.get("/image/3")
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), pixels)
    original = ada.client.get("/original/3")
    assert Image.open(io.BytesIO(original.content)).size == (48, 40)
    assert ada.client.get("/image/600").status_code == 404
    assert ada.client.get("/original/-1").status_code == 404
    assert ada.client.get("/../pyproject.toml").status_code == 404


def test_originals_that_have_gone_are_done_without(place: Path) -> None:
    facts = json.loads((place / "dataset.json").read_text())
    (place / "dataset.json").write_text(json.dumps(facts | {"images": "/nowhere"}))
    review = run.prepare(str(place), port=0)
    try:
        page = Page(review)
        assert page.client.get("/api/start").json()["originals"] is False
        assert page.client.get("/original/0").status_code == 404
        assert page.client.get("/image/0").status_code == 200
    finally:
        review.listener.close()


def test_the_page_asks_nothing_of_anybody_else(ada: Page) -> None:
    for path in ("/", "/review.js", "/draw.js", "/review.css", "/palette.css"):
        text = ada.client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|url\(|@import|[\"'`(]//", text), path
        assert "innerHTML" not in text, path
    page = ada.client.get("/").text
    assert not re.search(r"\son\w+=|style=|<style|<script>", page)


def test_without_an_audit_items_come_at_random(place: Path) -> None:
    shutil.rmtree(place / "audit")
    review = run.prepare(str(place), port=0)
    try:
        page = Page(review)
        items = page.next(count=2 * EACH)
        places = [item["place"] for item in items]
        assert sorted(places) == list(range(2 * EACH)) != places
        assert items[0]["proposed"] is None
        assert items[0]["target"] != items[0]["label"]  # of two classes
        assert "no audit" in items[0]["why"][0]
        assert not page.progress()["economy"]["known"]
        for number, item in enumerate(items[:24]):
            page.decide(item, "keep" if number % 4 else "label", item["target"])
        found = page.progress()["economy"]
        assert found["known"]
        # a quarter of the 36 that are left, as of the 24 that were judged
        assert found["left"]["value"] == pytest.approx(9, abs=0.5)
        assert found["left"]["low"] < 9 < found["left"]["high"]
    finally:
        review.listener.close()


def test_a_foreign_or_missing_audit_is_refused(place: Path, tmp_path: Path) -> None:
    dataset = Dataset.load(str(place))
    with pytest.raises(DatasetError, match="no finished audit"):
        load(dataset, str(tmp_path / "nothing"))
    import pyarrow.parquet as pq

    path = place / "audit" / "suspicion.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(DatasetError, match="of other items"):
        load(dataset)
    pq.write_table(table.drop_columns(["cluster"]), path)
    with pytest.raises(DatasetError, match="damaged or of another version"):
        load(dataset)


def test_an_audit_of_other_labels_is_refused(place: Path) -> None:
    import pyarrow.parquet as pq

    path = place / "audit" / "suspicion.parquet"
    table = pq.read_table(path)
    given = table["given"].to_pylist()
    given[7] = "b" if given[7] == "a" else "a"  # prepared again, with corrections
    changed = table.set_column(table.schema.get_field_index("given"), "given", pa.array(given))
    pq.write_table(changed, path)
    with pytest.raises(DatasetError, match="judges other labels"):
        load(Dataset.load(str(place)))


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 300, np.zeros(60, np.int32), np.full((60, 2, 4), 60, np.int32)],
    ids=["empty", "garbage", "flat", "beyond"],
)
def test_damaged_neighbours_are_told_and_missing_ones_done_without(place: Path, data: Any) -> None:
    dataset, path = Dataset.load(str(place)), place / "audit" / "neighbours.npy"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        np.save(path, data)
    with pytest.raises(DatasetError, match=r"neighbours\.npy is damaged"):
        load(dataset)
    path.unlink()
    assert load(dataset).neighbours is None


def test_vectors_are_shown_by_what_is_odd_about_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 3))
    values[:, 2] = 7.0  # says nothing
    values[5, 1] = 9.0
    rows = [
        f"i{n},{'ab'[n % 2]},{','.join(f'{value:.6f}' for value in row)}"
        for n, row in enumerate(values)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["id,label,v1,v2,v3", *rows]) + "\n")
    source = SourceConfig(location=str(tmp_path / "t.csv"), features="v1..v3")
    dataset = prepare(source, str(tmp_path / "data"), PrepareConfig(), LocalEngine(1))
    write_audit(dataset, dataset.labels("given"))
    board = Board(dataset, load(dataset), None, 0.01)
    number = dataset.rows(["id"])["id"].to_pylist().index("i5")
    features = board.look(number, blind=False)["features"]
    assert [each["name"] for each in features] == ["v2", "v1"]
    assert features[0]["far"] > 4


# What is left


def judged(given: NDArray[np.int32], truth: NDArray[np.int32], places: NDArray[np.int64]) -> Fold:
    """A person has told the truth about some items."""
    labels, by = given.copy(), np.full(len(given), -1, np.int8)
    actions = by.copy()
    labels[places], by[places] = truth[places], BY.index("person")
    changed = given[places] != truth[places]
    actions[places] = np.where(changed, ACTIONS.index("relabel"), ACTIONS.index("confirm"))
    return Fold(labels, actions, by, by >= 0)


def findings(given: NDArray[np.int32], suspicion: NDArray[np.float32]) -> Findings:
    n = len(given)
    none = np.zeros(n, np.float32)
    return Findings(
        ids=pa.array([str(number) for number in range(n)]),
        given=given,
        proposed=np.where(suspicion > 0.5, 1 - given, given).astype(np.int32),
        suspicion=suspicion,
        confidence=np.maximum(suspicion, 1 - suspicion),
        undecidable=none,
        outlier=none,
        kinds=np.where(suspicion > 0.5, 0, len(KINDS) - 1).astype(np.int8),
        cluster=np.full(n, -1),
        neighbours=None,
        audited=True,
    )


def simulated(
    seed: int, decisions: int, distortion: float = 1.0
) -> tuple[Economy, int, int, float]:
    """An economy after so many decisions; the wrong labels left, those that the next 100 find, and
    what the plain sum of suspicions says."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 3000).astype(np.int32)
    wrong = rng.random(3000) < 0.12
    given = np.where(wrong, 1 - truth, truth).astype(np.int32)
    suspicion = suspicions(wrong, rng, 1.0) ** np.float32(distortion)
    found = findings(given, suspicion)
    order = Queue(found.worth).order
    fold = judged(given, truth, order[:decisions])
    economy = estimate(found, fold, order, target=0.01)
    rest = order[decisions:]
    return (
        economy,
        int(wrong[rest].sum()),
        int(wrong[rest[:100]].sum()),
        float(suspicion[rest].sum()),
    )


@pytest.mark.parametrize("decisions", [0, 200, 800])
def test_the_interval_holds_what_is_really_left(decisions: int) -> None:
    inside = ahead = 0
    runs = 60
    for seed in range(runs):
        economy, left, found, _ = simulated(seed, decisions)
        assert economy.judged == decisions
        inside += economy.left.low <= left <= economy.left.high
        ahead += economy.ahead.low <= found <= economy.ahead.high
        assert economy.left.high - economy.left.low < 320
    assert inside >= 0.9 * runs
    assert ahead >= 0.9 * runs


@pytest.mark.parametrize("distortion", [0.5, 2.0])
def test_reviewers_correct_an_audit_that_is_off(distortion: float) -> None:
    errors, plain = [], []
    for seed in range(20):
        economy, left, _, suspected = simulated(seed, 500, distortion)
        errors.append(abs(economy.left.value - left))
        plain.append(abs(suspected - left))
    assert np.mean(errors) < 0.6 * np.mean(plain)


def test_an_audit_after_a_review_does_not_confirm_itself() -> None:
    """It takes verdicts as known, and what it thought before them is what they correct."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 3000).astype(np.int32)
    wrong = rng.random(3000) < 0.12
    given = np.where(wrong, 1 - truth, truth).astype(np.int32)
    found = findings(given, suspicions(wrong, rng, 1.0) ** np.float32(2))
    places = Queue(found.worth).order[:500]
    fold = judged(given, truth, places)
    known = found.suspicion.copy()
    known[places] = wrong[places]
    later = replace(found, suspicion=known, believed=found.suspicion)
    order = np.arange(3000)
    before, after = (estimate(each, fold, order, target=0.01) for each in (found, later))
    assert after.left == before.left
    assert after.expected == before.expected < after.wrong
    assert estimate(replace(later, believed=None), fold, order, 0.01).left != before.left


def test_before_any_decision_it_is_the_sum_of_suspicions() -> None:
    economy, _, _, suspected = simulated(1, 0)
    assert economy.left.value == pytest.approx(suspected, rel=1e-5)
    shares = [share for _, share in economy.curve]
    assert shares == sorted(shares, reverse=True)
    assert economy.curve[0][0] == 0
    assert shares[0] == pytest.approx(suspected / 3000, rel=1e-5)
    assert economy.to_target is not None
    assert 0 < economy.to_target <= economy.curve[-1][0]


def test_what_a_rule_changed_counts_with_its_doubt() -> None:
    given = np.zeros(10, np.int32)
    suspicion = np.full(10, 0.9, np.float32)
    found = findings(given, suspicion)
    labels, by = given.copy(), np.full(10, -1, np.int8)
    labels[:5], by[:5] = 1, BY.index("rule")
    actions = np.where(by >= 0, ACTIONS.index("relabel"), -1).astype(np.int8)
    fold = Fold(labels, actions, by, np.zeros(10, bool))
    economy = estimate(found, fold, np.arange(10), 0.01)
    assert economy.left.value == pytest.approx(5 * 0.9 + 5 * 0.1, rel=1e-5)


def test_rules_send_items_to_the_end_of_the_line(ada: Page, place: Path) -> None:
    item = next(item for item in ada.next(count=10) if item["kind"] == "label")
    ledger = Ledger(Dataset.load(str(place)))
    rule = "suspicion >= 0.95"
    ledger.append([Wanted(item["id"], "relabel", item["target"], rule, "ada", "rule")])
    rest = ada.next(count=100)
    assert item["place"] in [each["place"] for each in rest[20:]]
    seen = next(each for each in rest if each["place"] == item["place"])
    assert seen["label"] == item["target"]
    assert seen["decided"]["text"] == f"A rule made it ‘{item['target']}’."
    assert ada.progress()["by_rule"] == 1


def test_when_to_stop() -> None:
    economy, *_ = simulated(0, 0)
    go = advise(economy, 0.01, 2.0)
    assert not go.stop
    assert "at your pace" in go.text
    assert advise(economy, 0.5, None).stop
    done, *_ = simulated(0, 2990)
    assert advise(done, 0.0, None).stop
    everything, left, *_ = simulated(0, 3000)
    assert left == 0
    assert advise(everything, 0.0, None).text == "Everything is settled."


def test_the_pace_is_a_median_without_pauses() -> None:
    pace = Pace()
    assert pace.seconds is None
    for when in (0.0, 2.0, 4.0, 500.0, 503.0):
        pace.add("ada", 1, when)
    pace.add("bob", 1, 501.0)
    assert pace.seconds == 2.0
    pace.add("ada", 24, 515.0)  # a grid: half a second for each
    assert pace.seconds == 0.5
