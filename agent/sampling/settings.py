"""The sections ``channels``, ``derived`` and ``history`` of the configuration."""

from __future__ import annotations

import re
from typing import (
    Annotated,
    Literal,
)

from msgspec import Meta

from agent.core.section import ChannelNames, NamePattern, NamePatterns, NotNegative, Section

__all__ = ["ChannelConfig", "DerivedConfig", "HistoryConfig"]


class ChannelConfig(Section, frozen=True):
    """Overrides for matching channels of any source; unset keys keep the source's value."""

    names: ChannelNames
    unit: Annotated[
        Annotated[str, Meta(max_length=16)] | None, Meta(description="Unit of the values, printed after them.")
    ] = None
    effect: Annotated[
        NotNegative | None,
        Meta(
            description=(
                "Smallest difference from the expected value that is worth an alert, in the channel's unit. On a "
                "logarithmic scale it is a factor above 1."
            )
        ),
    ] = None
    log_reference: Annotated[
        NotNegative | None,
        Meta(
            description=(
                "Reference of a logarithmic scale, for rates and latencies: values well below it count as zero. 0 "
                "selects the linear scale."
            )
        ),
    ] = None
    minimum: Annotated[float | None, Meta(description="Lowest possible value; expectations stay within.")] = None
    maximum: Annotated[float | None, Meta(description="Highest possible value; expectations stay within.")] = None
    alarm_below: Annotated[
        float | None,
        Meta(
            description=(
                "Lower hard limit: a value at or below it raises an alert, regardless of alert budget and learning "
                "time."
            )
        ),
    ] = None
    alarm_above: Annotated[
        float | None,
        Meta(
            description=(
                "Upper hard limit: a value at or above it raises an alert, regardless of alert budget and learning "
                "time."
            )
        ),
    ] = None
    invalid_below: Annotated[
        float | None, Meta(description="Lowest plausible value: lower ones are sensor faults and count as missing.")
    ] = None
    invalid_above: Annotated[
        float | None, Meta(description="Highest plausible value: higher ones are sensor faults and count as missing.")
    ] = None
    sensitivity: Annotated[
        Annotated[float, Meta(gt=0, le=100)] | None,
        Meta(
            description=(
                "Factor on the strength of anomalies: with 2 an alert needs half the strength, with 0.5 twice the "
                "strength."
            )
        ),
    ] = None
    silent: Annotated[
        bool | None, Meta(description="Raise no alerts except at hard limits; the channel is still recorded and shown.")
    ] = None

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
    """A channel computed from others."""

    name: Annotated[NamePattern, Meta(description="Name of the computed channel.")]
    how: Annotated[
        Literal["rate", "difference", "ratio", "sum"],
        Meta(
            description=(
                "Calculation: `rate` of one channel per second, `difference` or `ratio` of two, `sum` of any number."
            )
        ),
    ]
    of: Annotated[
        NamePatterns,
        Meta(
            description=(
                "Names of the input channels: those of sources, or derived ones listed before. For a sum, `*`, `?` "
                "and `[…]` match as in a shell."
            )
        ),
    ]
    unit: Annotated[str, Meta(max_length=16, description="Unit of the values, printed after them.")] = ""
    over_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            description="Seconds over which a rate is computed; 0 computes it from the previous reading.",
        ),
    ] = 0.0
    counter: Annotated[
        bool, Meta(description="Treat a decrease as the reset of a counter: its rate is missing instead of negative.")
    ] = False

    def __post_init__(self) -> None:
        needed = {"rate": 1, "difference": 2, "ratio": 2}.get(self.how, len(self.of))
        if len(self.of) != needed:
            raise ValueError(f"a {self.how} is of {needed} channel{'s' if needed > 1 else ''}, not of {len(self.of)}")
        if self.how != "sum" and re.search(r"[*?\[]", "".join(self.of)):
            raise ValueError(f"a {self.how} is of channels called by their names: only a sum takes patterns")
        if self.how != "rate" and (self.over_s or self.counter):
            raise ValueError(f"over_s and counter belong to a rate, not to a {self.how}")


class HistoryConfig(Section, frozen=True):
    """Recording of all readings, for training."""

    directory: Annotated[
        str | None, Meta(description="Folder of the recording. Default: the folder `history` in `state_dir`.")
    ] = None
    max_mb: Annotated[
        float,
        Meta(
            ge=1,
            le=1 << 20,
            description=(
                "Maximum size in megabytes; the oldest readings are deleted first. Twenty channels at 1 Hz take "
                "about 2.5 MB a day."
            ),
        ),
    ] = 64.0
