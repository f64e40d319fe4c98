"""Names of the networks' inputs, as bundles list them, and the memory of the normalisation."""

from __future__ import annotations

__all__ = ["FEATURES", "LEVEL", "NORMALISATION_ROWS", "SEASON_FEATURES", "TIME_FEATURES"]

# Names and order of the universal forecaster's inputs, recorded in its bundle.
FEATURES = ("level", "change", "dispersion")
# And of what the channel was a day and a week before the row that is to come.
SEASON_FEATURES = ("day", "day_change", "day_known", "week", "week_known")
# What a trained forecaster sees of a channel.
LEVEL = "level"
# Seconds of the cycle behind each feature of the time. Days begin at midnight UTC, weeks on Monday.
TIME_FEATURES = {"hour_sin": 86400.0, "hour_cos": 86400.0, "weekday_sin": 604800.0, "weekday_cos": 604800.0}
# Memory of the running normalisation in rows: short enough to follow a day's drift, long enough to be a scale.
NORMALISATION_ROWS = 600
