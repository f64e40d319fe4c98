"""A channel: one scalar series, with its name, unit, scale and limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["Channel"]


class Channel(msgspec.Struct, frozen=True):
    """One scalar series with a stable name, and how its values are to be judged.

    Parameters
    ----------
    name
        Name in messages: ``cpu.percent``, ``latency.gateway``, ``boiler/temperature``.
    unit
        Printed behind values: ``%``, ``B/s``, ``ms``; empty if unknown.
    effect
        Smallest deviation from the expectation that is worth an alert: a difference ≥ 0 in the channel's unit on a
        linear scale, a factor ≥ 1 on a logarithmic one. 0 (linear) and 1 (logarithmic) let any deviation count.
    log_reference
        0: the channel is scored on a linear scale. > 0, in the channel's unit: it is scored as
        ``log1p(value / log_reference)``, which suits rates and latencies, whose size varies over decades.
    minimum, maximum
        Physical range in the channel's unit, such as 0 and 100 %; displayed expectations are clipped to it.
    alarm_above, alarm_below
        Hard limits in the channel's unit: a value at or beyond one is an incident, even if it is usual here or the
        channel is still being learned. Such incidents bypass the alert budget.
    invalid_above, invalid_below
        Values beyond these, in the channel's unit, are sensor faults: they are counted and treated as missing.
    sensitivity
        Factor > 0 by which the strength of the channel's anomalies is multiplied.
    silent
        Raise no alerts except at hard limits.
    """

    name: str
    unit: str = ""
    effect: float = 0.0
    log_reference: float = 0.0
    minimum: float = -math.inf
    maximum: float = math.inf
    alarm_above: float = math.inf
    alarm_below: float = -math.inf
    invalid_above: float = math.inf
    invalid_below: float = -math.inf
    sensitivity: float = 1.0
    silent: bool = False


#: Stands for the channel at an index of the frame that is unassigned: not used yet, or no longer.
NOBODY = Channel("")


def owned(channels: Sequence[Channel]) -> list[int]:
    """Indices of the frame that are assigned to a channel, ascending; ``channels`` are in the frame's order."""
    return [index for index, channel in enumerate(channels) if channel is not NOBODY]
