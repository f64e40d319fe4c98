"""Recordings on a regular grid, from files of any format, larger than memory if need be.

It reads and resamples; it does not scale, split or judge.
"""
