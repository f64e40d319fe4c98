"""Simulated data: normal processes, noise, disturbances, and labelled streams for trying out detection."""
