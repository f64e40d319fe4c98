"""What ``make run`` runs: the agent on this machine, a broker if there is none, and two live views; Ctrl-C ends it all.

One view is here in the terminal, the other a page for a browser.

The agent is the real daemon with the repository's ``config.yaml``, but for a shorter silence while learning and with
its metrics published, so that there is something to see within seconds.
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
_LEARNING_S = 90.0
_BLOCK_S = 1.0  # an anomaly shows within seconds, at the price of a few more alerts
_BUDGET = 1000.0  # who tries it out wants to see every anomaly
_METRICS_S = 1.0
# Shorter than what a tick waits for its sources, so that a slow service shows at every tick.
_PROBE_S = 0.2
_HEALTH_S = 10.0
_START_S = 15.0
_AGENT_END_S = 1.4
_BROKER_END_S = 0.4
_PAGE_END_S = 0.4
_LOOPBACK = "127.0.0.1"


class _Child:
    """A process of the demo: out of reach of the terminal's Ctrl-C, ended in order, its words kept in a file."""

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
        """Ask it to stop, insist after a while; gives its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def words(self) -> str:
        """The last lines it wrote."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until Ctrl-C; gives 0, or the exit code of what failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("--config", type=Path, default=_ROOT / "config.yaml", metavar="FILE")
    options = parser.parse_args(arguments)
    # SIGINT too: a shell that starts a job in the background makes it deaf to Ctrl-C.
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
        own = host in _LOCAL and not listens(host, port)
        if own:
            host, port = _LOOPBACK, _bindable(port)
            broker = _Child("tools.demo.embedded_broker", ["--port", str(port)], folder / "broker.log")
            children.append((broker, _BROKER_END_S))
            _await(broker, host, port)
        settings = folder / "config.yaml"
        # A broker of our own asks nobody who he is, and hears nobody from elsewhere: what is said there may be obeyed.
        link = MqttConfig(prefix=config.mqtt.prefix, commands=True) if own else config.mqtt
        link = msgspec.structs.replace(link, host=host, port=port)
        settings.write_text(yaml.safe_dump(_demo_settings(config, folder, link, service)), encoding="utf-8")
        agent = _Child("agent", ["run", "--config", str(settings)], folder / "agent.log")
        children.append((agent, _AGENT_END_S))
        page_port = _bindable(DEFAULT_PORT)
        page = _Child("tools.dashboard", ["--config", str(settings), "--port", str(page_port)], folder / "page.log")
        children.append((page, _PAGE_END_S))
        _await(page, _LOOPBACK, page_port)  # who clicks at once shall find it
        kind = "its own broker" if own else "the broker"
        hint = (
            f"dashboard http://{_LOOPBACK}:{page_port} · {kind} at {host}:{port} · "
            f"mosquitto_sub -h {host} -p {port} -v -t '{config.mqtt.prefix}/#' · "
            f"another terminal: make stress · Ctrl-C ends all"
        )
        watch(link, config.node, agent.runs, hint)
    except KeyboardInterrupt:
        return 0
    else:
        code = agent.end(_AGENT_END_S)
        print(f"the agent ended by itself ({code}); its last words:\n{agent.words()}", file=sys.stderr)
        return code or 1
    finally:
        # The agent first: it has to say `offline` to the broker.
        for child, patience_s in reversed(children):
            child.end(patience_s)
        print("stopped")


def _demo_settings(config: Config, folder: Path, link: MqttConfig, service: tuple[str, int]) -> dict[str, Any]:
    """The user's configuration with the demo's pace, and a service of this machine whose latency is watched."""
    settings: dict[str, Any] = msgspec.to_builtins(config)
    target = {"name": "loopback", "tcp": "{}:{}".format(*service), "timeout_s": _PROBE_S}
    settings["sources"] = [*settings["sources"], {"type": "latency", "targets": [target]}]
    settings["state_dir"] = str(folder / "state")
    settings["detection"] |= {"block_s": _BLOCK_S}
    settings["alerts"] |= {"learning_s": _LEARNING_S, "budget_per_day": _BUDGET}
    paces = {"metrics_interval_s": _METRICS_S, "health_interval_s": _HEALTH_S}
    settings["mqtt"] = msgspec.to_builtins(link) | paces
    return settings


def _bindable(port: int) -> int:
    """The port if it can be had on loopback, else any free one."""
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
            what, words = child.module, child.words()
            raise EnvironmentFault(f"{what} did not start:\n{words}", remedy="see its last words, or run make again")
        time.sleep(0.05)


if __name__ == "__main__":
    raise SystemExit(main())
