"""Fault injection: kills, full and damaged disks, bad networks, malformed input, and simulated months.

``python -m tools.fault_injection NAME`` runs an experiment, prints figures and promises, and fails if one is broken.
"""
