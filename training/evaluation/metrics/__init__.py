"""Measures of detection: points, events, rankings, NAB's score; one file a family.

They take scores and labels as arrays, and know neither models nor files.
"""
