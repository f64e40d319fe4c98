"""The sections ``channels``, ``derived`` and ``history`` of the configuration."""

from __future__ import annotations

import re
from typing import (
    Annotated,
    Literal,
)

import msgspec

from agent.core.section import NamePattern, NamePatterns, NotNegative, Section

__all__ = ["ChannelConfig", "DerivedConfig", "HistoryConfig"]


class ChannelConfig(Section, frozen=True):
    """What is so of some channels, whichever source they come from; what is not said stays as the source has it.

    Parameters
    ----------
    names
        ``*``, ``?`` and ``[…]`` match as in a shell.
    unit
        As printed behind values.
    effect
        Smallest difference from what is expected that is worth an alert; on a logarithmic scale a factor above 1.
    log_reference
        Above 0: values are compared by their ratios, as suits rates and latencies; what is small against this counts as
        still.
    minimum, maximum
        What the channel can show at all.
    alarm_below, alarm_above
        Hard limits.
    invalid_below, invalid_above
        What lies beyond is no reading, but a fault: it is counted and taken as missing.
    sensitivity
        Strength of its anomalies is multiplied by this.
    silent
        It raises no alerts, but those of its hard limits.
    """

    names: NamePatterns
    unit: Annotated[str, msgspec.Meta(max_length=16)] | None = None
    effect: NotNegative | None = None
    log_reference: NotNegative | None = None
    minimum: float | None = None
    maximum: float | None = None
    alarm_below: float | None = None
    alarm_above: float | None = None
    invalid_below: float | None = None
    invalid_above: float | None = None
    sensitivity: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None
    silent: bool | None = None

    def __post_init__(self) -> None:
        for low, high in (
            ("minimum", "maximum"),
            ("alarm_below", "alarm_above"),
            ("invalid_below", "invalid_above"),
        ):
            below, above = getattr(self, low), getattr(self, high)
            if below is not None and above is not None and below >= above:
                raise ValueError(f"{low} {below:g} is not below {high} {above:g}")


class DerivedConfig(Section, frozen=True):
    """A channel that is worked out from others.

    Parameters
    ----------
    name
        Of the channel.
    how
        ``rate`` of one a second, ``difference`` or ``ratio`` of two, ``sum`` of many.
    of
        Names of channels of sources, or of derived ones above; in those of a sum ``*``, ``?`` and ``[…]`` match as in a
        shell.
    unit
        As printed behind values.
    over_s
        A rate is that since so long ago; since the reading before where it is 0.
    counter
        Of a rate: the channel only counts up, and when it is less than before it has begun anew.
    """

    name: NamePattern
    how: Literal["rate", "difference", "ratio", "sum"]
    of: NamePatterns
    unit: Annotated[str, msgspec.Meta(max_length=16)] = ""
    over_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 0.0
    counter: bool = False

    def __post_init__(self) -> None:
        needed = {"rate": 1, "difference": 2, "ratio": 2}.get(self.how, len(self.of))
        if len(self.of) != needed:
            raise ValueError(f"a {self.how} is of {needed} channel{'s' if needed > 1 else ''}, not of {len(self.of)}")
        if self.how != "sum" and re.search(r"[*?\[]", "".join(self.of)):
            raise ValueError(f"a {self.how} is of channels called by their names: only a sum takes patterns")
        if self.how != "rate" and (self.over_s or self.counter):
            raise ValueError(f"over_s and counter belong to a rate, not to a {self.how}")


class HistoryConfig(Section, frozen=True):
    """A recording of all readings, to train on.

    Parameters
    ----------
    directory
        Where it lies; ``history`` in the state directory by default.
    max_mb
        Megabytes it may take; the oldest readings go first. Twenty channels at 1 Hz take about 2.5 MB a day.
    """

    directory: str | None = None
    max_mb: Annotated[float, msgspec.Meta(ge=1, le=1 << 20)] = 64.0
