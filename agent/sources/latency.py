"""Response times of other machines and services: TCP connections, HTTP requests, ICMP echoes.

Targets are probed in parallel: TCP and ICMP in one selector loop, HTTP in a thread for each target. A hanging target
delays no other. Name resolution is not part of the measurement and delays a read by a second at most.
"""

from __future__ import annotations

import logging
import re
import selectors
from time import monotonic
from typing import (
    TYPE_CHECKING,
    Annotated,
    Literal,
)
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.sources.base import SourceConfig
from agent.sources.latency_probes import HttpProbe, IcmpProbe, Peer, TcpProbe, look_up

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from agent.sources.latency_probes import Probe


__all__ = ["LatencyConfig", "LatencySource", "LatencyTarget"]

_LOG = logging.getLogger(__name__)

# Name of a target, which becomes a part of the channel's name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# host:port, with an IPv6 address in brackets.
_TCP = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>\d{1,5})", re.ASCII)
_HOST = re.compile(r"[^\s/\[\]]+", re.ASCII)
# Excludes blanks and line breaks, which could alter the request.
_PRINTABLE = re.compile(r"[!-~]+")


class LatencyTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to probe; exactly one of `tcp`, `http` and `icmp` is given."""

    name: Annotated[
        str, Meta(description="Name of the target, of letters, digits, `_` and `-`; the channel is `latency.<name>`.")
    ]
    tcp: Annotated[
        str, Meta(description="Host and port, `host:port` or `[fe80::1]:53`: time until the connection is established.")
    ] = ""
    http: Annotated[
        str, Meta(description="URL, http or https: time from connecting to the last header of the response.")
    ] = ""
    icmp: Annotated[str, Meta(description="Host or address: round-trip time of an echo.")] = ""
    method: Annotated[
        Literal["HEAD", "GET"], Meta(description="HTTP method; `GET` is for servers that do not support `HEAD`.")
    ] = "HEAD"
    timeout_s: Annotated[
        float,
        Meta(
            gt=0, le=60, description="Time-out in seconds; a target that does not answer in time reads as this number."
        ),
    ] = 2.0


class LatencyConfig(SourceConfig, frozen=True):
    """Keys of the `latency` source."""

    targets: Annotated[
        tuple[LatencyTarget, ...], Meta(max_length=64, description="Targets to probe, at least one.")
    ] = ()


class LatencySource:
    """Probes every target once a read.

    Raises
    ------
    UserError
        A target is invalid, or the kernel does not permit ICMP to this user.
    """

    Config: ClassVar[type[SourceConfig]] = LatencyConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: LatencyConfig, interval_s: float) -> None:  # noqa: ARG002 - each target has a time-out
        if not config.targets:
            raise UserError(
                "no targets", location="$.targets", remedy="add one, such as {name: gateway, tcp: '192.168.1.1:53'}"
            )
        self._probes = [_probe(target, f"$.targets[{index}]") for index, target in enumerate(config.targets)]
        names = [target.name for target in config.targets]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise UserError(
                    f"two targets are called {name!r}", location=f"$.targets[{index}].name", remedy="rename one of them"
                )
        self.channels: tuple[Channel, ...] = tuple(
            Channel(f"latency.{name}", unit="ms", effect=2.0, log_reference=0.5, minimum=0.0) for name in names
        )
        self._failed: set[str] = set()

    def read(self) -> Sequence[float]:
        """Return milliseconds for each target: its time-out if it did not answer, NaN if it refused or failed."""
        look_up([probe.peer for probe in self._probes])
        with selectors.DefaultSelector() as selector:
            try:
                # HTTP comes last, because its threads would delay the others. Serving after each start takes an early
                # answer at once; starting the next probe first would add to its time.
                for probe in sorted(self._probes, key=lambda probe: isinstance(probe, HttpProbe)):
                    probe.start(selector)
                    _serve(selector, 0.0)
                self._wait(selector)
            finally:
                for probe in self._probes:
                    probe.fail("stopped")
        for probe in self._probes:
            self._report(probe)
        return [probe.milliseconds for probe in self._probes]

    def close(self) -> None:
        """No-op: nothing stays open between reads, and a read in progress ends by its time-outs."""

    def _wait(self, selector: selectors.BaseSelector) -> None:
        """Serve the probes until each has ended or timed out."""
        started = monotonic()
        while waiting := [probe for probe in self._probes if not probe.ended.is_set()]:
            remaining_s = max(min(probe.timeout_s for probe in waiting) - (monotonic() - started), 0.0)
            # Without sockets only HTTP probes are left; their threads set `ended`.
            if not _serve(selector, remaining_s):
                waiting[0].ended.wait(remaining_s)
            elapsed_s = monotonic() - started
            for probe in waiting:
                if elapsed_s >= probe.timeout_s:
                    probe.time_out()

    def _report(self, probe: Probe) -> None:
        """Log the first failure of each target."""
        if probe.failure and probe.name not in self._failed:
            self._failed.add(probe.name)
            _LOG.warning("latency.%s: %s", probe.name, probe.failure)


def _serve(selector: selectors.BaseSelector, timeout_s: float) -> bool:
    """Continue the probes whose sockets are ready within the time-out; False if no socket is registered."""
    if not selector.get_map():
        return False
    for key, _ in selector.select(timeout_s):
        key.data(key.fileobj)
    return True


# Probes from the configuration.


def _probe(target: LatencyTarget, location: str) -> Probe:
    """Make the probe of a target.

    Raises
    ------
    UserError
        At the invalid key.
    """
    if not _NAME.fullmatch(target.name):
        raise UserError(
            f"{target.name!r} cannot be part of a channel's name",
            location=f"{location}.name",
            remedy="use at most 64 letters, digits, _ and -",
        )
    given = [kind for kind in ("tcp", "http", "icmp") if getattr(target, kind)]
    if len(given) != 1:
        raise UserError(
            f"{' and '.join(given)} at once" if given else "nothing to probe",
            location=location,
            remedy="give exactly one of tcp, http and icmp",
        )
    make = {"tcp": _tcp_probe, "http": _http_probe, "icmp": _icmp_probe}[given[0]]
    return make(target, f"{location}.{given[0]}")


def _tcp_probe(target: LatencyTarget, location: str) -> Probe:
    match = _TCP.fullmatch(target.tcp)
    if match is None:
        raise UserError(
            f"{target.tcp!r} is not host:port",
            location=location,
            remedy="give an address such as 192.168.1.1:53, or [fe80::1]:53 for IPv6",
        )
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise UserError(f"port must be 1 to 65535: {port}", location=location, remedy="give the port of the service")
    return TcpProbe(target.name, target.timeout_s, Peer(match["v6"] or match["host"], port))


def _http_probe(target: LatencyTarget, location: str) -> Probe:
    remedy = "give a URL such as http://192.168.1.10:8080/health"
    try:
        url = urlsplit(target.http)
        port = url.port
    except ValueError as error:
        raise UserError(f"{target.http!r} is not a URL: {error}", location=location, remedy=remedy) from error
    if url.scheme not in {"http", "https"} or not url.hostname or port == 0 or not _PRINTABLE.fullmatch(target.http):
        raise UserError(f"{target.http!r} is not an http or https URL", location=location, remedy=remedy)
    if url.username is not None:
        raise UserError(
            "the URL contains a user name or password", location=location, remedy="probe a page that needs no password"
        )
    return HttpProbe(target.name, target.timeout_s, url, target.method)


def _icmp_probe(target: LatencyTarget, location: str) -> Probe:
    if not _HOST.fullmatch(target.icmp):
        raise UserError(
            f"{target.icmp!r} is not a host", location=location, remedy="give a name or an address, without a port"
        )
    try:
        return IcmpProbe(target.name, target.timeout_s, Peer(target.icmp, 0))
    except PermissionError as error:
        raise UserError(
            "the kernel does not permit this user to send ICMP echoes (net.ipv4.ping_group_range)",
            location=location,
            remedy='run sysctl -w net.ipv4.ping_group_range="0 2147483647", or probe a port with tcp',
        ) from error
    except OSError as error:
        raise UserError(
            f"ICMP is not available on this machine: {error}", location=location, remedy="probe a port with tcp"
        ) from error
