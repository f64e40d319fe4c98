"""``python -m tools.dashboard``: a page of all agents on a broker, for a browser or a phone."""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import loader
from agent.core.errors import EdgewatchError, EnvironmentFault, UserError
from agent.mqtt.secrets import secret_in
from agent.mqtt.settings import MqttConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["DEFAULT_PORT", "main"]

#: Where the page is unless told otherwise.
DEFAULT_PORT = 8321
_LOOPBACK = "127.0.0.1"
_ROOT = Path(__file__).parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; gives 0, or the exit code of what failed."""
    options = _parser().parse_args(arguments)
    try:
        _serve(options)
    except EdgewatchError as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.dashboard", description=__doc__)
    parser.add_argument(
        "--config",
        type=Path,
        default=_ROOT / "config.yaml",
        metavar="FILE",
        help="an agent's; its section mqtt says which broker",
    )
    parser.add_argument(
        "--broker", metavar="HOST[:PORT]", help="another broker, without the configuration's account and TLS"
    )
    parser.add_argument("--host", default=_LOOPBACK, help="address to listen on; loopback by default")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"{DEFAULT_PORT} by default")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="ask visitors for what its first line says")
    return parser


def _serve(options: argparse.Namespace) -> None:
    mqtt = loader.load(options.config).mqtt
    if options.broker:
        mqtt = _elsewhere(mqtt, options.broker)
    password = None
    if options.password_file is not None:
        password = secret_in(options.password_file, "--password-file")
    _check_address(options.host, options.port)
    try:
        from tools.dashboard import site  # noqa: PLC0415 - what is wrong with the options is said at once
    except ImportError as error:
        raise EnvironmentFault(f"{error.name} is not installed", remedy="pip install 'edgewatch[tools]'") from error
    here = f"http://{options.host}:{options.port}"
    if password is None and not ipaddress.ip_address(socket.gethostbyname(options.host)).is_loopback:
        print("dashboard: everybody who reaches this address may look; --password-file asks for one", file=sys.stderr)
    print(f"dashboard: {here} · broker {mqtt.address[0]}:{mqtt.address[1]} · Ctrl-C ends it", flush=True)
    site.serve(mqtt, options.host, options.port, password)


def _elsewhere(mqtt: MqttConfig, broker: str) -> MqttConfig:
    host, _, port = broker.rpartition(":") if ":" in broker else (broker, "", "")
    if port and not port.isdigit():
        raise UserError(f"port {port} is no number", location="--broker", remedy="say HOST or HOST:PORT")
    return MqttConfig(host=host.strip("[]"), port=int(port) if port else None, prefix=mqtt.prefix)


def _check_address(host: str, port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise EnvironmentFault(
            f"cannot listen on {host}:{port}: {error}", remedy="choose another with --host and --port"
        ) from error


if __name__ == "__main__":
    raise SystemExit(main())
