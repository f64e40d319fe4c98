"""Simulated series: processes, noise, disturbances, and labelled streams to try detection on.

It makes data; it does not train or evaluate.
"""
