"""Makes the configured threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.detection.settings import (
    DspotThreshold,
    LikelihoodThreshold,
    MadThreshold,
    MeanStdThreshold,
    PercentileThreshold,
    RangeThreshold,
    SpotThreshold,
)
from agent.detection.thresholds.gaussian import Likelihood, MeanStd
from agent.detection.thresholds.peaks_over_threshold import Spot
from agent.detection.thresholds.quantile import Mad, Percentile
from agent.detection.thresholds.range_novelty import RangeNovelty

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array
    from agent.detection.settings import ThresholdConfig
    from agent.detection.thresholds.base import Memory, Threshold


__all__ = ["make_threshold"]


def make_threshold(config: ThresholdConfig, effect: Float64Array, memory: Memory) -> Threshold:
    """Make the configured threshold.

    Parameters
    ----------
    config
        Key ``detection.threshold`` of the configuration.
    effect
        float64[n_lanes], smallest error worth an alert, on the channels' scales.
    memory
        Time constant of exponential forgetting, rows; for all lanes or float64[n_lanes].
    """
    if isinstance(config, RangeThreshold):
        return RangeNovelty(effect, memory, novelty=config.novelty)
    if isinstance(config, MeanStdThreshold):
        return MeanStd(effect, memory, k=config.k)
    if isinstance(config, PercentileThreshold):
        return Percentile(effect, memory, percentile=config.percentile)
    if isinstance(config, MadThreshold):
        return Mad(effect, memory, k=config.k)
    if isinstance(config, LikelihoodThreshold):
        return Likelihood(effect, memory, epsilon=config.epsilon, short_rows=config.short_rows)
    return _make_spot(config, effect, memory)


def _make_spot(config: ThresholdConfig, effect: Float64Array, memory: Memory) -> Threshold:
    if isinstance(config, SpotThreshold):
        return Spot(effect, memory, risk=config.risk, calibration_rows=config.calibration_rows)
    if isinstance(config, DspotThreshold):
        return Spot(
            effect,
            memory,
            risk=config.risk,
            calibration_rows=config.calibration_rows,
            depth_rows=config.depth_rows,
        )
    raise TypeError(config)
