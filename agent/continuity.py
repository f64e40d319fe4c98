"""Keeps what was learned over restarts: when it is written, whether it fits, and how much time has passed since.

Two files lie in the state directory. ``recent.snapshot`` is written every minute, or less often where there is much to
write, and soon after an incident opened or closed; ``whole.snapshot`` holds the large and slow parts too and is written
every hour and at the end. What was learned goes on from the later of the two, the slow parts from the second.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from agent import __version__, snapshot
from agent.health import give_back_memory
from agent.snapshot import FORMAT, Moment, Saved, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agent.bundle import Bundle
    from agent.clock import Clock
    from agent.config import Config
    from agent.incidents import Incidents
    from agent.monitor import Monitor
    from agent.types import Channel

__all__ = ["Continuity", "identity"]

_LOG = logging.getLogger(__name__)
_RECENT, _WHOLE = "recent.snapshot", "whole.snapshot"
_RECENT_S, _WHOLE_S = 60.0, 3600.0
# An incident's beginning or end is worth a snapshot, but not more often than this.
_HURRY_S = 10.0
# Flash wears: no more than this on average, however much there is to write.
_BYTES_A_SECOND = 5_000.0
# An error within so many frames may come from what was resumed.
_TRUSTED_STEPS = 600
# A longer absence than this, told by a wall clock alone, is not believed.
_LONGEST_S = 10 * 366 * 86400.0


def identity(config: Config, models: Sequence[Bundle], channels: Sequence[Channel]) -> dict[str, str]:
    """What a snapshot belongs to: where any of these differs, what was learned does not apply."""
    alerts = config.alerts
    return {
        "models": _digest([bundle.manifest for bundle in models]),
        "channels": _digest(list(channels)),
        "interval_s": repr([config.interval_s, *(part.interval_s for part in config.sources)]),
        "rules": _digest([config.channels, config.derived]),
        "detection": _digest(config.detection),
        "alerts": _digest([getattr(alerts, name) for name in _ALERT_NUMBERS]),
    }


_ALERT_NUMBERS = (
    "learning_s",
    "provisional_s",
    "confirm_s",
    "clear_s",
    "merge_s",
    "cooldown_s",
    "budget_per_day",
)


def _digest(content: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(content), digest_size=8).hexdigest()


class Continuity:
    """Takes snapshots of one monitor and its incidents, and resumes them.

    Parameters
    ----------
    directory
        The state directory.
    belongs_to
        See `identity`.
    instance
        The installation, as the outbox knows it.
    clock
        Where time comes from.
    later
        Runs a function that writes to disk, off the sampling path.
    names
        Gives the channels of open sources, by their place in the frame.
    """

    def __init__(
        self,
        directory: Path,
        belongs_to: dict[str, str],
        instance: str,
        clock: Clock,
        later: Callable[[Callable[[], None]], None],
        names: Callable[[], dict[int, str]] = dict,
    ) -> None:
        self._directory = directory
        self._belongs_to = belongs_to
        self._instance = instance
        self._clock = clock
        self._later = later
        self._names = names
        self._failing = ""
        self._resumed = False
        # Snapshots that a slow disk has not taken yet.
        self._unwritten = 0
        #: Bytes written so far.
        self.written = 0
        #: Snapshots that could not be written.
        self.failures = 0
        now_ns = clock.monotonic_ns()
        self._taken_ns = now_ns - round(_HURRY_S * 1e9)
        self._recent_due_ns = now_ns + round(_RECENT_S * 1e9)
        self._whole_due_ns = now_ns + round(_WHOLE_S * 1e9)

    @property
    def name(self) -> str:
        """Tells what snapshots and incidents belong to, in one word."""
        return _digest(self._belongs_to)

    def tend(self, monitor: Monitor, incidents: Incidents, seq: int, *, hurry: bool = False) -> None:
        """Take a snapshot if one is due, or if there is reason to hurry."""
        now_ns = self._clock.monotonic_ns()
        if hurry:
            self._recent_due_ns = min(self._recent_due_ns, self._taken_ns + round(_HURRY_S * 1e9))
        if self._unwritten:
            return
        if now_ns >= self._whole_due_ns:
            self.take(monitor, incidents, seq, whole=True)
        elif now_ns >= self._recent_due_ns:
            self.take(monitor, incidents, seq, whole=False)

    def take(self, monitor: Monitor, incidents: Incidents, seq: int, *, whole: bool) -> None:
        """Take a snapshot now, to be written as soon as the disk allows."""
        now_ns = self._clock.monotonic_ns()
        content = {
            "monitor": snapshot.capture(monitor, slow=whole),
            "kinds": snapshot.capture(incidents.kinds),
            "silences": incidents.silences.remaining(now_ns),
            "incidents": incidents.packed(self.name),
            "names": self._names(),
        }
        moment = Moment(self._clock.boot(), now_ns, self._clock.wall())
        saved = Saved(FORMAT, __version__, self._belongs_to, moment, seq, incidents.next_seq, self._instance)
        self._taken_ns = now_ns
        self._recent_due_ns = now_ns + round(_RECENT_S * 1e9)
        if whole:
            self._whole_due_ns = now_ns + round(_WHOLE_S * 1e9)
        self._unwritten += 1
        self._later(lambda: self._write(saved, content, whole=whole))

    def resume(
        self,
        monitor: Monitor,
        incidents: Incidents,
        raised: bytes | None,
        restore: Callable[[dict[int, str]], object] = dict,
    ) -> int:
        """Put back what was learned and the incidents that were open; gives the number of the next frame.

        Parameters
        ----------
        monitor, incidents
            Made afresh from the present configuration.
        raised
            The incidents' state as committed with the last alert; None or empty if there was none.
        restore
            Gives channels of open sources the places in the frame that they had.
        """
        whole, recent = (self._readable(name) for name in (_WHOLE, _RECENT))
        if whole and recent and recent[0].seq < whole[0].seq:
            recent = None
        newest = recent or whole
        away_s = self._since(newest[0].moment) if newest else 0.0
        state = raised or None
        if newest:
            saved, content = newest
            try:
                restore(msgspec.convert(content.get("names", {}), dict[int, str]))
                for _, part in filter(None, (whole, recent)):
                    snapshot.put_back(monitor, part["monitor"])
                snapshot.put_back(incidents.kinds, content["kinds"])
                silences = msgspec.convert(content.get("silences", {}), dict[str, tuple[float, float]])
                incidents.silences.resume(silences, self._clock.monotonic_ns(), away_s)
                kept = msgspec.convert(content.get("incidents", state), bytes | None)
            except (Unusable, KeyError, msgspec.ValidationError) as error:
                _LOG.warning("the snapshot does not fit this agent (%s); learning starts afresh", error)
                newest = None
            else:
                # The alerts' own record is the later one if any was raised since.
                if state is None or saved.next_seq >= incidents.next_seq:
                    state = kept
        if state:
            try:
                incidents.resume(state, self.name)
            except Unusable as error:
                _LOG.error("the incidents that were open cannot be read: %s", error)
        if not newest:
            return 0
        self._resumed = True
        rows = max(1, round(away_s / monitor.interval_s))
        _LOG.info("resumed what was learned up to %.0f s ago", away_s)
        return newest[0].seq + rows

    def doubt(self, steps: int) -> None:
        """After an error: what was resumed shortly before may be why, and is put aside for the next run to do without.

        Parameters
        ----------
        steps
            Frames that this run has judged.
        """
        if not self._resumed or steps > _TRUSTED_STEPS:
            return
        for name in (_WHOLE, _RECENT):
            path = self._directory / name
            with contextlib.suppress(OSError):
                path.replace(path.with_suffix(".suspect"))
        _LOG.error("the next run starts afresh: this one failed soon after it had resumed what was learned")

    def _readable(self, name: str) -> tuple[Saved, dict[str, Any]] | None:
        """A snapshot that can be read and belongs to this configuration; what is wrong with it is said."""
        try:
            saved, content = snapshot.read(self._directory / name)
        except FileNotFoundError:
            return None
        except Unusable as error:
            _LOG.warning("%s cannot be used: %s", name, error)
            return None
        others = [key for key in self._belongs_to if saved.belongs_to.get(key) != self._belongs_to[key]]
        if others or saved.instance != self._instance:
            why = " and ".join(others) + " changed" if others else "it belongs to another installation"
            _LOG.warning("%s is not used: %s; learning starts afresh", name, why)
            return None
        return saved, content

    def _since(self, moment: Moment) -> float:
        """Seconds that have passed, by the kernel's clock or, over a boot, by the wall clock if it makes sense."""
        if moment.boot and moment.boot == self._clock.boot():
            return max(0.0, (self._clock.monotonic_ns() - moment.running_ns) / 1e9)
        passed = self._clock.wall() - moment.wall
        return passed if 0.0 <= passed <= _LONGEST_S else 0.0

    def _write(self, saved: Saved, content: dict[str, Any], *, whole: bool) -> None:
        self._unwritten -= 1
        try:
            size = snapshot.write(self._directory / (_WHOLE if whole else _RECENT), saved, content)
        except OSError as error:
            self.failures += 1
            text = error.strerror or str(error)
            if text != self._failing:
                self._failing = text
                _LOG.error("cannot write a snapshot to %s: %s", self._directory, text)
            return
        self._failing = ""
        self.written += size
        if whole:
            give_back_memory()  # a copy of all that was learned is gone with it
        pause_ns = round(size / _BYTES_A_SECOND * 1e9)
        if whole:
            self._whole_due_ns = max(self._whole_due_ns, saved.moment.running_ns + pause_ns)
        else:
            self._recent_due_ns = max(self._recent_due_ns, saved.moment.running_ns + pause_ns)
