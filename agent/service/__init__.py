"""The daemon: pipeline, checkpoints, snapshot files, memory, the format of log lines.

It wires the other packages and keeps them running. It contains no arithmetic of detection and no format of messages.
"""
