"""The alert writer: numbers, texts and identifiers of messages about incidents."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import msgspec

from agent.core.text import quantity, range_text
from agent.detection.verdict import bounded_score
from agent.messages.alert import Alert, Contributor, HeldBack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.alerting.incident import Incident
    from agent.core.arrays import BoolArray, Float64Array
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.detection.verdict import Verdict
    from agent.messages.alert import Phase

__all__ = ["AlertWriter"]

# Largest number of channels that an alert names.
_MOST_CONTRIBUTORS = 5
_DAY_S = 86400.0
# Return periods from this on, in days, are told in days.
_ABOUT_A_DAY = 0.9
# Longest return period that is told: nothing rarer can be known from four weeks.
_YEAR_S = 365.0 * _DAY_S


class AlertWriter:
    """Writes the messages of one node.

    Parameters
    ----------
    channels
        In the order of the verdicts' arrays.
    interval_s
        Seconds between ticks.
    node, model
        Names in alerts.
    clock_synced
        Function that tells whether the wall clock can be trusted; called once per message.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        interval_s: float,
        *,
        node: str,
        model: str,
        clock_synced: Callable[[], bool],
    ) -> None:
        self._channels = list(channels)
        self._interval_s = interval_s
        self._node = node
        self._model = model
        self._clock_synced = clock_synced

    def rename(self, channels: Sequence[Channel]) -> None:
        """Set the channels anew, after some were replaced."""
        self._channels = list(channels)

    def contributors(
        self, channels: Iterable[int], verdict: Verdict, strength: Float64Array, limited: BoolArray
    ) -> Iterator[tuple[int, tuple[float, Contributor]]]:
        """Describe the present state of channels; share and kind are filled in when the message is written.

        Parameters
        ----------
        channels
            Indices.
        verdict
            Of the newest frame.
        strength
            float64[n_channels] ≥ 0, in limits.
        limited
            bool[n_channels], channels that are in an incident because of a hard limit.

        Yields
        ------
        Index, strength and contributor.
        """
        told, expected, lower, upper, over_s = verdict.evidence()
        newest = verdict.bounds()
        score = bounded_score(strength)
        for channel in map(int, channels):
            info = self._channels[channel]
            limit = _limit_reached(info, _rounded(verdict.value[channel])) if limited[channel] else None
            if limit is not None:
                told[channel], over_s[channel] = verdict.value[channel], 0.0
                expected[channel], lower[channel], upper[channel] = newest[:, channel]
            contributor = Contributor(
                channel=info.name,
                share=0.0,
                value=_rounded(told[channel]),
                expected=_rounded(expected[channel]),
                lower=_rounded(lower[channel]),
                upper=_rounded(upper[channel]),
                score=round(float(score[channel]), 6),
                unit=info.unit,
                limit=limit,
                over_s=round(float(over_s[channel]), 3) if over_s[channel] > self._interval_s else 0.0,
                once_in_days=_days(float(verdict.period_s[channel])),
            )
            yield channel, (float(strength[channel]), contributor)

    def alert(self, incident: Incident, frame: Frame, phase: Phase, reason: str, seq: int) -> Alert:
        """Write a message of an incident and update the incident's counters.

        Parameters
        ----------
        incident
            Its fields ``messages``, ``pending`` and ``last_message_seq`` are updated.
        frame
            The newest.
        phase, reason
            See `agent.messages.alert.Alert`.
        seq
            Number of the alert, without gaps over all incidents.
        """
        contributors = self._strongest(incident)
        suffix = f".{incident.messages}" if incident.messages else ""
        incident.messages += 1
        incident.pending = ""
        incident.last_message_seq = frame.seq
        duration_s = self._duration_s(incident, frame)
        return Alert(
            v=1,
            id=incident.stem + suffix,
            seq=seq,
            node=self._node,
            phase=phase,
            severity=incident.severity,
            ts=frame.wall,
            started=incident.started,
            clock_synced=self._clock_synced(),
            score=max(c.score for c in contributors),
            threshold=incident.threshold,
            contributors=contributors,
            summary=_summary(incident, contributors, phase, reason, duration_s),
            model=self._model,
            incident=incident.stem,
            duration_s=round(duration_s, 3),
            provisional=incident.provisional,
            reason=reason,
            strength=round(incident.strength, 3),
        )

    def suppressed(self, incident: Incident, frame: Frame, reason: str) -> HeldBack:
        """Describe an incident that ended without having been sent."""
        contributors = self._strongest(incident)
        duration_s = self._duration_s(incident, frame)
        return HeldBack(
            started=incident.started,
            duration_s=round(duration_s, 3),
            strength=round(incident.strength, 3),
            needed=round(incident.needed, 3),
            summary=_summary(incident, contributors, "close", reason, duration_s),
            channels=tuple(contributor.channel for contributor in contributors),
            reason="silenced" if incident.silenced else "budget",
        )

    @staticmethod
    def _strongest(incident: Incident) -> tuple[Contributor, ...]:
        total = incident.strength or 1.0
        return tuple(
            msgspec.structs.replace(
                incident.worst[channel][1],
                share=round(incident.worst[channel][0] / total, 3),
                kind=incident.kinds[channel],
            )
            for channel in incident.ranked()[:_MOST_CONTRIBUTORS]
        )

    def _duration_s(self, incident: Incident, frame: Frame) -> float:
        return (frame.seq - incident.started_seq) * self._interval_s


def _limit_reached(channel: Channel, value: float | None) -> float | None:
    """Hard limit that a value has reached; None if none."""
    if value is None:
        return None
    if value >= channel.alarm_above:
        return channel.alarm_above
    return channel.alarm_below if value <= channel.alarm_below else None


def _days(period_s: float) -> float | None:
    """Return period in days to two digits, at most a year; None if unknown.

    Examples
    --------
    >>> _days(40.4 * 86400.0), _days(1e12), _days(0.0)
    (40.0, 365.0, None)
    """
    if period_s >= _YEAR_S:
        return _YEAR_S / _DAY_S
    return float(f"{period_s / _DAY_S:.2g}") if period_s > 0.0 else None


def _rounded(value: float) -> float | None:
    """Round to six significant digits for messages; None for NaN and infinity."""
    return float(f"{float(value):.6g}") if math.isfinite(value) else None


def _rarity(days: float) -> str:
    """Rarity in words.

    Examples
    --------
    >>> _rarity(365.0), _rarity(40.0), _rarity(1.0), _rarity(0.25)
    ('rarer than once a year', 'about once in 40 days', 'about once a day', 'about once in 6 h')
    """
    if days >= _YEAR_S / _DAY_S:
        return "rarer than once a year"
    if days < _ABOUT_A_DAY:
        return f"about once in {_time(days * _DAY_S)}"
    return f"about once in {days:.0f} days" if days >= 1.5 else "about once a day"


def _time(seconds: float) -> str:
    """Duration in its largest whole unit.

    Examples
    --------
    >>> _time(60.0), _time(720.0), _time(10_800.0), _time(45.0)
    ('1 min', '12 min', '3 h', '45 s')
    """
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _summary(
    incident: Incident, contributors: tuple[Contributor, ...], phase: Phase, reason: str, duration_s: float
) -> str:
    """Describe an incident by its strongest channel, in one line."""
    first = contributors[0]
    verb = "reached " if phase == "close" else ""
    if first.limit is not None:
        normal = f"hard limit {quantity(first.limit, first.unit)}"
    else:
        normal = f"expected {range_text(first.lower, first.upper, first.unit)}"
        if first.value is not None and (first.lower or 0.0) <= first.value <= (first.upper or 0.0):
            # Usual readings in an unusual order.
            verb = "shows an unusual pattern, last "
    averaged = f" on average over {_time(first.over_s)}" if first.over_s else ""
    text = f"{first.channel} {verb}{quantity(first.value, first.unit)}{averaged} ({normal})"
    if first.once_in_days and first.limit is None:
        text += f", {_rarity(first.once_in_days)}"
    if first.kind == "flat_line" and first.lower is None and first.limit is None:
        text = f"{first.channel} does not change any more, {quantity(first.value, first.unit)}"
    if first.kind:
        when = "at" if first.kind in {"spike", "drop"} else "since"
        hour = time.strftime("%H:%M:%S UTC", time.gmtime(incident.started))
        text += f", {first.kind.replace('_', ' ')} {when} {hour}"
    if len(incident.worst) > 1:
        text += f" and {len(incident.worst) - 1} more"
    return f"{text}, {reason} after {duration_s:.0f} s" if phase == "close" else text
