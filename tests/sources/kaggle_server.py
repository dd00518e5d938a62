"""A server on loopback that speaks the part of Kaggle's protocol that the official client uses.

Two calls of the API (a data set's newest version; its archive, which is a redirect to a signed
link), and a file server behind the link, under another host name.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "KGAT_a-token-that-nobody-may-see"
SIGNATURE = "a-signature-that-nobody-may-see"


@dataclass
class Refusal:
    """An answer instead of the one asked for."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass
class Kaggle:
    """What the server has, how it misbehaves, and what it was asked."""

    archive: bytes
    version: int = 3
    etag: str | None = None
    ranges: bool = True
    length: bool = True
    """Whether it says how much it sends."""
    md5: str | None = ""
    authorization: str = f"Bearer {TOKEN}"
    refusals: dict[str, list[Refusal]] = field(default_factory=dict)
    """By the name of the call, `file`, or `rest of file`; used up from the front."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the connection of a file is lost; used up from the front."""
    stall: threading.Event | None = None
    """A cut waits for it with the connection open."""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """(method, path, headers) of every request."""
    bodies: list[Any] = field(default_factory=list)
    sent: int = 0
    """Bytes of files."""

    def __enter__(self) -> Kaggle:
        kaggle = self

        class Handler(_Handler):
            state = kaggle

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.stall:
            self.stall.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ranges_asked(self) -> list[str | None]:
        """The Range header of every request for a file."""
        return [headers.get("Range") for method, _, headers in self.asked if method == "GET"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients are killed and hang up here."""


class _Handler(BaseHTTPRequestHandler):
    state: Kaggle
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.bodies.append(body)
        name = self._note()
        if self.headers.get("Authorization") != self.state.authorization:
            self._say(401, {"code": 401, "message": f"Unauthenticated {TOKEN}"})
        elif refusal := self._refusal(name):
            self._refuse(refusal)
        elif name == "GetDataset":
            dataset = {"ref": "a/b", "currentVersionNumber": self.state.version}
            self._say(200, {**dataset, "licenseName": "CC-BY-SA-4.0"})
        elif name == "DownloadDataset":
            self.send_response(302)
            link = f"http://localhost:{self.state.port}/file/archive.zip?Signature={SIGNATURE}"
            self.send_header("Location", link)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._say(404, {"code": 404, "message": "no such method"})

    def do_GET(self) -> None:
        name = self._note()
        wanted = self.headers.get("Range")
        if refusal := self._refusal("rest of file" if wanted else "file"):
            self._refuse(refusal)
            return
        assert name == f"archive.zip?Signature={SIGNATURE}"
        content, start = self.state.archive, 0
        tag = self.state.etag or f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if wanted and self.state.ranges and self.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.state.length:
            self.send_header("Content-Length", str(len(content) - start))
        else:
            self.send_header("Connection", "close")
        self.send_header("Content-Type", "application/zip")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        if self.state.md5 is not None:
            md5 = self.state.md5 or base64.b64encode(hashlib.md5(content).digest()).decode()
            self.send_header("x-goog-hash", f"crc32c=n03x6A==,md5={md5}")
        self.end_headers()
        resumes = wanted or not self._expects_range()
        cut = self.state.cuts.pop(0) if self.state.cuts and resumes else None
        part = content[start:] if cut is None else content[start : start + cut]
        try:
            self.wfile.write(part)
            self.wfile.flush()
            self.state.sent += len(part)
        except OSError:  # it only wanted the headers
            self.close_connection = True
        if cut is not None:
            if self.state.stall:
                self.state.stall.wait(30)
            self.close_connection = True

    def _expects_range(self) -> bool:
        """Whether part of the archive was sent before: then this request is for the headers."""
        return self.state.sent > 0

    def _note(self) -> str:
        self.state.asked.append((self.command, self.path, dict(self.headers)))
        return self.path.rsplit("/", 1)[-1]

    def _refusal(self, name: str) -> Refusal | None:
        waiting = self.state.refusals.get(name)
        return waiting.pop(0) if waiting else None

    def _refuse(self, refusal: Refusal) -> None:
        if refusal.status == 0:  # not even an answer
            self.close_connection = True
            return
        body = {"code": refusal.status, "message": f"no, {TOKEN}"}
        self._say(refusal.status, body, refusal.headers, refusal.body)

    def _say(
        self,
        status: int,
        body: dict[str, Any],
        headers: dict[str, str] | None = None,
        text: bytes | None = None,
    ) -> None:
        data = json.dumps(body).encode() if text is None else text
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if text is None else "text/html")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
