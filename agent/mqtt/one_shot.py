"""Short visits to a broker: try the connection, or clear retained topics."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from agent.core.errors import EnvironmentFault
from agent.mqtt.failures import NO_ANSWER, broker_place, remedy_for
from agent.mqtt.secrets import read_secret
from agent.mqtt.session import ANSWER_TIMEOUT_S, VERSIONS, Session, version_text
from agent.mqtt.tls import ssl_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from paho.mqtt.reasoncodes import ReasonCode

    from agent.mqtt.settings import MqttConfig
    from agent.mqtt.slim_paho import mqtt


__all__ = ["clear", "probe"]


def probe(config: MqttConfig, node: str) -> str:
    """Connect once, as the daemon would, and hang up; gives the version spoken.

    Raises
    ------
    UserError
        Password or TLS files cannot be used.
    EnvironmentFault
        There is no broker, or it does not let us in; says why and what to do.
    """
    return version_text(_visit(config, f"edgewatch-{node}-check", Session.hang_up).version)


def clear(config: MqttConfig, node: str, names: Sequence[str]) -> None:
    """Connect once and have the broker forget what it keeps of these topics.

    Raises
    ------
    UserError, EnvironmentFault
        As in `probe`; or the broker refuses a topic, or acknowledges too late.
    """
    told: list[str] = []

    def published(client: mqtt.Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        del userdata, mid, properties
        told.append(str(reason) if reason.is_failure else "")
        if len(told) == len(names):
            client.disconnect()

    def accepted(session: Session) -> None:
        session.client.on_publish = published
        timer = threading.Timer(ANSWER_TIMEOUT_S, session.hang_up)
        timer.daemon = True
        timer.start()
        for name in names:
            session.client.publish(name, b"", qos=1, retain=True)

    _visit(config, f"edgewatch-{node}-clear", accepted)
    refusal = next(filter(None, told), "" if len(told) == len(names) else NO_ANSWER)
    if refusal:
        raise EnvironmentFault(
            refusal, place=broker_place(config), remedy="check the broker's access rules for these topics"
        )


def _visit(config: MqttConfig, client_id: str, on_accepted: Callable[[Session], None]) -> Session:
    """Connect once with the first version that the broker speaks, until the session ends."""
    password = read_secret(config.password_file)
    context = ssl_context(config.tls) if config.tls else None
    for version in VERSIONS:
        session = Session(config, client_id, version, password, context, on_accepted)
        session.run()
        if session.accepted or not session.speaks_older():
            break
    if not session.accepted:
        raise EnvironmentFault(session.failure, place=broker_place(config), remedy=remedy_for(config, session.failure))
    return session
