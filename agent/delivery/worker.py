"""A thread that commits alerts to the outbox, sends them, and writes snapshots.

The sampling loop therefore waits for neither disk nor network. Alerts are committed in the order given, and sent after
that.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.delivery.outbox import Outbox
    from agent.delivery.publisher import Publisher
    from agent.messages.alert import Alert

__all__ = ["DeliveryWorker"]

_LOG = logging.getLogger(__name__)
# Seconds between two turns of the thread without work; chosen by hand.
_TURN_S = 1.0
# Seconds to wait for the last turn at the end; chosen by hand.
_LAST_TURN_S = 5.0


class DeliveryWorker:
    """Commits and sends alerts in its own thread, which alone uses the outbox.

    Parameters
    ----------
    outbox
        Queue of alerts.
    """

    _publisher: Publisher

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._raised: deque[tuple[Sequence[Alert], bytes]] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._work = threading.Event()
        self._stopping = False
        self._failing = ""
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    @property
    def depth(self) -> int:
        """Number of alerts that wait, including those not yet committed."""
        return self._outbox.depth + sum(len(alerts) for alerts, _ in self._raised)

    @property
    def jobs(self) -> int:
        """Number of jobs that wait; see `do`."""
        return len(self._jobs)

    def wake(self) -> None:
        """Start the next turn now; safe in any thread."""
        self._work.set()

    def start(self, publisher: Publisher) -> None:
        """Start the publisher and the thread.

        Parameters
        ----------
        publisher
            Sends the alerts; it must call `wake` after each acknowledgement and each new connection.
        """
        self._publisher = publisher
        publisher.start()
        self._thread.start()

    def put(self, alerts: Sequence[Alert], incidents: bytes) -> None:
        """Queue alerts, to be committed together with the state of their incidents; does not wait."""
        self._raised.append((alerts, incidents))
        self._work.set()

    def do(self, job: Callable[[], None]) -> None:
        """Queue a function that writes to disk; it runs after the alerts queued so far are committed."""
        self._jobs.append(job)
        self._work.set()

    def change_publisher(self, publisher: Publisher) -> None:
        """Replace the publisher, after the present one has published ``offline`` and disconnected."""

        def change() -> None:
            self._publisher.stop(self._outbox)
            self._publisher = publisher
            publisher.start()

        self.do(change)

    def stop(self) -> None:
        """Commit queued alerts, run queued jobs, send alerts, publish ``offline``, and close the outbox.

        If the disk does not answer within 5 s, this returns without closing the outbox.
        """
        self._stopping = True
        self._work.set()
        self._thread.join(_LAST_TURN_S)
        if self._thread.is_alive():
            _LOG.error(
                "outbox: the disk did not answer within %g s; alerts and snapshots not yet written are lost",
                _LAST_TURN_S,
            )
            return
        self._publisher.stop(self._outbox)
        self._outbox.close()

    def _run(self) -> None:
        while True:
            self._work.wait(_TURN_S)
            self._work.clear()
            last = self._stopping
            try:
                self._turn()
                self._failing = ""
            except Exception as error:  # noqa: BLE001 - the thread must continue after any error
                if str(error) != self._failing:
                    self._failing = str(error)
                    _LOG.exception("delivery: error in the outbox or a snapshot, it is tried again; caused by")
            if last:
                return

    def _turn(self) -> None:
        alerts: list[Alert] = []
        state = b""
        while self._raised:
            more, state = self._raised.popleft()
            alerts += more
        if alerts:
            self._outbox.append(alerts, state)
            if not self._publisher.connected:
                self._outbox.mark_late()
        self._publisher.pump(self._outbox)
        while self._jobs:
            self._jobs.popleft()()
        self._outbox.tend()
