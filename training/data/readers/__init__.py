"""Readers of data files, one module per format; `registry` finds the one for a path."""
