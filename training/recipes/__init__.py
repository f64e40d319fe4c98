"""Whole procedures: fit a bundle to recordings, or build the universal one.

A recipe puts the other packages in order and contains no arithmetic of its own.
"""
