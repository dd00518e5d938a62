"""The application: a page, its pictures, and the few requests that its script makes.

This module does without `from __future__ import annotations`: FastAPI reads the annotations of the
functions inside `build`, which name what is imported there.
"""

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from lorgnette import __version__
from lorgnette.errors import ConfigError, LorgnetteError
from lorgnette.serving.review.board import LONGEST_NAME, Board, Choice
from lorgnette.serving.review.pictures import Pictures
from lorgnette.storage import refusals

if TYPE_CHECKING:
    from fastapi import FastAPI

PARTS = {
    "/": ("serving/review/review.html", "text/html; charset=utf-8"),
    "/palette.css": ("palette.css", "text/css; charset=utf-8"),
    "/review.css": ("serving/review/review.css", "text/css; charset=utf-8"),
    "/review.js": ("serving/review/review.js", "text/javascript; charset=utf-8"),
    "/draw.js": ("serving/review/draw.js", "text/javascript; charset=utf-8"),
}
"""What the page is made of: files of the package, and their kinds."""
KEPT = {"cache-control": "private, max-age=86400, immutable"}
FRESH = {"cache-control": "no-store"}

Session = Annotated[str, StringConstraints(pattern=r"^[0-9a-zA-Z-]{8,64}$")]
Who = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f]+$"
    ),
]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,32}$")]
Stamp = Annotated[str, StringConstraints(max_length=32)]
Places = Annotated[list[int], Field(max_length=500)]
Mode = Literal["one", "grid", "blind"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Asks(_Body):
    """A page: which, and whose."""

    session: Session
    who: Who


class AsksNext(Asks):
    """It wants more items."""

    mode: Mode = "one"
    kind: str | None = None
    count: int = Field(default=6, ge=1, le=100)
    have: Places = []
    passed: Places = []


class Decides(_Body):
    """What is wanted of one item."""

    place: int
    wish: Literal["keep", "label", "drop", "undecidable"]
    to: str | None = None
    stamp: Stamp = ""


class AsksDecide(Asks):
    """It sends decisions."""

    mode: Mode = "one"
    choices: list[Decides] = Field(min_length=1, max_length=200)


class AsksUndo(Asks):
    """It takes its reviewer's last decision back."""

    mode: Mode = "one"
    key: Key = ""


class Leaves(_Body):
    """It is closed."""

    session: Session


def build(board: Board, who: str, blind: bool = False, shared: bool = False) -> "FastAPI":
    """The application.

    Args:
        board: items and decisions.
        who: the reviewer's name until a page changes it.
        blind: whether pages begin with the yardstick.
        shared: whether several people are expected, so that pages first ask for a name.
    """
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, Response

    app = FastAPI(title="Lorgnette review", docs_url=None, redoc_url=None, openapi_url=None)
    info = board.dataset.info
    how = hashlib.sha256(info.prepare.model_dump_json().encode()).hexdigest()
    tag = info.source_digest[:8] + how[:8]  # pictures are kept by the browser under this
    pictures = None if board.dataset.is_vectors else Pictures(board.dataset)

    @app.exception_handler(LorgnetteError)
    def told(_: Any, error: Exception) -> JSONResponse:
        status = 400 if isinstance(error, ConfigError) else 507
        return JSONResponse({"error": str(error)}, status, FRESH)

    @app.exception_handler(RequestValidationError)
    def unread(_: Any, error: Exception) -> JSONResponse:
        where = ".".join(str(each) for each in getattr(error, "errors", list)()[0]["loc"][1:])
        sentence = f"The page sent something that makes no sense ({where}): reload it."
        return JSONResponse({"error": sentence}, 422, FRESH)

    @app.exception_handler(Exception)
    def unforeseen(_: Any, error: Exception) -> JSONResponse:
        sentence = f"Something unforeseen happened ({type(error).__name__}: {error})."
        return JSONResponse({"error": sentence}, 500, FRESH)

    def part(path: str) -> None:
        name, kind = PARTS[path]
        data = files("lorgnette").joinpath(name).read_bytes()

        @app.get(path)
        def read() -> Response:
            return Response(data, media_type=kind, headers=FRESH)

    for path in PARTS:
        part(path)

    @app.get("/api/start")
    def start() -> JSONResponse:
        return JSONResponse(
            {
                "dataset": board.dataset.location.rstrip("/").rpartition("/")[2],
                "location": board.dataset.location,
                "version": __version__,
                "classes": info.classes,
                "items": len(board.findings),
                "audited": board.findings.audited,
                "who": who,
                "blind": blind and len(board.yardstick) > 0,
                "yardstick": len(board.yardstick),
                "edge": 0 if pictures is None else pictures.edge,
                "originals": pictures is not None and pictures.originals,
                "tag": tag,
                "shared": shared,
                "features": len(info.features),
            },
            headers=FRESH,
        )

    @app.post("/api/next")
    def next_items(asks: AsksNext) -> JSONResponse:
        with refusals(board.dataset.location):
            found = board.next(
                asks.session, asks.who, asks.mode, asks.kind, asks.count, asks.have, asks.passed
            )
        return JSONResponse(found, headers=FRESH)

    @app.get("/api/item/{place}")
    def item(place: int, blind: bool = False) -> JSONResponse:
        return JSONResponse(board.look(place, blind), headers=FRESH)

    @app.post("/api/decide")
    def decide(asks: AsksDecide) -> JSONResponse:
        choices = [Choice(each.place, each.wish, each.to, each.stamp) for each in asks.choices]
        with refusals(board.ledger.path):
            done = board.decide(asks.session, asks.who, asks.mode, choices)
        return JSONResponse(done, headers=FRESH)

    @app.post("/api/undo")
    def undo(asks: AsksUndo) -> JSONResponse:
        with refusals(board.ledger.path):
            done = board.undo(asks.session, asks.who, asks.mode, asks.key)
        return JSONResponse(done, headers=FRESH)

    @app.post("/api/progress")
    def progress(asks: Asks) -> JSONResponse:
        return JSONResponse(board.progress(asks.session, asks.who), headers=FRESH)

    @app.post("/api/leave")
    def leave(asks: Leaves) -> JSONResponse:
        board.leave(asks.session)
        return JSONResponse({}, headers=FRESH)

    @app.get("/image/{place}")
    def image(place: int, small: bool = False) -> Response:
        if pictures is None or not 0 <= place < len(board.findings):
            return Response(status_code=404)
        return Response(pictures.prepared(place, small), media_type="image/png", headers=KEPT)

    @app.get("/original/{place}")
    def original(place: int) -> Response:
        found = 0 <= place < len(board.findings) and pictures and pictures.original(place)
        if not found:
            return Response(status_code=404)
        return Response(found, media_type="image/jpeg", headers=KEPT)

    return app
