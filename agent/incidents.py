"""Incidents: what people are told. Anomalous ticks become one incident with a beginning, a course and an end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agent.types import Alert, Contributor
from agent.wording import quantity, range_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.config import AlertsConfig
    from agent.types import Channel, Frame, IntArray, Phase, Severity, Verdict

__all__ = ["Incidents"]

_CONTRIBUTORS = 5
# A channel is quiet again below this share of its limit: less than 1, so that an incident does not flicker.
_QUIET = 0.8
_CONFIRMED_SHARE = 0.8
_CRITICAL = 4.0
_WARNING = 1.5
_UPDATE_PAUSE_S = 10.0
# A channel that gives no readings for this long takes no further part in its incident.
_MISSING_S = 60.0


class _Incident:
    """An open incident: its channels and how each looked at its worst."""

    def __init__(self, stem: str, frame: Frame, started_seq: int, interval_s: float, threshold: float) -> None:
        self.stem = stem
        self.threshold = threshold
        self.started_seq = started_seq
        self.opened_seq = frame.seq
        self.started = frame.wall - (frame.seq - started_seq) * interval_s
        self.worst: dict[int, tuple[float, Contributor]] = {}
        self.severity: Severity = "info"
        self.messages = 0
        self.last_message_seq = frame.seq
        self.pending = ""
        self.provisional = True
        self.accepted = False

    def strengths(self) -> list[tuple[float, Contributor]]:
        """Strength and looks of every channel at its worst, strongest first."""
        return sorted(self.worst.values(), key=lambda pair: -pair[0])


class Incidents:
    """Opens, updates and closes incidents over a stream of verdicts.

    A channel opens one when four fifths of its readings of the last ``confirm_s`` were anomalous; channels that follow
    within ``merge_s`` join it. It closes when all its channels were quiet, clearly below their limits, for ``clear_s``;
    a channel then opens none for ``cooldown_s``. Times are counted in ticks, so that replay gives what live gave.

    Parameters
    ----------
    channels
        In the order of the verdicts' arrays.
    config
        The section ``alerts``.
    interval_s
        Seconds between frames.
    node, model
        As alerts carry them.
    instance
        Distinguishes this installation's incidents from another's of the same name.
    next_seq
        Number of the next alert.
    clock_synced
        Whether the wall clock can be believed; asked only when there is a message to write.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        config: AlertsConfig,
        interval_s: float,
        *,
        node: str,
        model: str,
        instance: str,
        next_seq: int = 1,
        clock_synced: Callable[[], bool] = lambda: True,
    ) -> None:
        n = len(channels)
        self._channels = tuple(channels)
        self._interval_s = interval_s
        self._node = node
        self._model = model
        self._instance = instance
        self._next_seq = next_seq
        self._clock_synced = clock_synced
        confirm_rows = max(1, round(config.confirm_s / interval_s))
        self._needed = max(1, math.ceil(_CONFIRMED_SHARE * confirm_rows))
        self._clear_rows = max(1, round(config.clear_s / interval_s))
        self._merge_rows = round(config.merge_s / interval_s)
        self._cooldown_rows = round(config.cooldown_s / interval_s)
        self._missing_rows = max(1, round(_MISSING_S / interval_s))
        self._pause_rows = round(_UPDATE_PAUSE_S / interval_s)
        self._history = np.zeros((n, confirm_rows), bool)
        self._any_history = False
        # Tick of the first anomalous reading of each channel's present history.
        self._began = np.zeros(n, np.int64)
        self._quiet_rows = np.zeros(n, np.int64)
        self._absent_rows = np.zeros(n, np.int64)
        self._silent_until = np.zeros(n, np.int64)
        self._member = np.zeros(n, bool)
        self._open: list[_Incident] = []

    @property
    def open(self) -> tuple[str, ...]:
        """Identifiers of the open incidents, oldest first."""
        return tuple(incident.stem for incident in self._open)

    def step(self, frame: Frame, verdict: Verdict) -> list[Alert]:
        """Take in a verdict; give the messages that it calls for, in the order to be sent."""
        if not (self._open or self._any_history or np.count_nonzero(verdict.anomalous)):
            return []  # what would be written down is there already
        missing = np.isnan(verdict.value)
        # The newest readings of each channel, newest last; a missing one is no evidence for either side.
        shifted = np.concatenate((self._history[:, 1:], verdict.anomalous[:, None]), axis=1)
        self._history = np.where(missing[:, None], self._history, shifted)
        self._any_history = bool(self._history.any())
        fresh = verdict.anomalous & (self._history.sum(axis=1) == 1)
        self._began[fresh] = frame.seq
        self._absent_rows = np.where(missing, self._absent_rows + 1, 0)
        quiet = (verdict.strength < _QUIET) & ~missing
        self._quiet_rows = np.where(quiet, self._quiet_rows + 1, np.where(missing, self._quiet_rows, 0))

        alerts: list[Alert] = []
        confirmed = verdict.anomalous & ~self._member & (self._silent_until <= frame.seq)
        if confirmed.any():
            confirmed &= self._history.sum(axis=1) >= self._needed
            if confirmed.any():
                alerts += self._join_or_open(np.flatnonzero(confirmed), frame, verdict)
        for incident in tuple(self._open):
            alerts += self._follow(incident, frame, verdict)
        return alerts

    def continue_from(self, next_seq: int) -> None:
        """Number alerts from here on, before the first `step`."""
        self._next_seq = next_seq

    def stop(self, frame: Frame) -> list[Alert]:
        """Close what is open, for an agent that ends."""
        return [self._close(incident, frame, "stopped") for incident in tuple(self._open)]

    def _join_or_open(self, new: IntArray, frame: Frame, verdict: Verdict) -> list[Alert]:
        joined = next((i for i in self._open if frame.seq - i.opened_seq <= self._merge_rows), None)
        if joined is None:
            stem = f"{self._node}-{self._instance}-{self._next_seq:06d}"
            incident = _Incident(stem, frame, int(self._began[new].min()), self._interval_s, verdict.threshold)
            self._open.append(incident)
        else:
            incident = joined
        self._member[new] = True
        self._quiet_rows[new] = 0
        self._absent_rows[new] = 0
        for channel, look in self._looks(new, verdict):
            incident.worst[channel] = look
        incident.provisional &= bool(verdict.provisional()[new].all())
        if joined is not None:
            incident.pending = "joined"
            return []
        incident.severity = self._severity(incident)
        return [self._message(incident, frame, "open", "onset")]

    def _follow(self, incident: _Incident, frame: Frame, verdict: Verdict) -> list[Alert]:
        members = np.fromiter(incident.worst, np.int64)
        worse = [c for c in members.tolist() if verdict.strength[c] > incident.worst[c][0] and verdict.anomalous[c]]
        for channel, look in self._looks(worse, verdict):
            incident.worst[channel] = look
        gone = self._absent_rows[members] >= self._missing_rows
        incident.accepted |= bool(verdict.accepted[members].any())
        over = (self._quiet_rows[members] >= self._clear_rows) | gone | verdict.accepted[members]
        if over.all():
            reason = "accepted" if incident.accepted else "missing" if gone.all() else "recovered"
            return [self._close(incident, frame, reason)]
        severity = self._severity(incident)
        if severity != incident.severity:
            incident.severity = severity
            incident.pending = incident.pending or "severity"
        if incident.pending and frame.seq - incident.last_message_seq >= self._pause_rows:
            return [self._message(incident, frame, "update", incident.pending)]
        return []

    def _close(self, incident: _Incident, frame: Frame, reason: str) -> Alert:
        self._open.remove(incident)
        for channel in incident.worst:
            self._member[channel] = False
            self._silent_until[channel] = frame.seq + self._cooldown_rows
        return self._message(incident, frame, "close", reason)

    def _looks(self, channels: Iterable[int], verdict: Verdict) -> Iterator[tuple[int, tuple[float, Contributor]]]:
        """How channels look now; shares are filled in when the message is written."""
        expected, lower, upper = verdict.bounds()
        score = verdict.score()
        for channel in map(int, channels):
            info = self._channels[channel]
            contributor = Contributor(
                channel=info.name,
                share=0.0,
                value=_number(verdict.value[channel]),
                expected=_number(expected[channel]),
                lower=_number(lower[channel]),
                upper=_number(upper[channel]),
                score=round(float(score[channel]), 6),
                unit=info.unit,
            )
            yield channel, (float(verdict.strength[channel]), contributor)

    @staticmethod
    def _severity(incident: _Incident) -> Severity:
        strongest = max(strength for strength, _ in incident.worst.values())
        return "critical" if strongest >= _CRITICAL else "warning" if strongest >= _WARNING else "info"

    def _message(self, incident: _Incident, frame: Frame, phase: Phase, reason: str) -> Alert:
        ranked = incident.strengths()
        total = sum(strength for strength, _ in ranked)
        contributors = tuple(
            Contributor(c.channel, round(s / total, 3), c.value, c.expected, c.lower, c.upper, c.score, c.unit)
            for s, c in ranked[:_CONTRIBUTORS]
        )
        suffix = f".{incident.messages}" if incident.messages else ""
        incident.messages += 1
        incident.pending = ""
        incident.last_message_seq = frame.seq
        duration_s = (frame.seq - incident.started_seq) * self._interval_s
        alert = Alert(
            v=1,
            id=incident.stem + suffix,
            seq=self._next_seq,
            node=self._node,
            phase=phase,
            severity=incident.severity,
            ts=frame.wall,
            started=incident.started,
            clock_synced=self._clock_synced(),
            score=max(c.score for c in contributors),
            threshold=incident.threshold,
            contributors=contributors,
            summary=_summary(contributors, len(ranked), phase, reason, duration_s),
            model=self._model,
            incident=incident.stem,
            duration_s=round(duration_s, 3),
            provisional=incident.provisional,
            reason=reason,
        )
        self._next_seq += 1
        return alert


def _number(value: float) -> float | None:
    """Six significant digits, or None for NaN: what a message carries."""
    return float(f"{float(value):.6g}") if math.isfinite(value) else None


def _summary(contributors: tuple[Contributor, ...], channels: int, phase: Phase, reason: str, duration_s: float) -> str:
    first = contributors[0]
    seen = "reached " if phase == "close" else ""
    if first.value is not None and (first.lower or 0.0) <= first.value <= (first.upper or 0.0):
        # Each reading is within limits; it is the autoencoder that does not know their course.
        seen = "shows an unusual pattern, last "
    text = (
        f"{first.channel} {seen}{quantity(first.value, first.unit)} "
        f"(expected {range_text(first.lower, first.upper, first.unit)})"
    )
    if channels > 1:
        text += f" and {channels - 1} more"
    return f"{text}, {reason} after {duration_s:.0f} s" if phase == "close" else text
