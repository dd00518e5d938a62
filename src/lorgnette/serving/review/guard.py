"""Who may talk to the server: a token beyond this machine, and no other site's pages ever.

On loopback anybody who sits at this machine may come in, but not the pages of other sites that are
open in the same browser: a name that an attacker's DNS points at 127.0.0.1 (rebinding) is refused
by the `Host` header, a form or script of another site by `Origin` and `Sec-Fetch-Site`. On any
other address a token is demanded: once in the URL, from then on in a cookie that scripts cannot
read and that other sites' requests do not carry.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote, unquote

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
LARGEST_BODY = 1 << 20

HEADERS = (
    (
        "content-security-policy",
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


class Guard:
    """ASGI middleware that lets in who may come in, and sets the headers of every answer."""

    def __init__(self, app: App, token: str | None, loopback: bool, cookie: str) -> None:
        """Wrap an application.

        Args:
            app: the application.
            token: what is demanded; None for nothing.
            loopback: whether only names of this machine are right in `Host`.
            cookie: the name under which a browser keeps the token.
        """
        self.app, self.token, self.loopback, self.cookie = app, token, loopback, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        refused = self._refusal(scope, headers)
        if refused is not None:
            status, text = refused
            body = (text + "\n").encode()
            start = [(b"content-type", b"text/plain; charset=utf-8")]
            start.append((b"content-length", str(len(body)).encode()))
            start += [(key.encode(), value.encode()) for key, value in HEADERS]
            await send({"type": "http.response.start", "status": status, "headers": start})
            await send({"type": "http.response.body", "body": body})
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = list(message.get("headers", ()))
                found += [(key.encode(), value.encode()) for key, value in HEADERS]
                if self.token is not None and self._in_query(scope):
                    cookie = (
                        f"{self.cookie}={quote(self.token, '')}; HttpOnly; SameSite=Strict; Path=/"
                    )
                    found.append((b"set-cookie", cookie.encode()))
                message["headers"] = found
            await send(message)

        await self.app(scope, receive, dressed)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self.loopback and _name(host) not in LOOPBACK and not is_loopback(_name(host)):
            return 403, (
                f"This server answers to localhost only, not to '{host[:80]}': use the address "
                "that `lorgnette review` printed."
            )
        if self.token is not None and not (self._in_query(scope) or self._in_cookie(headers)):
            return 401, (
                "A token is needed: open the address that `lorgnette review` printed, with its "
                "?token=…"
            )
        if scope["method"] in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none") or (
            origin is not None and origin.lower().partition("://")[2] != host.lower()
        ):
            return 403, "Another site's page may not send anything here."
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "What is sent here is JSON (content-type application/json)."
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            return 413, f"What is sent here has a length, of at most {LARGEST_BODY} bytes."
        return None

    def _in_query(self, scope: Scope) -> bool:
        query = scope.get("query_string", b"").decode("latin-1")
        return any(self._matches(each) for each in parse_qs(query).get("token", ()))

    def _in_cookie(self, headers: dict[str, str]) -> bool:
        # By hand: http.cookies gives up where it meets a cookie of another server that it dislikes.
        cookies = (each.strip().partition("=") for each in headers.get("cookie", "").split(";"))
        return any(
            name == self.cookie and self._matches(unquote(value)) for name, _, value in cookies
        )

    def _matches(self, text: str) -> bool:
        expected = (self.token or "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(text.encode("utf-8", "surrogateescape"), expected)


def _name(host: str) -> str:
    """The name in a `Host` header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()
