"""Demo of ``make run``: the agent on this machine, a broker if needed, and two live views; Ctrl-C stops all.

One view is in the terminal, the other is the dashboard.

The agent is the real daemon with the repository's ``config.yaml``, but with a shorter learning time and with published
metrics, so that results appear within seconds.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from agent.cli.watch import watch
from agent.config import loader
from agent.core.errors import EdgewatchError, EnvironmentFault
from agent.mqtt.settings import MqttConfig
from tools.dashboard.__main__ import DEFAULT_PORT
from tools.demo.embedded_broker import listens
from tools.demo.tcp_listener import listening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config.schema import Config

__all__ = ["main"]

_ROOT = Path(__file__).parents[2]
_LOCAL = {"localhost", "127.0.0.1", "::1"}
# Settings of the demo, chosen by hand: seconds, and alerts a day.
_LEARNING_S = 90.0
_BLOCK_S = 1.0  # short blocks detect within seconds, with a few more alerts
_BUDGET = 1000.0  # show every anomaly
_METRICS_S = 1.0
# Timeout of the latency probe, shorter than a tick waits for its sources: a slow service shows at every tick.
_PROBE_S = 0.2
_HEALTH_S = 10.0
# Seconds for a process to start, and to end before it is killed; chosen by hand.
_START_S = 15.0
_AGENT_END_S = 1.4
_BROKER_END_S = 0.4
_PAGE_END_S = 0.4
_LOOPBACK = "127.0.0.1"


class _Child:
    """A process of the demo, in its own session so that Ctrl-C does not reach it, with its output in a file."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        self.module = module
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=_ROOT,
            )

    def runs(self) -> bool:
        return self._process.poll() is None

    def end(self, patience_s: float) -> int:
        """Terminate the process, kill it after ``patience_s``, and return its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def last_lines(self) -> str:
        """Last lines of its output."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until Ctrl-C; return 0, or the exit code of an error."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("--config", type=Path, default=_ROOT / "config.yaml", metavar="FILE")
    options = parser.parse_args(arguments)
    # Restore SIGINT too: background jobs of a shell ignore it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="edgewatch-demo-") as folder:
        try:
            return _run(loader.load(options.config), Path(folder))
        except EdgewatchError as error:
            print(f"demo: {error}", file=sys.stderr)
            return error.exit_code


def _run(config: Config, folder: Path) -> int:
    with listening() as service:
        return _run_beside(service, config, folder)


def _run_beside(service: tuple[str, int], config: Config, folder: Path) -> int:
    children: list[tuple[_Child, float]] = []
    try:
        host, port = config.mqtt.address
        embedded = host in _LOCAL and not listens(host, port)
        if embedded:
            host, port = _LOOPBACK, _bindable(port)
            broker = _Child("tools.demo.embedded_broker", ["--port", str(port)], folder / "broker.log")
            children.append((broker, _BROKER_END_S))
            _await(broker, host, port)
        settings = folder / "config.yaml"
        # The embedded broker has no accounts but listens only on loopback, so commands are allowed.
        link = MqttConfig(prefix=config.mqtt.prefix, commands=True) if embedded else config.mqtt
        link = msgspec.structs.replace(link, host=host, port=port)
        settings.write_text(yaml.safe_dump(_demo_settings(config, folder, link, service)), encoding="utf-8")
        agent = _Child("agent", ["run", "--config", str(settings)], folder / "agent.log")
        children.append((agent, _AGENT_END_S))
        page_port = _bindable(DEFAULT_PORT)
        page = _Child("tools.dashboard", ["--config", str(settings), "--port", str(page_port)], folder / "page.log")
        children.append((page, _PAGE_END_S))
        _await(page, _LOOPBACK, page_port)  # the address is printed next
        broker_name = "its own broker" if embedded else "the broker"
        hint = (
            f"dashboard http://{_LOOPBACK}:{page_port} · {broker_name} at {host}:{port} · "
            f"mosquitto_sub -h {host} -p {port} -v -t '{config.mqtt.prefix}/#' · "
            f"another terminal: make stress · Ctrl-C to stop"
        )
        watch(link, config.node, agent.runs, hint)
    except KeyboardInterrupt:
        return 0
    else:
        code = agent.end(_AGENT_END_S)
        print(f"the agent exited with code {code}; its last output:\n{agent.last_lines()}", file=sys.stderr)
        return code or 1
    finally:
        # The broker last: the agent still publishes `offline`.
        for child, patience_s in reversed(children):
            child.end(patience_s)
        print("stopped")


def _demo_settings(config: Config, folder: Path, link: MqttConfig, service: tuple[str, int]) -> dict[str, Any]:
    """Settings of the agent: the user's configuration, the demo's intervals, and a probe of the local service."""
    settings: dict[str, Any] = msgspec.to_builtins(config)
    target = {"name": "loopback", "tcp": "{}:{}".format(*service), "timeout_s": _PROBE_S}
    settings["sources"] = [*settings["sources"], {"type": "latency", "targets": [target]}]
    settings["state_dir"] = str(folder / "state")
    settings["detection"] |= {"block_s": _BLOCK_S}
    settings["alerts"] |= {"learning_s": _LEARNING_S, "budget_per_day": _BUDGET}
    intervals = {"metrics_interval_s": _METRICS_S, "health_interval_s": _HEALTH_S}
    settings["mqtt"] = msgspec.to_builtins(link) | intervals
    return settings


def _bindable(port: int) -> int:
    """Give the port if it is free on loopback, else another free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _await(child: _Child, host: str, port: int) -> None:
    until = time.monotonic() + _START_S
    while not listens(host, port):
        if not child.runs() or time.monotonic() > until:
            raise EnvironmentFault(
                f"{child.module} did not start:\n{child.last_lines()}", remedy="see its last output, or run make again"
            )
        time.sleep(0.05)


if __name__ == "__main__":
    raise SystemExit(main())
