"""One connection to a broker: sessions, TLS, passwords, a subscriber, and a client for many small messages.

Only this package and `agent.sources.mqtt` import paho. It moves bytes and does not know what an alert is.
"""
