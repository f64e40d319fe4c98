"""Bundles as the agent reads them: the writer, start values for thresholds, figures of the universal pair.

It does not export networks; it packs and calibrates exported ones.
"""
