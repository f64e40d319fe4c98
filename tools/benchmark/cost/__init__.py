"""Benchmarks of time, memory and scale, one file each.

Detection accuracy is measured in `tools.benchmark.accuracy`.
"""
