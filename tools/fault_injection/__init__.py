"""Kills, full disks, dead links, damage and a long time, done to the agent on purpose.

``python -m tools.fault_injection NAME`` prints what was promised and what was found, and fails where they differ.
"""
