"""From verdicts to alerts: confirmation, incidents, classification, the alert budget, silences, hard limits.

It decides what people are told and words it. It does not deliver: alerts go to `agent.delivery`.
"""
