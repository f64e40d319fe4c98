"""The section ``detection`` of the configuration, and the thresholds that it can name."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Annotated,
    Protocol,
)

import msgspec

from agent.core.section import Positive, Section

if TYPE_CHECKING:
    from typing import TypeAlias


__all__ = [
    "AlertTimes",
    "DetectionConfig",
    "DspotThreshold",
    "LikelihoodThreshold",
    "MadThreshold",
    "MeanStdThreshold",
    "PercentileThreshold",
    "RangeThreshold",
    "SpotThreshold",
    "ThresholdConfig",
]


class RangeThreshold(Section, frozen=True, tag_field="method", tag="range"):
    """Soft range novelty (default): how far beyond everything seen so far."""

    novelty: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.14


class MeanStdThreshold(Section, frozen=True, tag_field="method", tag="mean_std"):
    """Mean ± k standard deviations of the error."""

    k: Annotated[float, msgspec.Meta(gt=0, le=100)] = 6.0


class PercentileThreshold(Section, frozen=True, tag_field="method", tag="percentile"):
    """A high percentile of the error, and its mirror image below."""

    percentile: Annotated[float, msgspec.Meta(gt=50, lt=100)] = 99.9


class MadThreshold(Section, frozen=True, tag_field="method", tag="mad"):
    """Median ± k median absolute deviations of the error."""

    k: Annotated[float, msgspec.Meta(gt=0, le=100)] = 8.0


class LikelihoodThreshold(Section, frozen=True, tag_field="method", tag="likelihood"):
    """Anomaly likelihood: how improbable the mean of the newest errors is."""

    epsilon: Annotated[float, msgspec.Meta(gt=0, lt=0.5)] = 1e-5
    short_rows: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 5.0


class SpotThreshold(Section, frozen=True, tag_field="method", tag="spot"):
    """Streaming peaks over threshold: the level that an error passes with a given risk."""

    risk: Annotated[float, msgspec.Meta(gt=0, lt=0.05)] = 1e-4
    calibration_rows: Annotated[int, msgspec.Meta(ge=100, le=10_000)] = 300


class DspotThreshold(Section, frozen=True, tag_field="method", tag="dspot"):
    """The same for errors that drift: around their moving average over so many rows."""

    risk: Annotated[float, msgspec.Meta(gt=0, lt=0.05)] = 1e-4
    calibration_rows: Annotated[int, msgspec.Meta(ge=100, le=10_000)] = 300
    depth_rows: Annotated[float, msgspec.Meta(ge=2, le=100_000)] = 50.0


ThresholdConfig: TypeAlias = (
    RangeThreshold
    | MeanStdThreshold
    | PercentileThreshold
    | MadThreshold
    | LikelihoodThreshold
    | SpotThreshold
    | DspotThreshold
)


class DetectionConfig(Section, frozen=True):
    """How errors are judged.

    Parameters
    ----------
    threshold
        Which rolling threshold, with its parameters.
    memory_s
        Time after which an error is largely forgotten.
    accept_after_s
        A channel anomalous for this long has a new normal.
    block_s
        Readings are judged as means over this time, or one by one where they come more slowly; coarser scales are
        12, 24 and 48 times as long.
    relations
        Whether a channel is also held against what the others of its node tell of it.
    """

    threshold: ThresholdConfig = msgspec.field(default_factory=RangeThreshold)
    memory_s: Positive = 365 * 86400.0
    accept_after_s: Positive = 1800.0
    block_s: Positive = 5.0
    relations: bool = True


class AlertTimes(Protocol):
    """The times of the section ``alerts`` that detection counts in rows."""

    @property
    def learning_s(self) -> float:
        """Silent time after a channel's first reading."""

    @property
    def provisional_s(self) -> float:
        """Until then alerts are marked as provisional."""

    @property
    def confirm_s(self) -> float:
        """An anomaly lasts most of this time before an incident opens."""
