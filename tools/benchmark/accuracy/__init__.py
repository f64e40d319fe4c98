"""Benchmarks of detection accuracy, one file a data set or experiment.

Time and memory are measured in `tools.benchmark.cost`.
"""
