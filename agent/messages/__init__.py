"""The payloads and topic names of the MQTT contract: alerts, status, metrics, health, commands.

Subscribers rely on these types: a change here is a change of the contract. Nothing here opens a connection or decides
when a message is sent.
"""
