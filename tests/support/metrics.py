from __future__ import annotations

from agent.messages.status import ChannelMetric


def metric(score: float = 0.1, *, anomalous: bool = False, value: float | None = 5.0) -> ChannelMetric:
    return ChannelMetric(value, 5.0, 2.0, 14.0, score, 0.995, anomalous, 1.0, True, "%")
