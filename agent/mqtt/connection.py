"""A connection to a broker that reconnects with back-off and jitter until it is stopped."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from agent.mqtt.failures import remedy_for
from agent.mqtt.session import Session, version_text

if TYPE_CHECKING:
    import logging

    from agent.mqtt.endpoint import Endpoint
    from agent.mqtt.session import Callbacks, Profile

__all__ = ["Connection"]


class Connection:
    """Connects, and reconnects, from `start` to `stop`, in its own thread.

    The profile's MQTT versions are tried in order, and the one that worked is remembered. Every session is a new client
    with an empty queue: a message that must not be lost has to wait in the outbox.

    Parameters
    ----------
    endpoint
        The broker.
    profile
        Client identifier, last will, subscriptions and limits of every session.
    callbacks
        Functions to call, in the network thread.
    name
        Name of the thread.
    log
        Logs each new failure once, with its remedy; None: failures are not logged.
    """

    def __init__(
        self, endpoint: Endpoint, profile: Profile, callbacks: Callbacks, name: str, log: logging.Logger | None = None
    ) -> None:
        self.endpoint = endpoint
        self._profile = profile
        self._on_accepted = callbacks.on_accepted
        self._callbacks = callbacks._replace(on_accepted=self._accepted)
        self._name = name
        self._log = log
        self._version = profile.versions[0]
        # The session that is open or being opened.
        self._running: Session | None = None
        self._accepted_session: Session | None = None
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        #: Sessions that the broker has accepted so far.
        self.sessions = 0

    @property
    def connected(self) -> bool:
        """Whether a session is open that the broker has accepted."""
        return self._connected.is_set()

    @property
    def session(self) -> Session | None:
        """The session that the broker accepted last; it may have ended, see `connected`."""
        return self._accepted_session

    def start(self) -> None:
        """Start the thread, which connects and reconnects."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the session, and wait at most ``timeout_s`` seconds for the thread."""
        self._stopping.set()
        running = self._running
        if running is not None:
            running.hang_up()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        profile, location = self._profile, self.endpoint.location
        pause_s, reported = profile.first_pause_s, ""
        while not self._stopping.is_set():
            session = self._running = Session(self.endpoint, profile, self._version, self._callbacks)
            session.run()
            self._running = None
            self._connected.clear()
            if self._stopping.is_set():
                return
            self._callbacks.on_ended(session)
            if session.suggests_older() and self._version is not profile.versions[-1]:
                self._version = profile.versions[-1]
                if self._log is not None:
                    self._log.info("mqtt: %s does not speak MQTT 5, trying 3.1.1", location)
                continue
            if session.accepted:
                pause_s, reported = profile.first_pause_s, ""
            elif not self.sessions:
                self._version = profile.versions[0]  # the next attempt may reach another broker
            if session.failure != reported:
                reported = session.failure
                remedy = "reconnecting" if session.accepted else remedy_for(self.endpoint, session.cause)
                if self._log is not None:
                    self._log.warning("mqtt: %s: %s – %s", location, reported, remedy)
            # With jitter, so that a thousand agents do not reconnect in the same second.
            self._stopping.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause_s = min(2 * pause_s, profile.longest_pause_s)

    def _accepted(self, session: Session) -> None:
        self.sessions += 1
        self._accepted_session = session
        self._connected.set()
        self._on_accepted(session)
        if self._log is not None:
            self._log.info("mqtt: connected to %s with %s", self.endpoint.location, version_text(session.version))
