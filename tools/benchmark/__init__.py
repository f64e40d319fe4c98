"""Benchmarks of accuracy and cost. Times are compared as ratios, measured in turn within one run."""
