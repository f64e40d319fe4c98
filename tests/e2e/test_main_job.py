"""The main job: an anomaly of a machine leads to an alert at any subscriber."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent.messages.alert import Alert
from agent.messages.status import Health, Metrics, NodeState
from tests.support.machine import need_idle_processor
from tests.support.paths import ROOT
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.broker

FAST = "{learning_s: 0, confirm_s: 0.5, clear_s: 1.0, cooldown_s: 1.0, budget_per_day: 1e9}"


def write_config(folder: Path, port: int, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(f"node: test\nstate_dir: {folder / 'state'}\nmqtt: {{port: {port}, {text}", encoding="utf-8")
    return path


def write_csv(path: Path, rows: int, bad: range) -> None:
    lines = ["time,oven,pump"]
    for row in range(rows):
        oven = 300.0 if row in bad else 200.0 + (row * 7 % 5) * 0.5
        lines.append(f"{1_700_000_000 + row},{oven},{20 + (row * 3 % 4) * 0.1}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def phases(alerts: list[dict[str, Any]]) -> list[str]:
    return [alert["phase"] for alert in alerts]


def test_burning_the_cpu_opens_an_incident_that_names_it_and_closes_after_it_ends(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    need_idle_processor()
    subscriber = subscribe(broker.port)
    text = (
        f"metrics_interval_s: 0.2}}\ninterval_s: 0.2\ndetection: {{block_s: 0.2, accept_after_s: 20}}\nalerts: {FAST}\n"
    )
    agent = run_agent(write_config(tmp_path, broker.port, text))
    # A hundred readings end the learning time; rates have one reading less.
    wait_for(lambda: [m for m in subscriber.json("metrics")[-1:] if m["seq"] > 110], 60, "the end of learning")
    # Other work on the machine may be an incident of its own first.
    wait_for(
        lambda: subscriber.json("state")[-1]["state"] == "normal", 120, f"a machine without incidents; {agent.words()}"
    )
    onset = time.time()
    subprocess.run(
        [sys.executable, "-m", "tools.stress", "cpu", "--seconds", "6"], cwd=ROOT, check=True, capture_output=True
    )
    named = wait_for(
        lambda: [
            (alert, c)
            for alert in subscriber.json("alert")
            for c in alert["contributors"]
            if c["channel"] == "cpu.percent" and alert["phase"] != "close" and alert["ts"] > onset
        ],
        15,
        f"an alert about the CPU; {agent.words()}",
    )
    alert, contributor = named[0]
    assert alert["ts"] - onset < 15
    assert contributor["value"] >= contributor["upper"] > contributor["expected"]
    assert alert["provisional"]
    assert alert["score"] >= alert["threshold"]
    closing = wait_for(
        lambda: [a for a in subscriber.json("alert") if a["phase"] == "close" and a["incident"] == alert["incident"]],
        60,
        "the incident's end",
    )
    assert closing[0]["reason"] in {"recovered", "accepted"}
    assert agent.end() == 0


def test_what_is_published_is_what_the_contract_says(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    # Long enough for a busy machine: a missed tick would skip a checked message.
    write_csv(tmp_path / "plant.csv", 220, range(150, 170))
    text = (
        f"metrics_interval_s: 0.2}}\ninterval_s: 0.1\nsources: [{{type: csv, path: {tmp_path / 'plant.csv'}}}]\n"
        "detection: {block_s: 0.1}\n"
        "alerts: {learning_s: 0, confirm_s: 0.5, clear_s: 1.0, budget_per_day: 1e9}\n"
    )
    subscriber = subscribe(broker.port)
    agent = run_agent(write_config(tmp_path, broker.port, text))
    wait_for(lambda: "offline" in subscriber.texts("status"), 120, f"the end of the recording; {agent.words()}")
    assert agent.process.wait(20) == 0

    alerts = [msgspec.json.decode(m.payload, type=Alert) for m in subscriber.on("alert")]
    assert alerts[0].phase == "open"
    assert alerts[-1].phase == "close"
    assert [alert.seq for alert in alerts] == list(range(alerts[0].seq, alerts[0].seq + len(alerts)))
    assert len({alert.id for alert in alerts}) == len(alerts)
    assert {alert.incident for alert in alerts} == {alerts[0].id}
    assert all(alert.id.startswith(alerts[0].id) for alert in alerts)
    assert alerts[0].contributors[0].channel == "oven"
    assert alerts[0].contributors[0].value == pytest.approx(300.0)
    assert "oven 300 (expected" in alerts[0].summary
    assert all(m.qos == 1 and not m.retain for m in subscriber.on("alert"))
    assert subscriber.on("alert")[0].properties.ContentType == "application/json"
    assert subscriber.on("alert")[0].properties.MessageExpiryInterval > 0

    states = [msgspec.json.decode(m.payload, type=NodeState) for m in subscriber.on("state")]
    assert [s for i, s in enumerate(x.state for x in states) if not i or states[i - 1].state != s] == [
        "learning",
        "normal",
        "anomalous",
        "normal",
    ]
    metrics = [msgspec.json.decode(m.payload, type=Metrics) for m in subscriber.on("metrics")]
    assert set(metrics[-1].channels) == {"oven", "pump"}
    assert metrics[-1].channels["oven"].expected == pytest.approx(201.0, abs=2.0)
    health = msgspec.json.decode(subscriber.on("health")[0].payload, type=Health)
    assert health.model == "default@1.0.0"
    assert subscriber.texts("status") == ["online", "offline"]


def test_status_is_offline_within_two_seconds_of_an_interrupt(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    agent = run_agent(write_config(tmp_path, broker.port, "keepalive_s: 5}\n"))
    wait_for(lambda: "online" in subscriber.texts("status"), what="the birth message")
    begin = time.monotonic()
    agent.process.send_signal(2)
    assert agent.process.wait(5) == 0
    assert time.monotonic() - begin < 2.0
    wait_for(lambda: subscriber.texts("status")[-1] == "offline", 2, "the farewell")
    late = subscribe(broker.port)
    wait_for(lambda: late.texts("status") == ["offline"], 2, "the retained farewell")


def test_the_last_will_says_offline_when_the_agent_is_killed(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    agent = run_agent(write_config(tmp_path, broker.port, "keepalive_s: 5}\n"))
    wait_for(lambda: "online" in subscriber.texts("status"), what="the birth message")
    agent.process.kill()
    wait_for(lambda: subscriber.texts("status")[-1] == "offline", 10, "the last will")


def test_an_alert_raised_while_the_broker_is_away_arrives_once_it_is_back(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    write_csv(tmp_path / "plant.csv", 5000, range(150, 180))
    text = (
        f"keepalive_s: 5}}\ninterval_s: 0.02\nsources: [{{type: csv, path: {tmp_path / 'plant.csv'}}}]\n"
        "detection: {block_s: 0.02}\n"
        "alerts: {learning_s: 0, confirm_s: 0.1, clear_s: 0.2, budget_per_day: 1e9}\n"
    )
    subscriber = subscribe(broker.port)
    agent = run_agent(write_config(tmp_path, broker.port, text))
    wait_for(lambda: "online" in subscriber.texts("status"), what="the birth message")
    broker.stop()
    wait_for(lambda: "close" in agent.words(), what="the incident's end in the log")
    assert not subscriber.on("alert")
    broker.start()
    later = subscribe(broker.port)
    alerts = wait_for(lambda: later.json("alert") if len(later.on("alert")) > 1 else None, what="the alerts")
    assert phases(alerts)[0] == "open"
    assert phases(alerts)[-1] == "close"
    assert all(alert["replayed"] for alert in alerts)
    assert agent.end() == 0
