"""The command ``edgewatch``."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.core.errors import EdgewatchError, EnvironmentFault, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config.schema import Config

__all__ = ["main"]

# Before numpy is imported: its linear algebra would start a thread for every core, which nothing here needs.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Commands import what they need when they run: the daemon starts without what only replay uses, and `--help` at once.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives its exit code: 0 fine, 1 internal error, 2 the user's mistake, 3 the environment's."""
    options = _parser().parse_args(arguments)
    try:
        _log(options)
        return int(options.command(options))
    except EdgewatchError as error:
        print(f"edgewatch: {error}", file=sys.stderr)  # noqa: T201 - the answer to the person who called
        return error.exit_code
    except BrokenPipeError:  # `edgewatch probe | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


def _log(options: argparse.Namespace) -> None:
    level = logging.DEBUG if options.verbose else logging.INFO
    if options.command is _run:
        from agent.service import log_format  # noqa: PLC0415

        log_format.configure(level, as_json=options.log_json)
    else:
        logging.basicConfig(level=level, format="%(levelname)s %(message)s", stream=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgewatch",
        description="Learns what is normal on a machine or a sensor and says so over MQTT when it no longer is.",
    )
    parser.add_argument("--version", action="version", version=f"edgewatch {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="log more")
    configured = argparse.ArgumentParser(add_help=False, parents=[common])
    configured.add_argument("--config", type=Path, metavar="FILE", help="configuration; without it the defaults hold")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", parents=[configured], help="run the daemon")
    run.add_argument("--log-json", action="store_true", help="log JSON, one object a line")
    run.set_defaults(command=_run)
    check = commands.add_parser("check", parents=[configured], help="validate config, bundle, sources and broker")
    check.set_defaults(command=_check)
    probe = commands.add_parser("probe", parents=[configured], help="read the sources and print, publish nothing")
    probe.add_argument("--steps", type=int, default=3, metavar="N", help="how many ticks (default 3)")
    probe.set_defaults(command=_probe)
    discover = commands.add_parser(
        "discover", parents=[common], help="look at this machine and write a configuration for it"
    )
    discover.add_argument("--output", type=Path, metavar="FILE", help="a new file; without it, it is printed")
    discover.add_argument("--broker", default="localhost", metavar="HOST[:PORT]", help="where to listen for readings")
    discover.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how long to listen (default 10)")
    discover.set_defaults(command=_discover)
    watch = commands.add_parser("watch", parents=[configured], help="show a node in the terminal, as it is now")
    watch.add_argument("node", nargs="?", metavar="NODE", help="default: the configuration's")
    watch.add_argument("--svg", type=Path, metavar="FILE", help="wait for an incident, write a picture of it, end")
    watch.set_defaults(command=_watch)
    replay = commands.add_parser("replay", parents=[configured], help="run the production step over a CSV file")
    replay.add_argument("--input", type=Path, required=True, metavar="CSV")
    replay.add_argument("--bundle", type=Path, metavar="DIR", help="models, instead of the config's")
    replay.add_argument("--output", type=Path, metavar="CSV", help="one row a step: scores, expectations, thresholds")
    replay.add_argument("--incidents", type=Path, metavar="JSONL", help="the alerts, one a line")
    replay.add_argument("--plot", type=Path, metavar="FILE", help="a page .html that plays it back, a .png, a .gif")
    replay.add_argument("--held", action="store_true", help="there, also what the alert budget held back")
    replay.set_defaults(command=_replay)
    discovery = commands.add_parser("discovery", parents=[configured], help="what Home Assistant is told of this node")
    discovery.add_argument("action", choices=("show", "remove"))
    discovery.set_defaults(command=_discovery)
    model = commands.add_parser("model", parents=[common], help="show or verify a model bundle")
    model.add_argument("action", choices=("show", "verify"))
    model.add_argument("directory", type=Path, nargs="?", metavar="DIR", help="default: the bundle that ships")
    model.set_defaults(command=_model)
    schema = commands.add_parser("schema", parents=[common], help="print a JSON Schema")
    schema.add_argument(
        "what", choices=("config", "alert", "state", "metrics", "health", "digest", "command", "answer")
    )
    schema.set_defaults(command=_schema)
    return parser


def _config(options: argparse.Namespace) -> Config:
    from agent.config import loader  # noqa: PLC0415

    return loader.load(options.config) if options.config else loader.parse(b"")


def _run(options: argparse.Namespace) -> int:
    import agent.mqtt.slim_paho  # noqa: F401, PLC0415 - first: it spares what others would take along
    from agent.core.clock import SystemClock  # noqa: PLC0415
    from agent.service.daemon import Daemon  # noqa: PLC0415

    faulthandler.enable()  # what a watchdog ends with SIGABRT says where it hung
    clock = SystemClock()
    daemon = Daemon(_config(options), clock, reload=lambda: _config(options))

    def stop(*_: Any) -> None:
        clock.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, lambda *_: daemon.request_reload())
    daemon.run()
    return 0


def _check(options: argparse.Namespace) -> int:
    from agent.cli.check import check  # noqa: PLC0415

    return check(lambda: _config(options), print)


def _probe(options: argparse.Namespace) -> int:
    from agent.cli.check import probe  # noqa: PLC0415

    probe(_config(options), options.steps, print)
    return 0


def _discover(options: argparse.Namespace) -> int:
    from agent.cli.discover import Machine, survey  # noqa: PLC0415

    host, _, port = options.broker.rpartition(":") if ":" in options.broker else (options.broker, "", "1883")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise UserError(f"{options.broker!r} is no broker", location="--broker", remedy="such as localhost:1883")
    if options.output and options.output.exists():
        raise UserError("is there already", location=str(options.output), remedy="name another file, or remove it")
    machine = Machine(broker=(host, int(port)), listen_s=max(options.seconds, 0.0))
    text = survey(machine, lambda line: print(line, file=sys.stderr))  # noqa: T201 - progress, for a person
    if not options.output:
        print(text, end="")  # noqa: T201 - what was asked for
        return 0
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror}", location=str(options.output), remedy="name a file in another folder"
        ) from error
    print(f"{options.output} is written; next: edgewatch check --config {options.output}")  # noqa: T201
    return 0


def _watch(options: argparse.Namespace) -> int:
    try:
        from agent.cli import watch as cli_watch  # noqa: PLC0415
    except ImportError as error:
        raise EnvironmentFault(f"{error.name} is not installed", remedy="pip install 'edgewatch[watch]'") from error
    config = _config(options)
    node = options.node or config.node
    if options.svg:
        options.svg.write_text(cli_watch.picture_of_incident(config.mqtt, node), encoding="utf-8")
        return 0
    hint = "Ctrl-C ends the view" if config.mqtt.metrics_interval_s else _NO_METRICS
    cli_watch.watch(config.mqtt, node, hint=hint)
    return 0


_NO_METRICS = "Ctrl-C ends the view · channels are shown where the agent has mqtt: {metrics_interval_s: 1}"


def _replay(options: argparse.Namespace) -> int:
    from agent.cli.replay import replay  # noqa: PLC0415

    print(  # noqa: T201 - what was asked for
        replay(
            _config(options),
            options.input,
            bundle_directory=options.bundle,
            output=options.output,
            incidents=options.incidents,
            held=options.held,
            plot=options.plot,
        )
    )
    return 0


def _discovery(options: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415

    from agent.integrations.home_assistant import Discovery  # noqa: PLC0415
    from agent.messages.topics import (  # noqa: PLC0415
        RETAINED,
        topic,
    )
    from agent.mqtt.one_shot import clear  # noqa: PLC0415 - the same

    config = _config(options)
    discovery = Discovery(config.mqtt, config.node)
    if options.action == "show":
        print(msgspec.json.format(discovery.payload, indent=2).decode())  # noqa: T201
        return 0
    kept = [topic(config.mqtt.prefix, config.node, leaf) for leaf in RETAINED]
    clear(config.mqtt, config.node, [discovery.topic, *kept])
    print(  # noqa: T201
        f"{config.node} is removed from Home Assistant, and the broker keeps nothing of it; "
        "an agent that still runs says all of it again"
    )
    return 0


def _model(options: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415

    from agent.models import loader as models_loader  # noqa: PLC0415

    directory = options.directory or models_loader.builtin_directory()
    loaded = models_loader.load(directory)
    if options.action == "verify":
        print(f"{directory}: {loaded.label} is whole and answers as recorded")  # noqa: T201
        return 0
    manifest = msgspec.to_builtins(loaded.manifest)
    del manifest["golden"]
    print(msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode())  # noqa: T201
    return 0


def _schema(options: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415

    from agent.config import json_schema as config_json_schema  # noqa: PLC0415
    from agent.core import json_schema  # noqa: PLC0415 - the same
    from agent.messages import command  # noqa: PLC0415 - the same
    from agent.messages.alert import Alert, Digest  # noqa: PLC0415 - the same
    from agent.messages.status import Health, Metrics, NodeState  # noqa: PLC0415 - the same

    payloads: dict[str, Any] = {
        "alert": Alert,
        "state": NodeState,
        "metrics": Metrics,
        "health": Health,
        "digest": Digest,
        "command": command.Command,
        "answer": command.Answer,
    }
    schema = (
        config_json_schema.config_schema() if options.what == "config" else json_schema.schema(payloads[options.what])
    )
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    print(msgspec.json.format(msgspec.json.encode(schema), indent=2).decode())  # noqa: T201
    return 0
