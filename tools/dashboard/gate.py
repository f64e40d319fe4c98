"""Access control: refuses requests from pages of other sites, and asks for the password if one is set."""

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
# Sessions kept, and bytes of a login form; chosen by hand.
_MOST_SESSIONS = 1000
_LARGEST_FORM = 4096
# Seconds before the next login after a wrong password: ten thousand guesses take hours.
_PAUSE_S = 1.0
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Edgewatch</title><style>:root{color-scheme:light dark}body{font:1rem system-ui;margin:20vh auto;max-width:20rem;
padding:0 1rem}input,button{font:inherit;width:100%%;padding:.5rem;box-sizing:border-box;margin:.25rem 0}</style>
<h1>Edgewatch</h1><form method="post"><label>Password<input type="password" name="password" autofocus required
autocomplete="current-password"></label><p role="alert">%s</p><button>Log in</button></form></html>"""


class Gate:
    """ASGI middleware that protects the whole site, including web sockets.

    Parameters
    ----------
    app
        The protected application.
    password
        Password of the site; None gives free access.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, app: ASGIApp, password: str | None, clock: Any = time.monotonic) -> None:
        self._app = app
        self._password = password
        self._clock = clock
        self._sessions: list[str] = []
        self._next_try = -1.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, ask for the password, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if not _is_from_here(connection) or (self._password is None and not _is_own_name(connection)):
            await self._refuse(PlainTextResponse("request from another site refused", 403), scope, receive, send)
        elif self._password is None or self._has_session(connection):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == _LOGIN and scope["method"] == "POST":
            await (await self._log_in(Request(scope, receive)))(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == _LOGIN:
            await HTMLResponse(_PAGE % "", headers={"Cache-Control": "no-store"})(scope, receive, send)
        else:
            await self._refuse(RedirectResponse(_LOGIN, 303), scope, receive, send)

    @staticmethod
    async def _refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await response(scope, receive, send)

    def _has_session(self, connection: HTTPConnection) -> bool:
        cookie = connection.cookies.get(_COOKIE, "")
        return any(hmac.compare_digest(cookie.encode(), session.encode()) for session in self._sessions)

    async def _log_in(self, request: Request) -> Response:
        now = self._clock()
        if now < self._next_try:
            return HTMLResponse(_PAGE % "Please wait a second, then try again.", 429)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST_FORM:
                return PlainTextResponse("too large", 413)
        password = parse_qs(body.decode(errors="replace")).get("password", [""])[0]
        if not hmac.compare_digest(password.encode(), str(self._password).encode()):
            self._next_try = now + _PAUSE_S
            return HTMLResponse(_PAGE % "Wrong password.", 401)
        session = secrets.token_urlsafe(32)
        self._sessions = [*self._sessions[-_MOST_SESSIONS:], session]
        response = RedirectResponse("/", 303)
        response.set_cookie(_COOKIE, session, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return response


def _is_own_name(connection: HTTPConnection) -> bool:
    """Whether the Host header is an IP address, localhost or this machine's name.

    This prevents DNS rebinding: a foreign page whose name resolves to this machine could act for a visitor.
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
    """Whether the Origin header is absent or names this site, so that foreign pages cannot use a session."""
    origin = connection.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == connection.headers.get("host")
    except ValueError:
        return False
