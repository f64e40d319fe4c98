"""The section ``detection`` of the configuration, and the thresholds that it can name."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Annotated,
    Protocol,
)

import msgspec
from msgspec import Meta

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

_Risk = Annotated[
    float, Meta(gt=0, lt=0.05, description="Probability with which a normal error exceeds the limit, on each side.")
]
_CalibrationRows = Annotated[
    int, Meta(ge=100, le=10_000, description="Number of first readings that calibrate the limit; they are not judged.")
]


class RangeThreshold(Section, frozen=True, tag_field="method", tag="range"):
    """Range novelty (default): beyond the range of errors seen."""

    novelty: Annotated[
        float,
        Meta(
            gt=0,
            le=10,
            description="Excess over that range from which an error is anomalous, as a share of the range's width.",
        ),
    ] = 0.14


class MeanStdThreshold(Section, frozen=True, tag_field="method", tag="mean_std"):
    """Mean ± k standard deviations of the errors."""

    k: Annotated[float, Meta(gt=0, le=100, description="Number of standard deviations.")] = 6.0


class PercentileThreshold(Section, frozen=True, tag_field="method", tag="percentile"):
    """A high percentile of the errors, and its mirror image below."""

    percentile: Annotated[float, Meta(gt=50, lt=100, description="Percentile above which an error is anomalous.")] = (
        99.9
    )


class MadThreshold(Section, frozen=True, tag_field="method", tag="mad"):
    """Median ± k median absolute deviations of the errors."""

    k: Annotated[float, Meta(gt=0, le=100, description="Number of median absolute deviations.")] = 8.0


class LikelihoodThreshold(Section, frozen=True, tag_field="method", tag="likelihood"):
    """Anomaly likelihood: an improbable mean of the newest errors."""

    epsilon: Annotated[float, Meta(gt=0, lt=0.5, description="Probability below which a mean is anomalous.")] = 1e-5
    short_rows: Annotated[float, Meta(ge=1, le=1000, description="Number of newest errors in the mean.")] = 5.0


class SpotThreshold(Section, frozen=True, tag_field="method", tag="spot"):
    """Streaming peaks over threshold: the level that errors exceed with a given probability."""

    risk: _Risk = 1e-4
    calibration_rows: _CalibrationRows = 300


class DspotThreshold(Section, frozen=True, tag_field="method", tag="dspot"):
    """Streaming peaks over threshold around the moving average of the errors, for errors that drift."""

    risk: _Risk = 1e-4
    calibration_rows: _CalibrationRows = 300
    depth_rows: Annotated[float, Meta(ge=2, le=100_000, description="Number of errors in the moving average.")] = 50.0


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
    """Judging of prediction errors: threshold, memory and time scales."""

    threshold: Annotated[
        ThresholdConfig, Meta(description="Rolling threshold for the errors: a `method` and its keys.")
    ] = msgspec.field(default_factory=RangeThreshold)
    memory_s: Annotated[Positive, Meta(description="Seconds after which an error is largely forgotten.")] = (
        365 * 86400.0
    )
    accept_after_s: Annotated[
        Positive,
        Meta(description="Seconds after which the new behaviour of an anomalous channel is accepted as normal."),
    ] = 86400.0
    block_s: Annotated[
        Positive,
        Meta(
            description=(
                "Finest time scale in seconds: readings are averaged over this time, and over 12, 24 and 48 times as "
                "long. Slower readings are judged one by one."
            )
        ),
    ] = 5.0
    relations: Annotated[
        bool,
        Meta(
            description=(
                "Also compare each channel with a forecast from the other channels of this node (at most 256 channels)."
            )
        ),
    ] = True


class AlertTimes(Protocol):
    """The times of the section ``alerts`` that detection counts in rows."""

    @property
    def learning_s(self) -> float:
        """Silent time after a channel's first reading."""

    @property
    def provisional_s(self) -> float:
        """Until then alerts are marked as provisional."""

    @property
    def budget_per_day(self) -> float:
        """Incidents a day that a node sends on undisturbed days."""

    @property
    def confirm_s(self) -> float:
        """An anomaly lasts most of this time before an incident opens."""
