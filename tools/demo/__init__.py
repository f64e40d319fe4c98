"""``make run``: the agent on this host with a broker, a live view and a dashboard.

For trying things on one machine; not a way to run the agent for real.
"""
