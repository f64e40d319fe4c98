"""The command ``edgewatch``: parser and short commands."""

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

# Set before numpy is imported: its linear algebra would start a thread for every core, which the agent does not need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Commands import their modules when they run: the daemon saves the memory of the others, and `--help` is fast.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 success, 1 internal error, 2 user error, 3 environment fault."""
    options = _parser().parse_args(arguments)
    try:
        _log(options)
        return int(options.command(options))
    except EdgewatchError as error:
        print(f"edgewatch: {error}", file=sys.stderr)  # noqa: T201 - for the user
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
        description="Learns what is normal for a machine or its sensors and raises alerts over MQTT.",
    )
    parser.add_argument("--version", action="version", version=f"edgewatch {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="log more")
    configured = argparse.ArgumentParser(add_help=False, parents=[common])
    configured.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration file (default: built-in defaults)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", parents=[configured], help="run the daemon")
    run.add_argument("--log-json", action="store_true", help="log JSON, one object a line")
    run.set_defaults(command=_run)
    check = commands.add_parser("check", parents=[configured], help="check configuration, models, sources and broker")
    check.set_defaults(command=_check)
    probe = commands.add_parser(
        "probe", parents=[configured], help="read the sources and print the readings, without a broker"
    )
    probe.add_argument("--steps", type=int, default=3, metavar="N", help="number of ticks (default 3)")
    probe.set_defaults(command=_probe)
    discover = commands.add_parser(
        "discover", parents=[common], help="find sources on this machine and write a configuration"
    )
    discover.add_argument("--output", type=Path, metavar="FILE", help="file to create (default: print)")
    discover.add_argument(
        "--broker", default="localhost", metavar="HOST[:PORT]", help="broker to search for readings (default localhost)"
    )
    discover.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="time to listen at the broker (default 10)"
    )
    discover.set_defaults(command=_discover)
    watch = commands.add_parser("watch", parents=[configured], help="show a node live in the terminal")
    watch.add_argument("node", nargs="?", metavar="NODE", help="node (default: the configuration's)")
    watch.add_argument("--svg", type=Path, metavar="FILE", help="wait for an incident, write a picture of it and exit")
    watch.set_defaults(command=_watch)
    replay = commands.add_parser("replay", parents=[configured], help="run detection over a CSV file")
    replay.add_argument("--input", type=Path, required=True, metavar="CSV", help="recording to replay")
    replay.add_argument("--bundle", type=Path, metavar="DIR", help="model bundle (default: the configuration's)")
    replay.add_argument(
        "--output", type=Path, metavar="CSV", help="write scores, expectations and thresholds, one row a tick"
    )
    replay.add_argument("--incidents", type=Path, metavar="JSONL", help="write the alerts, one a line")
    replay.add_argument("--plot", type=Path, metavar="FILE", help="draw the replay: .html (interactive), .png or .gif")
    replay.add_argument("--held", action="store_true", help="add suppressed incidents to --incidents")
    replay.set_defaults(command=_replay)
    discovery = commands.add_parser(
        "discovery", parents=[configured], help="show or remove this node's entry in Home Assistant"
    )
    discovery.add_argument("action", choices=("show", "remove"))
    discovery.set_defaults(command=_discovery)
    model = commands.add_parser("model", parents=[common], help="show or verify a model bundle")
    model.add_argument("action", choices=("show", "verify"))
    model.add_argument("directory", type=Path, nargs="?", metavar="DIR", help="bundle (default: the built-in one)")
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
    import agent.mqtt.slim_paho  # noqa: F401, PLC0415 - before paho: reduces its imports
    from agent.core.clock import SystemClock  # noqa: PLC0415
    from agent.service.daemon import Daemon  # noqa: PLC0415

    faulthandler.enable()  # prints the stack when a watchdog sends SIGABRT
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
        raise UserError(
            f"{options.broker!r} is not HOST or HOST:PORT",
            location="--broker",
            remedy="give an address such as localhost:1883",
        )
    if options.output and options.output.exists():
        raise UserError(
            "the file exists already", location=str(options.output), remedy="name another file, or remove it"
        )
    machine = Machine(broker=(host, int(port)), listen_s=max(options.seconds, 0.0))
    text = survey(machine, lambda line: print(line, file=sys.stderr))  # noqa: T201 - progress for the user
    if not options.output:
        print(text, end="")  # noqa: T201 - the command's output
        return 0
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror}", location=str(options.output), remedy="name a file in another folder"
        ) from error
    print(f"wrote {options.output}; next, run: edgewatch check --config {options.output}")  # noqa: T201
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
    hint = "press Ctrl-C to exit" if config.mqtt.metrics_interval_s else _NO_METRICS
    cli_watch.watch(config.mqtt, node, hint=hint)
    return 0


_NO_METRICS = "press Ctrl-C to exit · to see channels, set mqtt: {metrics_interval_s: 1} in the agent's configuration"


def _replay(options: argparse.Namespace) -> int:
    from agent.cli.replay import replay  # noqa: PLC0415

    print(  # noqa: T201 - the command's output
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
        f"removed {config.node} from Home Assistant and deleted its retained messages; "
        "a running agent publishes them again"
    )
    return 0


def _model(options: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415

    from agent.models import loader as models_loader  # noqa: PLC0415

    directory = options.directory or models_loader.builtin_directory()
    loaded = models_loader.load(directory)
    if options.action == "verify":
        print(f"{directory}: {loaded.label} is complete and reproduces its recorded outputs")  # noqa: T201
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
