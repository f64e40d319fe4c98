"""Does to the agent what the world does: kills, full disks, dead links, damage, nonsense, and a long time.

``python -m tools.torture NAME`` prints what was promised and what was found, and fails where they differ.
"""
