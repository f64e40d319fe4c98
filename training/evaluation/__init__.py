"""Evaluation of detection: the agent's own step and baselines over labelled recordings, and the results."""
