"""From verdicts to alerts: confirmation, incidents, classification, the alert budget, silences, hard limits.

It decides which alerts are sent and writes them; `agent.delivery` delivers them.
"""
