"""Who may come in: nobody from another page, and with a password only who knows it."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Gate"]

_COOKIE = "edgewatch_dashboard"
_LOGIN = "/login"
_MOST_SESSIONS = 1000
_LARGEST_FORM = 4096
# A wrong password makes everybody wait a little: ten thousand guesses take hours.
_PAUSE_S = 1.0
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Edgewatch</title><style>:root{color-scheme:light dark}body{font:1rem system-ui;margin:20vh auto;max-width:20rem;
padding:0 1rem}input,button{font:inherit;width:100%%;padding:.5rem;box-sizing:border-box;margin:.25rem 0}</style>
<h1>Edgewatch</h1><form method="post"><label>Password<input type="password" name="password" autofocus required
autocomplete="current-password"></label><p role="alert">%s</p><button>Log in</button></form></html>"""


class Gate:
    """Stands before the whole site, web sockets included.

    Parameters
    ----------
    app
        What is behind.
    password
        None where everybody who reaches the address may come in.
    clock
        Seconds that only go on.
    """

    def __init__(self, app: ASGIApp, password: str | None, clock: Any = time.monotonic) -> None:
        self._app = app
        self._password = password
        self._clock = clock
        self._sessions: list[str] = []
        self._next_try = -1.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in or turn away."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if not _is_from_here(connection) or (self._password is None and not _is_own_name(connection)):
            await self._turn_away(PlainTextResponse("asked for by another site", 403), scope, receive, send)
        elif self._password is None or self._knows(connection):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == _LOGIN and scope["method"] == "POST":
            await (await self._log_in(Request(scope, receive)))(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == _LOGIN:
            await HTMLResponse(_PAGE % "", headers={"Cache-Control": "no-store"})(scope, receive, send)
        else:
            await self._turn_away(RedirectResponse(_LOGIN, 303), scope, receive, send)

    @staticmethod
    async def _turn_away(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await response(scope, receive, send)

    def _knows(self, connection: HTTPConnection) -> bool:
        shown = connection.cookies.get(_COOKIE, "")
        return any(hmac.compare_digest(shown.encode(), session.encode()) for session in self._sessions)

    async def _log_in(self, request: Request) -> Response:
        now = self._clock()
        if now < self._next_try:
            return HTMLResponse(_PAGE % "Please wait a second, then try again.", 429)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST_FORM:
                return PlainTextResponse("too large", 413)
        tried = parse_qs(body.decode(errors="replace")).get("password", [""])[0]
        if not hmac.compare_digest(tried.encode(), str(self._password).encode()):
            self._next_try = now + _PAUSE_S
            return HTMLResponse(_PAGE % "That is not the password.", 401)
        session = secrets.token_urlsafe(32)
        self._sessions = [*self._sessions[-_MOST_SESSIONS:], session]
        response = RedirectResponse("/", 303)
        response.set_cookie(_COOKIE, session, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return response


def _is_own_name(connection: HTTPConnection) -> bool:
    """Whether we are called by an address or by this machine's name.

    By any other name a page elsewhere could have its own name lead here, and ask in a visitor's place.
    """
    try:
        name = urlsplit(f"//{connection.headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    if name in {"localhost", socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_from_here(connection: HTTPConnection) -> bool:
    """Whether a browser that says which page asks says one of ours; a page elsewhere may not use a visitor's way in."""
    origin = connection.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == connection.headers.get("host")
    except ValueError:
        return False
