"""``make run``: the agent on this host with a broker, a live view and a dashboard.

For trying out on one machine, not for production.
"""
