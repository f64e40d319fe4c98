"""Web dashboard of a fleet of agents: an MQTT client that subscribes to their topics and sends commands."""
