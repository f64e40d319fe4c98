"""Connections for one purpose: test the connection, or clear retained topics."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from agent.core.errors import EnvironmentFault
from agent.mqtt.endpoint import Endpoint
from agent.mqtt.failures import NO_ANSWER, remedy_for
from agent.mqtt.session import VERSIONS, Callbacks, Profile, Session, version_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.mqtt.settings import MqttConfig


__all__ = ["clear", "probe"]

# Seconds for the broker to acknowledge the cleared topics; chosen by hand.
_PATIENCE_S = 3.0


def probe(config: MqttConfig, node: str) -> str:
    """Connect once, as the daemon does, and disconnect; returns the MQTT version in use.

    Raises
    ------
    UserError
        Password or TLS files cannot be used.
    EnvironmentFault
        There is no broker at the address, or it refuses the connection.
    """
    visit = _visit(Endpoint.of(config), f"edgewatch-{node}-check", Callbacks(on_accepted=Session.hang_up))
    return version_text(visit.version)


def clear(config: MqttConfig, node: str, names: Sequence[str]) -> None:
    """Connect once and delete the retained messages of these topics from the broker.

    Raises
    ------
    UserError, EnvironmentFault
        As in `probe`; also if the broker refuses a topic, or does not acknowledge within 3 s.
    """
    endpoint = Endpoint.of(config)
    answers: list[str] = []

    def on_accepted(session: Session) -> None:
        timer = threading.Timer(_PATIENCE_S, session.hang_up)
        timer.daemon = True
        timer.start()
        for name in names:
            session.publish(name, b"", qos=1, retain=True)

    def on_published(session: Session, mid: int, refusal: str) -> None:
        del mid
        answers.append(refusal)
        if len(answers) == len(names):
            session.hang_up()

    _visit(endpoint, f"edgewatch-{node}-clear", Callbacks(on_accepted, on_published=on_published))
    refusal = next(filter(None, answers), "" if len(answers) == len(names) else NO_ANSWER)
    if refusal:
        raise EnvironmentFault(
            refusal, location=endpoint.location, remedy="check the broker's access rules for these topics"
        )


def _visit(endpoint: Endpoint, client_id: str, callbacks: Callbacks) -> Session:
    """Connect once, with the newest version that the broker supports, until the session ends."""
    profile = Profile(client_id, most_packet=1 << 17)
    for version in VERSIONS:
        session = Session(endpoint, profile, version, callbacks)
        session.run()
        if session.accepted or not session.suggests_older():
            break
    if not session.accepted:
        raise EnvironmentFault(session.failure, location=endpoint.location, remedy=remedy_for(endpoint, session.cause))
    return session
