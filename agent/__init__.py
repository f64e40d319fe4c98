"""Edgewatch: learns what is normal on a machine or a sensor and says so over MQTT when it no longer is."""

__version__ = "0.1.0"
