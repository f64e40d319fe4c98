"""Benchmarks of detection: one file a public data set or question.

They measure what is found; time and memory are measured in `tools.benchmark.cost`.
"""
