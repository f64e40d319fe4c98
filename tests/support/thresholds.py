from __future__ import annotations

from agent.detection.settings import (
    DspotThreshold,
    LikelihoodThreshold,
    MadThreshold,
    MeanStdThreshold,
    PercentileThreshold,
    RangeThreshold,
    SpotThreshold,
)

#: Every threshold that a config can name, those that calibrate with little to do so.
THRESHOLDS = (
    RangeThreshold(),
    MeanStdThreshold(),
    PercentileThreshold(),
    MadThreshold(),
    LikelihoodThreshold(),
    SpotThreshold(calibration_rows=100),
    DspotThreshold(calibration_rows=100),
)
