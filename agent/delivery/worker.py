"""Carries alerts from the loop to the disk and from there to the broker, in a thread of its own.

The loop never waits for a disk or a network: what it hands over is committed here, in the order given, and sent once
it is. Everything that is written to disk beside the sampling path is written by this thread.
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
# Looks after the outbox this often even when nothing happens.
_TURN_S = 1.0
_LAST_TURN_S = 5.0


class DeliveryWorker:
    """Owns the outbox while it runs.

    Parameters
    ----------
    outbox
        Where alerts wait.
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
        """Alerts that wait, those not yet committed included."""
        return self._outbox.depth + sum(len(alerts) for alerts, _ in self._raised)

    @property
    def jobs(self) -> int:
        """Jobs that wait for the disk."""
        return len(self._jobs)

    def wake(self) -> None:
        """Look for work now, not only at the next turn; safe in any thread."""
        self._work.set()

    def start(self, publisher: Publisher) -> None:
        """Begin to work.

        Parameters
        ----------
        publisher
            Sends the alerts; it has to call `wake` when it has made progress.
        """
        self._publisher = publisher
        publisher.start()
        self._thread.start()

    def put(self, alerts: Sequence[Alert], incidents: bytes) -> None:
        """Hand over alerts to be committed along with the state of their incidents."""
        self._raised.append((alerts, incidents))
        self._work.set()

    def do(self, job: Callable[[], None]) -> None:
        """Run something that writes to disk, after what was raised before."""
        self._jobs.append(job)
        self._work.set()

    def change_publisher(self, publisher: Publisher) -> None:
        """Go on with another publisher, once the present one has said goodbye."""

        def change() -> None:
            self._publisher.stop(self._outbox)
            self._publisher = publisher
            publisher.start()

        self.do(change)

    def stop(self) -> None:
        """Commit and write what was handed over, send what can be sent, say ``offline``, close the outbox."""
        self._stopping = True
        self._work.set()
        self._thread.join(_LAST_TURN_S)
        if self._thread.is_alive():
            _LOG.error("outbox: the disk does not answer; what it did not take is lost")
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
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever happens in it
                if str(error) != self._failing:
                    self._failing = str(error)
                    _LOG.exception("delivery: goes on after")
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
