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
        expected, lower, upper = verdict.bounds()
        score = bounded_score(strength)
        for channel in map(int, channels):
            info = self._channels[channel]
            value = _rounded(verdict.value[channel])
            contributor = Contributor(
                channel=info.name,
                share=0.0,
                value=value,
                expected=_rounded(expected[channel]),
                lower=_rounded(lower[channel]),
                upper=_rounded(upper[channel]),
                score=round(float(score[channel]), 6),
                unit=info.unit,
                limit=_limit_reached(info, value) if limited[channel] else None,
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


def _rounded(value: float) -> float | None:
    """Round to six significant digits for messages; None for NaN and infinity."""
    return float(f"{float(value):.6g}") if math.isfinite(value) else None


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
    text = f"{first.channel} {verb}{quantity(first.value, first.unit)} ({normal})"
    if first.kind:
        when = "at" if first.kind in {"spike", "drop"} else "since"
        hour = time.strftime("%H:%M:%S UTC", time.gmtime(incident.started))
        text += f", {first.kind.replace('_', ' ')} {when} {hour}"
    if len(incident.worst) > 1:
        text += f" and {len(incident.worst) - 1} more"
    return f"{text}, {reason} after {duration_s:.0f} s" if phase == "close" else text
