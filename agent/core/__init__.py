"""Types and small tools that every package uses: channels, frames, arrays, clock, errors, the ring buffer.

It knows nothing of anomalies, alerts or MQTT, and imports no other package of the agent.
"""
