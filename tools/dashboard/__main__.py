"""``python -m tools.dashboard``: web page of all agents on a broker, for desktop and phone."""

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

#: Default TCP port of the page.
DEFAULT_PORT = 8321
_LOOPBACK = "127.0.0.1"
_ROOT = Path(__file__).parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; return 0, or the exit code of an error."""
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
        help="an agent's configuration; its section mqtt names the broker",
    )
    parser.add_argument(
        "--broker", metavar="HOST[:PORT]", help="another broker, without the configuration's account and TLS"
    )
    parser.add_argument("--host", default=_LOOPBACK, help="address to listen on; loopback by default")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"{DEFAULT_PORT} by default")
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file whose first line is the password of the page"
    )
    return parser


def _serve(options: argparse.Namespace) -> None:
    mqtt = loader.load(options.config).mqtt
    if options.broker:
        mqtt = _with_broker(mqtt, options.broker)
    password = None
    if options.password_file is not None:
        password = secret_in(options.password_file, "--password-file")
    _check_address(options.host, options.port)
    try:
        from tools.dashboard import site  # noqa: PLC0415 - check the options before slow imports
    except ImportError as error:
        raise EnvironmentFault(f"{error.name} is not installed", remedy="pip install 'edgewatch[tools]'") from error
    url = f"http://{options.host}:{options.port}"
    if password is None and not ipaddress.ip_address(socket.gethostbyname(options.host)).is_loopback:
        print(
            "dashboard: anyone who reaches this address has access; set a password with --password-file",
            file=sys.stderr,
        )
    print(f"dashboard: {url} · broker {mqtt.address[0]}:{mqtt.address[1]} · Ctrl-C to stop", flush=True)
    site.serve(mqtt, options.host, options.port, password)


def _with_broker(mqtt: MqttConfig, broker: str) -> MqttConfig:
    host, _, port = broker.rpartition(":") if ":" in broker else (broker, "", "")
    if port and not port.isdigit():
        raise UserError(f"port {port} is not a number", location="--broker", remedy="use HOST or HOST:PORT")
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
