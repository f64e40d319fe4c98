"""Integrations: Home Assistant, Prometheus, systemd, and remote commands.

Each is optional. Detection and delivery do not depend on this package.
"""
