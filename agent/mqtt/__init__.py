"""One connection to a broker: sessions, TLS, passwords, a subscriber, and a client for high message rates.

Only this package imports paho. It transports bytes and knows no message formats.
"""
