"""Delivery of alerts until the broker's acknowledgement: outbox, worker and publisher.

A committed alert survives broker outages and power cuts. Whether an alert is raised is decided elsewhere.
"""
