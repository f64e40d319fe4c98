"""Offline tools: train, quantise, verify and evaluate the models that the agent runs."""
