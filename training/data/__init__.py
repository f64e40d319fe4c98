"""Readers of data files: any supported format becomes a recording on a regular time grid.

Data may be larger than memory. Scaling, splitting and detection happen elsewhere.
"""
