"""The web server with its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from nicegui import app, ui

from tools.dashboard import node, overview
from tools.dashboard.gate import Gate
from tools.dashboard.hub import Hub

if TYPE_CHECKING:
    from agent.mqtt.settings import MqttConfig

__all__ = ["serve"]

_TAKE_EVERY_S = 0.1
# What a browser is sent again after a short loss of the connection.
_KEPT_MESSAGES = 100
_LAST_WORDS_S = 1


def serve(mqtt: MqttConfig, host: str, port: int, password: str | None) -> None:
    """Serve until told to stop.

    Parameters
    ----------
    mqtt
        The broker.
    host, port
        Where to listen.
    password
        What visitors are asked for; None asks for nothing.

    Raises
    ------
    UserError
        Password or TLS files of the broker cannot be used.
    """
    hub = Hub(mqtt)
    app.on_startup(hub.start)
    app.on_shutdown(hub.stop)
    app.timer(_TAKE_EVERY_S, hub.take)

    @ui.page("/")
    def _overview() -> None:
        overview.page(hub)

    @ui.page("/node")
    def _node(name: str = "") -> None:
        node.page(hub, name)

    server = FastAPI(openapi_url=None)
    server.add_middleware(Gate, password=password)
    ui.run_with(
        server,
        title="Edgewatch",
        dark=None,
        language="en-GB",
        show_welcome_message=False,
        binding_refresh_interval=None,
        message_history_length=_KEPT_MESSAGES,
    )
    uvicorn.run(server, host=host, port=port, log_level="warning", timeout_graceful_shutdown=_LAST_WORDS_S)
