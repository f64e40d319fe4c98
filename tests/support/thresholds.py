from __future__ import annotations

from typing import get_args

from agent.detection.settings import ThresholdConfig

#: Every threshold that a config can name, with its defaults.
DEFAULT_THRESHOLDS: tuple[ThresholdConfig, ...] = tuple(kind() for kind in get_args(ThresholdConfig))
#: The same; those that calibrate have little to do so.
THRESHOLDS: tuple[ThresholdConfig, ...] = tuple(
    kind(calibration_rows=100) if "calibration_rows" in kind.__struct_fields__ else kind()
    for kind in get_args(ThresholdConfig)
)
