"""Other systems: Home Assistant, Prometheus, the service manager, and remote commands.

Each is optional and may be absent. Detection and delivery work without this package.
"""
