"""Kinds of the anomalies in an incident: classified at the onset, and again when more is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from agent.alerting.classification import Classifier
    from agent.alerting.incident import Incident
    from agent.detection.verdict import Verdict
    from agent.messages.alert import AnomalyKind

__all__ = ["AnomalyKinds"]


class AnomalyKinds:
    """Keeps onset, course and kind of each channel in an incident.

    Parameters
    ----------
    classifier
        Names an anomaly by the recent values of its channel.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def begin(self, incident: Incident, channel: int, onset: int, verdict: Verdict, tick: int) -> None:
        """Classify the anomaly of a channel that joins, and plan its revision.

        Parameters
        ----------
        onset, tick
            Tick of the channel's first anomalous reading, and the present one.
        """
        incident.onset[channel] = onset
        incident.courses[channel] = verdict.courses.get(channel, "readings")
        incident.kinds[channel] = self._classify(incident, channel, tick)
        incident.revision[channel] = tick + self._classifier.look_rows

    def follow(self, incident: Incident, channels: Iterable[int], verdict: Verdict, tick: int) -> None:
        """Update the courses of anomalous channels; an anomaly that becomes a level is classified again."""
        for channel in channels:
            course = verdict.courses.get(channel, "readings")
            if course == "level" and incident.courses[channel] != "level":
                incident.revision.setdefault(channel, tick)
            incident.courses[channel] = course

    def revise_due(self, incident: Incident, tick: int) -> bool:
        """Classify anew where a revision is due; return whether the strongest channel's kind has changed."""
        return self._revise(incident, [c for c, due in incident.revision.items() if due <= tick], tick)

    def revise_all(self, incident: Incident, tick: int) -> None:
        """Classify anew wherever a revision is planned, since the incident ends."""
        self._revise(incident, list(incident.revision), tick)

    def _revise(self, incident: Incident, channels: list[int], tick: int) -> bool:
        revised = False
        for channel in channels:
            del incident.revision[channel]
            kind = self._classify(incident, channel, tick)
            if kind and kind != incident.kinds[channel]:
                incident.kinds[channel] = kind
                revised |= channel == incident.ranked()[0]
        return revised

    def _classify(self, incident: Incident, channel: int, tick: int) -> AnomalyKind | Literal[""]:
        since_rows = tick - incident.onset[channel] + 1
        return self._classifier.name(channel, since_rows, incident.courses.get(channel, "readings"))
