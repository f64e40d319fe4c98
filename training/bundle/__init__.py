"""Model bundles: the writer, calibration of thresholds, and quality of the universal networks."""
