"""Types and small tools for all packages: channels, frames, arrays, clock, errors, ring buffer, persistent state.

Nothing here deals with anomalies, alerts or MQTT, and no other package of the agent is imported.
"""
