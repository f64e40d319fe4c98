from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.frame import Frame
from agent.detection.verdict import Verdict

if TYPE_CHECKING:
    from typing import Any

    from agent.messages.alert import Alert


CHANNELS = (Channel("cpu.percent", "%"), Channel("disk.write", "B/s"), Channel("load"))


def make(**alerts: Any) -> Incidents:
    config = AlertsConfig(
        **{"confirm_s": 5, "clear_s": 3, "merge_s": 10, "cooldown_s": 20, "budget_per_day": 1e9, **alerts}
    )
    return Incidents(CHANNELS, config, 1.0, node="pi4", model="default@1.0.0", instance="7f3a", next_seq=123)


def verdict(strength: Any, value: Any = None, accepted: Any = None, seen: float = 1e9, **more: Any) -> Verdict:
    strengths = np.array(strength, float)
    n = strengths.size
    return Verdict(
        value=np.where(strengths >= 1, 88.0, 6.0).astype(np.float32) if value is None else np.array(value, np.float32),
        outlook=np.array([[6.1] * n, [5.0] * n, [7.0] * n]),
        limits=(np.full(n, -4.1), np.full(n, 7.9)),
        in_units=lambda scaled: scaled,
        strength=strengths,
        peak=strengths,
        anomalous=strengths >= 1,
        accepted=np.zeros(n, bool) if accepted is None else np.array(accepted),
        seen=np.full(n, seen),
        learning_rows=100,
        provisional_rows=1000,
        state=np.zeros(n),
        state_score=0.0,
        errors=np.full((2, n), np.nan),
        **more,
    )


def frames_of(values: Any, start: int = 0) -> list[Frame]:
    return [
        Frame(start + i, 0, 1_700_000_000.0 + start + i, np.asarray(row, np.float32)) for i, row in enumerate(values)
    ]


class Feed:
    def __init__(self, incidents: Incidents) -> None:
        self.incidents = incidents
        self.seq = 0

    def __call__(self, *strength: float, times: int = 1, **kwargs: Any) -> list[Alert]:
        alerts = []
        for _ in range(times):
            judged = verdict(strength, **kwargs)
            frame = Frame(self.seq, 0, 1_700_000_000.0 + self.seq, judged.value)
            alerts += self.incidents.step(frame, judged)
            self.seq += 1
        return alerts
