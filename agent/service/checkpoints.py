"""Checkpoints: write the learned state at intervals, and resume it after a restart.

The state directory holds two files. ``recent.snapshot`` is written every minute (less often if it is large), and soon
after an incident opened or closed. ``whole.snapshot`` also holds the large parts; it is written every hour, at a reload
and at the end. A restart continues from the later of the two, and takes the large parts from ``whole.snapshot``.
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
# Seconds between snapshots, chosen by hand: so much of learning is lost after a kill.
_RECENT_S, _WHOLE_S = 60.0, 3600.0
# Seconds between snapshots that incidents cause when they open or close; chosen by hand.
_HURRY_S = 10.0
# Bytes a second that all snapshots write on average at most, to spare flash memory; chosen by hand.
_BYTES_A_SECOND = 5_000.0
# Frames after a warm start within which an error is attributed to the resumed state; chosen by hand.
_TRUSTED_STEPS = 600
# Seconds of the longest plausible downtime by the wall clock (ten years); a longer one counts as 0.
_LONGEST_S = 10 * 366 * 86400.0


def identity(config: Config, models: Sequence[Bundle], channels: Sequence[Channel]) -> dict[str, str]:
    """Digests of the models, channels and settings on which the learned state depends, by name.

    A snapshot is used only if all of them are unchanged. Values at their defaults are left out, so that a key that a
    later version adds does not change the digests.
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
    """Convert structs to plain values, without fields at their defaults."""
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
    """The persistent parts of a snapshot: the detector's, and the recent values for classifying anomalies."""

    def __init__(self, monitor: Ensemble, incidents: Incidents) -> None:
        self._monitor = monitor
        self._incidents = incidents

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield from self._monitor.states()
        yield from below("classifier", self._incidents.classifier)


class Checkpoints:
    """Takes and resumes snapshots of one detector and its incidents.

    Parameters
    ----------
    directory
        The state directory.
    belongs_to
        See `identity`.
    instance
        Identifier of the installation; see `agent.delivery.outbox.Outbox.instance`.
    clock
        Source of time.
    later
        Runs a function that writes to disk, outside the sampling loop.
    names
        Returns the names of the channels of open sources, by index in the frame.
    belonged_to
        The digests for snapshots of agents up to 0.1.0; see `agent.service.legacy_identity`.
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
        # Snapshots that wait to be written.
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
        """Digest of the configuration to which snapshots and incidents belong."""
        return _digest(self._belongs_to)

    @property
    def _names_of_configuration(self) -> set[str]:
        return {self.name, _digest(self._belonged_to)}

    def tend(self, monitor: Ensemble, incidents: Incidents, seq: int, *, hurry: bool = False) -> None:
        """Take a snapshot if one is due; with ``hurry`` it is due 10 s after the last one."""
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
        """Take a snapshot now, and queue it for writing.

        Parameters
        ----------
        monitor, incidents
            State to save.
        seq
            Number of the frame.
        whole
            Include the large parts, and write ``whole.snapshot``.
        """
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
        """Restore the learned state and open incidents; returns the number of the next frame, 0 without a snapshot.

        Parameters
        ----------
        monitor, incidents
            Newly made from the present configuration.
        raised
            State of the incidents as committed with the last alert; None or empty if there was none.
        restore_channels
            Assigns channels of open sources their former indices in the frame.
        """
        whole, recent = (self._readable(name) for name in (_WHOLE, _RECENT))
        if whole and recent and recent[0].seq < whole[0].seq:
            recent = None
        newest_first = [found for found in (recent, whole) if found]
        dropped: list[str] = []
        states, away_s = [raised] if raised else [], 0.0
        if newest_first:
            saved, content = newest_first[0]
            away_s = self._since(saved.moment)
            try:
                dropped += self._restore(monitor, incidents, newest_first, restore_channels)
            except (Unusable, msgspec.ValidationError) as error:
                _LOG.warning("the snapshot does not fit this agent: %s", error)
                newest_first = []
            else:
                dropped += self._resume_silences(incidents, content, away_s)
                # The state that was committed with the last alert is newer if an alert was raised after the snapshot.
                if not states or saved.next_seq >= incidents.next_seq:
                    states = [state for state in (content.get("incidents"), *states) if state]
        dropped += self._resume_incidents(incidents, states)
        if dropped:
            _LOG.warning("parts of the saved state start afresh, %d in all: %s", len(dropped), _listed(dropped))
        if not newest_first:
            if any((self._directory / name).exists() for name in (_WHOLE, _RECENT)):
                _LOG.warning("no snapshot can be used: learning starts afresh")
            return 0
        self._resumed = True
        rows = max(1, round(away_s / monitor.interval_s))
        _LOG.info("continuing with learned state from %.0f s ago", away_s)
        return newest_first[0][0].seq + rows

    def _resume_incidents(self, incidents: Incidents, newest_first: Sequence[bytes]) -> list[str]:
        """Continue the open incidents from the newest state that can be read."""
        for state in newest_first:
            try:
                return incidents.resume(state, self._names_of_configuration)
            except Unusable as error:
                _LOG.error("open incidents of the last run cannot be continued: %s", error)
        return []

    @staticmethod
    def _restore(
        monitor: Ensemble,
        incidents: Incidents,
        newest_first: Sequence[tuple[Saved, dict[str, Any]]],
        restore_channels: Callable[[dict[int, str]], object],
    ) -> list[str]:
        """Restore the learned state; returns path and reason of each part that does not fit.

        Raises
        ------
        Unusable, msgspec.ValidationError
            No part fits, or the names of the channels cannot be read.
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
            return ["silences (expected two numbers by channel)"]
        incidents.silences.resume(silences, self._clock.monotonic_ns(), away_s)
        return []

    def doubt(self, steps: int) -> None:
        """Rename the snapshots to ``*.suspect`` if an error soon after a warm start may come from the resumed state.

        Parameters
        ----------
        steps
            Frames judged in this run.
        """
        if not self._resumed or steps > _TRUSTED_STEPS:
            return
        for name in (_WHOLE, _RECENT):
            path = self._directory / name
            with contextlib.suppress(OSError):
                path.replace(path.with_suffix(".suspect"))
        _LOG.error(
            "failed within %d frames of a warm start; snapshots are renamed to *.suspect, the next run starts afresh",
            _TRUSTED_STEPS,
        )

    def _readable(self, name: str) -> tuple[Saved, dict[str, Any]] | None:
        """Read a snapshot; None, with the reason in the log, if it is unusable or of another configuration."""
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
            why = " and ".join(others) + " changed" if others else "it is from another installation"
            _LOG.warning("%s is not used: %s", name, why)
            return None
        try:
            content["parts"] = learned_records(content) if saved.format == 1 else _mapping(content.get("parts"))
        except Unusable as error:
            _LOG.warning("%s cannot be used: %s", name, error)
            return None
        return saved, content

    def _since(self, moment: Moment) -> float:
        """Seconds since a moment: by the monotonic clock, or after a reboot by the wall clock if plausible, else 0."""
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
                _LOG.error(
                    "cannot write a snapshot to %s (%s); it is tried again within a minute", self._directory, text
                )
            return
        self._failing = ""
        self.written += size
        if whole:
            give_back_memory()  # of the copy of the learned state
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
