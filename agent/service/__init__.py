"""The daemon: pipeline, checkpoints, snapshot files, process memory and log format.

It wires the other packages and keeps them running. Detection and message formats are defined elsewhere.
"""
