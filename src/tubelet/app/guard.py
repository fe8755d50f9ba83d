"""Who may ask what: the first thing that every request meets.

The server answers its own address only (so that no other name can be pointed at it), takes changes from its own page
only, and nothing at all without the token that the terminal printed, or the password of a server that others reach. The
token leaves the address with the first answer and lives in a cookie that scripts cannot read.
"""

from __future__ import annotations

import hmac
import secrets
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tubelet.app.config import CHUNK_BYTES, MAX_BODY_BYTES, MAX_LABEL_FILE_BYTES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_CHANGING = ("POST", "PUT", "DELETE")
_LONGEST_PATH, _LONGEST_QUERY = 512, 2048
_OPEN = {"/login", "/static/app.css"}  # without a token; the first only where there is a password
_FAILURE_SECONDS = 1.0  # between two tries of a password
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


@dataclass
class Access:
    """Who is let in."""

    port: int
    is_loopback: bool
    password: str | None = None  # None means that the token alone lets in
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    _blocked_until: float = 0.0

    @property
    def cookie(self) -> str:
        """Its name; browsers send cookies of one port to all others of a host."""
        return f"tubelet_{self.port}"

    @property
    def hosts(self) -> set[str]:
        """Names under which this machine alone reaches the server."""
        return {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")}

    def knows_host(self, host: str) -> bool:
        """Whether a request names the server as it is meant to be reached."""
        return bool(host) and (not self.is_loopback or host in self.hosts)

    def knows_token(self, token: str) -> bool:
        """Whether it is the token, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(token.encode(errors="replace"), self.token.encode())

    def knows_password(self, password: str) -> bool | None:
        """Whether it is the password. None means that the last wrong one was just now."""
        now = time.monotonic()
        if now < self._blocked_until:
            return None
        right = self.password is not None and hmac.compare_digest(
            password.encode(errors="replace"), self.password.encode()
        )
        if not right:
            self._blocked_until = now + _FAILURE_SECONDS
        return right

    @property
    def set_cookie(self) -> str:
        """The header that hands the token over."""
        return f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"


class Guard:
    """Wraps the application (ASGI)."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refusal(scope)
        if refused is not None:
            await _answer(send, *refused)
            return
        await self._guarded(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                names = {name.lower() for name, _ in message.get("headers", [])}
                added = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            if not has_begun:
                await _answer(send, 500, "this failed unexpectedly; the terminal says why")

    def _refusal(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        """Why a request gets no answer, or the one that hands over the token. None means that it may go on."""
        headers = _headers(scope)
        host, method, path = headers.get("host", ""), scope["method"], scope["path"]
        query = scope.get("query_string", b"")
        if not self._access.knows_host(host):
            return 421, "this server answers its own address only", {}
        if method not in METHODS:
            return 405, "no such method here", {}
        raw = scope.get("raw_path") or b""
        if "\0" in path or len(path) > _LONGEST_PATH or len(raw) > 3 * _LONGEST_PATH or len(query) > _LONGEST_QUERY:
            return 400, "an address that is none of this page", {}
        if b"\0" in query or b"%00" in query:
            return 400, "an address that is none of this page", {}
        if method in _CHANGING and (refused := _body_refusal(path, headers)) is not None:
            return refused
        return self._without_right(scope, headers)

    def _without_right(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, dict[str, str]] | None:
        access, path, method = self._access, scope["path"], scope["method"]
        origin, bearer = headers.get("origin"), headers.get("authorization", "")
        by_header = bearer.startswith("Bearer ") and access.knows_token(bearer.removeprefix("Bearer "))
        is_ours = origin == f"http://{headers.get('host')}"
        if origin is not None and not is_ours:
            return 403, "changes come from this page only", {}
        if method in _CHANGING and not is_ours and not by_header:
            return 403, "changes come from this page only", {}
        if path in _OPEN and (path != "/login" or access.password is not None):
            return None
        if path == "/" and method == "GET" and access.password is None:
            asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
            if asked and access.knows_token(asked):
                return 303, "", {"location": "/", "set-cookie": access.set_cookie}
        if by_header or access.knows_token(_cookie(headers.get("cookie", ""), access.cookie)):
            return None
        if access.password is not None:
            return (303, "", {"location": "/login"}) if path == "/" else (401, "log in first", {})
        return 401, "open the address that the terminal shows: it holds the token", {}


def _body_refusal(path: str, headers: dict[str, str]) -> tuple[int, str, dict[str, str]] | None:
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or "transfer-encoding" in headers:
        return 411, "say how long the content is", {}
    most = MAX_BODY_BYTES
    if path.startswith("/api/uploads/"):
        most = CHUNK_BYTES
    elif path.endswith("/import"):
        most = MAX_LABEL_FILE_BYTES
    if len(length) > 15 or int(length) > most:
        return 413, f"at most {most:,} bytes in one request", {}
    return None


def _headers(scope: Scope) -> dict[str, str]:
    """By name; of a header that comes twice nothing is believed."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        found[key] = "" if key in found and key in ("host", "origin", "content-length") else value.decode("latin-1")
    return found


def _cookie(header: str, name: str) -> str:
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return next((value for key, _, value in pairs if key == name), "")


async def _answer(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    everything = {**HEADERS, "content-type": "text/plain; charset=utf-8", **(headers or {})}
    body = f"{text}\n".encode() if text else b""
    everything["content-length"] = str(len(body))
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in everything.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
