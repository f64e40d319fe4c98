"""The agent's own step over labelled recordings, baselines beside it, and the results.

It measures detection; it neither trains nor draws.
"""
