from __future__ import annotations

from agent.messages.status import Health, NodeState

STATE = NodeState(1, "pi4", "anomalous", 1.0, 1.0, 0.9991, 0.25, 0.995, 0.5, True, 12, ("pi4-7f3a-000001",), 3)
HEALTH = Health(
    v=1,
    node="pi4",
    ts=1.0,
    version="0.1.0",
    model="default@1.0.0",
    uptime_s=1.0,
    clock_synced=True,
    interval_s=1.0,
    steps=10,
    missed_ticks=2,
    step_ms_p50=0.3,
    step_ms_p99=0.9,
    invalid_readings=0,
    source_failures={"host": 1, "latency": 4},
    outbox_depth=3,
    outbox_durable=True,
    dropped=0,
    reconnects=1,
    rss_mib=57.5,
    suppressed=6,
)
