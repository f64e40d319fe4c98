"""Web server of the dashboard and its pages."""

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

# Seconds between readings of the MQTT queue, chosen by hand.
_TAKE_EVERY_S = 0.1
# Messages sent again to a browser after a short loss of the connection.
_KEPT_MESSAGES = 100
# Seconds for open requests at shutdown, chosen by hand.
_SHUTDOWN_S = 1


def serve(mqtt: MqttConfig, host: str, port: int, password: str | None) -> None:
    """Serve the dashboard until a signal ends it.

    Parameters
    ----------
    mqtt
        Settings of the broker.
    host, port
        Address and port to listen on.
    password
        Password of the pages; None gives free access.

    Raises
    ------
    UserError
        A password or TLS file of the broker is unusable.
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
    uvicorn.run(server, host=host, port=port, log_level="warning", timeout_graceful_shutdown=_SHUTDOWN_S)
