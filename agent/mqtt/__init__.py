"""One connection to a broker: sessions, TLS, passwords, a subscriber, and a client for many small messages.

Only this package imports paho. It moves bytes and does not know what an alert is.
"""
