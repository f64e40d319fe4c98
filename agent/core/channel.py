"""A channel: one scalar series with a stable name, and what its values mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["Channel"]


class Channel(msgspec.Struct, frozen=True):
    """One scalar series with a stable name.

    Parameters
    ----------
    name
        As subscribers see it: ``cpu.percent``, ``latency.gateway``, ``boiler/temperature``.
    unit
        As printed behind a value: ``%``, ``B/s``, ``ms``; empty when unknown.
    effect
        Smallest difference from what is expected that is worth an alert. In the channel's unit on a linear scale;
        a factor above 1 on a logarithmic one. 0 (linear) or 1 (log): anything that is new.
    log_reference
        0 scores the channel on a linear scale; otherwise on ``log1p(value / log_reference)``, as suits rates and
        latencies, whose size varies over decades.
    minimum, maximum
        What the channel can show at all, such as 0 and 100 %: expectations are shown within.
    alarm_above, alarm_below
        Hard limits in the channel's unit: a value at or beyond one is an incident whatever is usual here, also while
        learning, and no alert budget holds it back.
    invalid_above, invalid_below
        What lies beyond is no reading, but a fault on its way: it is counted and taken as missing.
    sensitivity
        Above 1, less has to be new for an alert; below 1, more.
    silent
        It raises no alerts, but those of its hard limits.
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


#: Channel of an index in the frames that belongs to no channel yet, or no longer.
NOBODY = Channel("")


def owned(channels: Sequence[Channel]) -> list[int]:
    """Indices that belong to a channel."""
    return [index for index, channel in enumerate(channels) if channel is not NOBODY]
