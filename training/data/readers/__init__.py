"""Readers of data sets, one file a format; `registry` finds the one for a path.

A reader gives recordings as they are in the file. It does not resample or label beyond what the file says.
"""
