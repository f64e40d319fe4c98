"""Names of the networks' inputs, as listed in bundles, and the memory of the normalisation."""

from __future__ import annotations

__all__ = ["FEATURES", "LEVEL", "NORMALISATION_ROWS", "SEASON_FEATURES", "TIME_FEATURES"]

# Inputs of the universal forecaster in their order, part 1; see `agent.detection.normaliser`.
FEATURES = ("level", "change", "dispersion")
# Part 2: values a day and a week before the predicted row; see `agent.detection.seasonality`.
SEASON_FEATURES = ("day", "day_change", "day_known", "week", "week_known")
# Input of a fitted forecaster per channel.
LEVEL = "level"
# Period in seconds of each time feature of fitted forecasters. Days begin at midnight UTC, weeks on Monday.
TIME_FEATURES = {"hour_sin": 86400.0, "hour_cos": 86400.0, "weekday_sin": 604800.0, "weekday_cos": 604800.0}
# Memory of the running normalisation, rows: follows a day's drift, yet gives a stable scale. The universal networks
# were trained with it.
NORMALISATION_ROWS = 600
