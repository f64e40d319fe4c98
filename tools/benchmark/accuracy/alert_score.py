"""Incidents as sent, held against labelled events: told, how late, how long open, and what they said."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.messages.alert import Alert

__all__ = ["AlertScore", "Event", "Incident", "incidents_of", "score"]

_DAY_S = 86400.0
# An alert before an event's label counts as about it by up to the longer of this many seconds and this share of the
# event: labels are set by hand, and faults begin gradually. Chosen by hand.
_EARLY_S, _EARLY_SHARE = 120.0, 0.1
# Rows after an event in which an alert still counts, because a block or a probe ends later. Chosen by hand.
_LATE_ROWS = 3
# Reasons of an update that tells more about an incident: another channel, a higher severity, a hard limit.
_TELLING = frozenset({"joined", "severity", "limit"})


@dataclass(frozen=True)
class Event:
    """A labelled event, ``begin`` to ``end`` in seconds since 1970.

    Parameters
    ----------
    kind
        Name of its kind; empty if the labels have none.
    channels
        Channels that show it; empty if unknown.
    """

    begin: float
    end: float
    kind: str = ""
    channels: tuple[str, ...] = ()

    def span(self, interval_s: float) -> tuple[float, float]:
        """Earliest and latest time of an alert about it, for rows ``interval_s`` seconds apart."""
        early_s = max(_EARLY_S, _EARLY_SHARE * (self.end - self.begin))
        return self.begin - early_s, self.end + _LATE_ROWS * interval_s


@dataclass(frozen=True)
class Incident:
    """An incident as people see it, in seconds since 1970.

    Parameters
    ----------
    opened, closed
        Time of the first message and of the close.
    tellings
        Time and first channel of each message that tells something new, in order, the opening included; the channel
        is empty if none is named.
    recovered
        Whether it closed because the readings were normal again.
    outside
        Whether the first value of the opening lies outside the range that it calls expected; None if none is given.
    """

    opened: float
    closed: float
    tellings: tuple[tuple[float, str], ...]
    recovered: bool = True
    outside: bool | None = None


@dataclass
class AlertScore:
    """Counts over recordings, which can be added.

    Parameters
    ----------
    events, told
        Number of events, and of those with an alert, by kind.
    delays_s
        Seconds from the begin of each told event to its first alert, at least 0.
    open_shares
        Share of each event during which an incident was open, told or not.
    false
        Incidents sent that overlap no event.
    days
        Days scored, times nodes.
    alerted, cleared
        Pairs of an event and an incident opened during it; those whose incident recovered while the event went on.
    openings, outside
        Opening messages that give an expected range; those whose first value lies outside it.
    named, named_right
        Told events with known channels whose first alert names a channel; those where it is one of them.
    """

    events: dict[str, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    delays_s: list[float] = field(default_factory=list)
    open_shares: list[float] = field(default_factory=list)
    false: int = 0
    days: float = 0.0
    alerted: int = 0
    cleared: int = 0
    openings: int = 0
    outside: int = 0
    named: int = 0
    named_right: int = 0

    def add(self, other: AlertScore) -> None:
        """Add the counts of another recording."""
        for mine, theirs in ((self.events, other.events), (self.told, other.told)):
            for kind, count in theirs.items():
                mine[kind] = mine.get(kind, 0) + count
        self.delays_s += other.delays_s
        self.open_shares += other.open_shares
        for name in ("false", "days", "alerted", "cleared", "openings", "outside", "named", "named_right"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def events_told(self) -> int:
        """Number of events with an alert, of all kinds."""
        return sum(self.told.values())

    def figures(self) -> dict[str, float]:
        """Figures of the table; NaN where undefined."""
        return {
            "events": float(sum(self.events.values())),
            "told %": _percent(self.events_told, sum(self.events.values())),
            "false a day": self.false / self.days if self.days else math.nan,
            "median delay s": float(np.median(self.delays_s)) if self.delays_s else math.nan,
            "open %": 100.0 * float(np.mean(self.open_shares)) if self.open_shares else math.nan,
            "false all-clear %": _percent(self.cleared, self.alerted),
            "outside its range %": _percent(self.outside, self.openings),
            "named right %": _percent(self.named_right, self.named),
        }

    def told_by_kind(self) -> dict[str, float]:
        """Percentage of the events that are told, by kind; without those that have no kind."""
        return {kind: _percent(self.told.get(kind, 0), count) for kind, count in self.events.items() if kind}


def incidents_of(alerts: Sequence[Alert], end: float) -> list[Incident]:
    """Incidents of one node from all its messages in order; without a close, an incident is open until ``end``."""
    messages: dict[str, list[Alert]] = {}
    for alert in alerts:
        messages.setdefault(alert.incident, []).append(alert)
    return [_incident(each, end) for each in messages.values()]


def _incident(messages: Sequence[Alert], end: float) -> Incident:
    first, last = messages[0], messages[-1]
    closed = last.phase == "close"
    tellings = tuple(
        (alert.ts, alert.contributors[0].channel)
        for alert in messages
        if alert.phase == "open" or alert.reason in _TELLING
    )
    return Incident(
        first.ts, last.ts if closed else end, tellings, closed and last.reason == "recovered", _is_outside(first)
    )


def score(
    incidents: Sequence[Incident], events: Sequence[Event], begin: float, end: float, interval_s: float
) -> AlertScore:
    """Score the incidents of one node.

    Parameters
    ----------
    incidents
        In any order.
    events
        In order of time.
    begin, end
        Seconds since 1970 that are scored: events that begin there, and incidents that open there.
    interval_s
        Seconds between rows.
    """
    found = AlertScore(days=(end - begin) / _DAY_S)
    incidents = sorted((each for each in incidents if each.closed >= begin), key=lambda each: each.opened)
    tellings = sorted(telling for each in incidents for telling in each.tellings)
    spans = [event.span(interval_s) for event in events]
    for one in incidents:
        if one.opened >= begin:
            found.false += not any(one.opened <= last and one.closed >= first for first, last in spans)
            found.openings += one.outside is not None
            found.outside += bool(one.outside)
    for event, (first, last) in zip(events, spans, strict=True):
        if not begin <= event.begin < end:
            continue
        found.events[event.kind] = found.events.get(event.kind, 0) + 1
        told = next(((at, channel) for at, channel in tellings if first <= at <= last), None)
        if told is not None:
            found.told[event.kind] = found.told.get(event.kind, 0) + 1
            found.delays_s.append(max(told[0] - event.begin, 0.0))
            if event.channels and told[1]:
                found.named += 1
                found.named_right += told[1] in event.channels
        found.open_shares.append(_open_share(incidents, event))
        during = [each for each in incidents if first <= each.opened <= last]
        before_end = event.end - _LATE_ROWS * interval_s
        found.alerted += len(during)
        found.cleared += sum(each.recovered and each.closed < before_end for each in during)
    return found


def _is_outside(alert: Alert) -> bool:
    first = alert.contributors[0]
    if first.limit is not None or first.value is None:
        return True
    low = -math.inf if first.lower is None else first.lower
    high = math.inf if first.upper is None else first.upper
    return not low <= first.value <= high


def _open_share(incidents: Sequence[Incident], event: Event) -> float:
    """Share of an event that at least one of the incidents, sorted by opening, covers."""
    if event.end <= event.begin:  # a single row
        return float(any(each.opened <= event.begin <= each.closed for each in incidents))
    covered, reached = 0.0, event.begin
    for each in incidents:
        first, last = max(each.opened, reached), min(each.closed, event.end)
        if last > first:
            covered, reached = covered + last - first, last
    return covered / (event.end - event.begin)


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else math.nan
