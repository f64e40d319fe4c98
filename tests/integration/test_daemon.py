"""The daemon as a process: start, reload, refusal of mistakes, and recovery."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from tests.support.paths import ROOT
from tests.support.waiting import HUNG_S, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HUNG_S,
    )


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("intervall_s: 2", 2, "c.yaml:1: $.intervall_s: unknown key; did you mean 'interval_s'?"),
        ("models: [/nowhere]", 2, "/nowhere/manifest.json: cannot read the bundle's manifest"),
        ("sources: [{type: csv, path: /nowhere.csv}]", 2, "/nowhere.csv"),
        ("mqtt: {password_file: /nowhere}", 2, "$.mqtt.password_file: /nowhere: cannot read the password file"),
        ("sources: [{type: host}, {type: host}]", 2, "comes from two sources"),
        (
            "sources: [{type: host}, {type: latency, targets: [{name: a, tcp: x}]}]",
            2,
            "$.sources[1].targets[0].tcp: 'x' is not host:port",
        ),
    ],
)
def test_a_daemon_that_cannot_work_says_why_and_does_not_start(tmp_path: Path, text: str, code: int, told: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\n{text}\n" if "intervall" not in text else text)
    done = run("run", "--config", str(path))
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_the_agent_never_imports_what_only_training_and_tools_need(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("t,a\n" + "".join(f"{i},{i % 7}\n" for i in range(300)))
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'tensorflow', 'keras', 'pandas', 'rich', 'training', 'tools'}:\n"
        "            raise ImportError('refused: ' + name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from agent.cli.main import main\n"
        f"assert main(['replay', '--input', {str(path)!r}]) == 0\n"
        "import agent.service.daemon, agent.cli.check\n"
        "import agent.sources.host, agent.sources.latency, agent.sources.simulated\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.broker
def test_a_reload_takes_over_what_changed_and_refuses_what_is_wrong(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    path = tmp_path / "config.yaml"
    base = f"node: one\nstate_dir: {tmp_path / 'state'}\ninterval_s: 0.1\nmqtt: {{port: {broker.port}"
    path.write_text(base + "}\n")
    agent = run_agent(path)
    wait_for(lambda: subscriber.on("state"), what="the first state")

    path.write_text("nonsense: 1\n")
    agent.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "nothing was changed" in agent.words(), what="the refusal")

    path.write_text(base + ", metrics_interval_s: 0.1}\n")
    agent.process.send_signal(signal.SIGHUP)
    metrics = wait_for(lambda: subscriber.json("metrics"), what="metrics")
    assert metrics[0]["seq"] > 0  # ticks and ring buffers continued

    path.write_text(base.replace("one", "two") + "}\nsources: [{type: simulated}]\n")
    agent.process.send_signal(signal.SIGHUP)
    wait_for(lambda: [m for m in subscriber.messages if m.topic == "edgewatch/two/state"], what="the new node")
    wait_for(
        lambda: [m for m in subscriber.messages if m.topic == "edgewatch/one/status"][-1].payload == b"offline",
        what="the old node's farewell",
    )
    assert agent.end() == 0


@pytest.mark.broker
def test_a_source_that_hangs_or_raises_never_stops_the_daemon(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"state_dir: {tmp_path / 'state'}\ninterval_s: 0.1\n"
        f"mqtt: {{port: {broker.port}, metrics_interval_s: 0.1, health_interval_s: 0.3}}\n"
        "sources:\n  - {type: simulated, channels: 1}\n"
        f"  - {{type: latency, targets: [{{name: gone, tcp: '127.0.0.1:1', timeout_s: 0.2}}]}}\n"
    )
    agent = run_agent(path)
    metrics = wait_for(lambda: subscriber.json("metrics")[5:], what="metrics")
    assert metrics[-1]["channels"]["latency.gone"]["value"] is None
    assert metrics[-1]["channels"]["simulated.1"]["value"] is not None
    assert agent.end() == 0


@pytest.mark.parametrize("what", ["config", "alert", "state", "metrics", "health", "digest", "command", "answer"])
def test_every_schema_is_a_valid_one(what: str) -> None:
    done = run("schema", what)
    assert done.returncode == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))


@pytest.mark.broker
def test_what_is_published_fits_the_published_schemas(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    rows = "".join(f"{i},{500 if 150 <= i < 170 else 20 + i % 5}\n" for i in range(220))
    (tmp_path / "r.csv").write_text("t,oven\n" + rows)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"state_dir: {tmp_path / 'state'}\ninterval_s: 0.01\nsources: [{{type: csv, path: {tmp_path / 'r.csv'}}}]\n"
        "detection: {block_s: 0.01}\n"
        f"alerts: {{learning_s: 0, confirm_s: 0.05, clear_s: 0.1, budget_per_day: 1e9}}\n"
        f"mqtt: {{port: {broker.port}, metrics_interval_s: 0.1}}\n"
    )
    agent = run_agent(path)
    assert agent.process.wait(40) == 0
    for what in ("alert", "state", "metrics", "health", "digest"):
        schema = json.loads(run("schema", what).stdout)
        messages = wait_for(lambda what=what: subscriber.json(what), what=what)
        for message in messages:
            jsonschema.validate(message, schema)


def test_probe_prints_readings_and_version_prints_itself() -> None:
    done = run("probe", "--steps", "1")
    assert done.returncode == 0
    assert "memory.percent" in done.stdout
    assert run("--version").stdout.startswith("edgewatch ")
