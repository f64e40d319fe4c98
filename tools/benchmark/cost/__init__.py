"""Benchmarks of time, memory and scale, one file each.

They measure what running costs, not what is found.
"""
