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

from agent import __version__
from agent.core.legacy_records import learned_records
from agent.core.persistent_state import Unusable, below, capture, restore
from agent.service import snapshot_file
from agent.service.legacy_identity import ALERT_NUMBERS
from agent.service.process_memory import give_back_memory
from agent.service.snapshot_file import FORMAT, Moment, Saved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from agent.alerting.incidents import Incidents
    from agent.config.schema import Config
    from agent.core.channel import Channel
    from agent.core.clock import Clock
    from agent.core.persistent_state import Part
    from agent.detection.ensemble import Ensemble
    from agent.models.bundle import Bundle

__all__ = ["Checkpoints", "identity"]

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
    """Say what a snapshot belongs to: where any of these differs, what was learned does not apply.

    Values at their defaults are left out, so that a key that a later version adds changes nothing.
    """
    alerts = config.alerts
    return {
        "models": _digest([_differing(bundle.manifest) for bundle in models]),
        "channels": _digest([_differing(channel) for channel in channels]),
        "interval_s": repr([config.interval_s, *(part.interval_s for part in config.sources)]),
        "rules": _digest([_differing(config.channels), _differing(config.derived)]),
        "detection": _digest(_differing(config.detection)),
        "alerts": _digest([getattr(alerts, name) for name in ALERT_NUMBERS]),
    }


def _digest(content: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(content), digest_size=8).hexdigest()


def _differing(value: Any) -> Any:
    """Bring structs to plain values, without those at their defaults."""
    if isinstance(value, list | tuple):
        return [_differing(item) for item in value]
    if isinstance(value, dict):
        return {key: _differing(item) for key, item in value.items()}
    if not isinstance(value, msgspec.Struct):
        return value
    tag = value.__struct_config__.tag
    differing = {} if tag is None else {"": tag}
    for field in msgspec.structs.fields(value):
        now = getattr(value, field.name)
        made = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        if now != made:
            differing[field.encode_name] = _differing(now)
    return differing


class _Learned:
    """What a snapshot holds: all that detection has learned, and the recent values by which anomalies are named."""

    def __init__(self, monitor: Ensemble, incidents: Incidents) -> None:
        self._monitor = monitor
        self._incidents = incidents

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield from self._monitor.states()
        yield from below("classifier", self._incidents.kinds)


class Checkpoints:
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
        Gives the channels of open sources, by their index in the frame.
    belonged_to
        The same as ``belongs_to``, as agents up to 0.1.0 worked it out; see `agent.core.legacy_records`.
    """

    def __init__(
        self,
        directory: Path,
        belongs_to: dict[str, str],
        instance: str,
        clock: Clock,
        later: Callable[[Callable[[], None]], None],
        names: Callable[[], dict[int, str]] = dict,
        belonged_to: dict[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._belongs_to = belongs_to
        self._belonged_to = belonged_to or belongs_to
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

    @property
    def _names_of_configuration(self) -> set[str]:
        return {self.name, _digest(self._belonged_to)}

    def tend(self, monitor: Ensemble, incidents: Incidents, seq: int, *, hurry: bool = False) -> None:
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

    def take(self, monitor: Ensemble, incidents: Incidents, seq: int, *, whole: bool) -> None:
        """Take a snapshot now, to be written as soon as the disk allows."""
        now_ns = self._clock.monotonic_ns()
        content = {
            "parts": capture(_Learned(monitor, incidents), large=whole),
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
        monitor: Ensemble,
        incidents: Incidents,
        raised: bytes | None,
        restore_channels: Callable[[dict[int, str]], object] = dict,
    ) -> int:
        """Put back what was learned and the incidents that were open; gives the number of the next frame.

        Parameters
        ----------
        monitor, incidents
            Made afresh from the present configuration.
        raised
            The incidents' state as committed with the last alert; None or empty if there was none.
        restore_channels
            Gives channels of open sources the indices in the frame that they had.
        """
        whole, recent = (self._readable(name) for name in (_WHOLE, _RECENT))
        if whole and recent and recent[0].seq < whole[0].seq:
            recent = None
        newest_first = [found for found in (recent, whole) if found]
        dropped: list[str] = []
        state, away_s = raised or None, 0.0
        if newest_first:
            saved, content = newest_first[0]
            away_s = self._since(saved.moment)
            try:
                dropped += self._restore(monitor, incidents, newest_first, restore_channels)
            except (Unusable, msgspec.ValidationError) as error:
                _LOG.warning("the snapshot does not fit this agent (%s); learning starts afresh", error)
                newest_first = []
            else:
                dropped += self._resume_silences(incidents, content, away_s)
                # The alerts' own record is the later one if any was raised since.
                if state is None or saved.next_seq >= incidents.next_seq:
                    state = content.get("incidents", state)
        if state:
            try:
                dropped += incidents.resume(state, self._names_of_configuration)
            except Unusable as error:
                _LOG.error("the incidents that were open cannot be read: %s", error)
        if dropped:
            _LOG.warning("%d parts of what was kept start afresh: %s", len(dropped), _listed(dropped))
        if not newest_first:
            return 0
        self._resumed = True
        rows = max(1, round(away_s / monitor.interval_s))
        _LOG.info("resumed what was learned up to %.0f s ago", away_s)
        return newest_first[0][0].seq + rows

    @staticmethod
    def _restore(
        monitor: Ensemble,
        incidents: Incidents,
        newest_first: Sequence[tuple[Saved, dict[str, Any]]],
        restore_channels: Callable[[dict[int, str]], object],
    ) -> list[str]:
        """Put back what was learned; one line for each part that does not fit.

        Raises
        ------
        Unusable, msgspec.ValidationError
            No part fits, or it cannot be told which channels the parts are about.
        """
        restore_channels(msgspec.convert(newest_first[0][1].get("names", {}), dict[int, str]))
        learned = _Learned(monitor, incidents)
        unfit = restore(learned, [content["parts"] for _, content in newest_first])
        if len(unfit) == len(list(learned.states())):
            raise Unusable("; ".join(sorted(set(unfit.values()))))
        return [f"{path} {reason}" for path, reason in unfit.items()]

    def _resume_silences(self, incidents: Incidents, content: dict[str, Any], away_s: float) -> list[str]:
        try:
            silences = msgspec.convert(content.get("silences", {}), dict[str, tuple[float, float]])
        except msgspec.ValidationError:
            return ["silences are not seconds by channel"]
        incidents.silences.resume(silences, self._clock.monotonic_ns(), away_s)
        return []

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
            saved, content = snapshot_file.read(self._directory / name)
        except FileNotFoundError:
            return None
        except Unusable as error:
            _LOG.warning("%s cannot be used: %s", name, error)
            return None
        belongs_to = self._belongs_to if saved.format > 1 else self._belonged_to
        others = [key for key in belongs_to if saved.belongs_to.get(key) != belongs_to[key]]
        if others or saved.instance != self._instance:
            why = " and ".join(others) + " changed" if others else "it belongs to another installation"
            _LOG.warning("%s is not used: %s; learning starts afresh", name, why)
            return None
        try:
            content["parts"] = learned_records(content) if saved.format == 1 else _mapping(content.get("parts"))
        except Unusable as error:
            _LOG.warning("%s cannot be used: %s", name, error)
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
            size = snapshot_file.write(self._directory / (_WHOLE if whole else _RECENT), saved, content)
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


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unusable("it has no parts")
    return value


def _listed(lines: list[str], most: int = 5) -> str:
    more = f"; and {len(lines) - most} more" if len(lines) > most else ""
    return "; ".join(lines[:most]) + more
