"""The command ``discover``: finds sources on this machine and writes a configuration with them."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import socket
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import psutil

from agent.config import loader as configuration
from agent.core.channel import NOBODY
from agent.core.errors import EdgewatchError
from agent.sources.latency import LatencyConfig, LatencySource, LatencyTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.sources.base import Source

__all__ = ["Machine", "survey"]

# Seconds to wait for an answer of the gateway or the broker; chosen by hand.
_ANSWER_S = 1.0
# Channels taken from the broker while listening; chosen by hand.
_MOST_TOPICS = 5000
# First levels of topics without sensor readings: the agent's own, Home Assistant's discovery, the broker's statistics.
_NO_SENSORS = ("edgewatch", "homeassistant", "$SYS")
# Channels or topics listed for a source; chosen by hand.
_SHOWN = 12
_HEAD = """\
# Written by `edgewatch discover` for {name}. Remove the parts that you do not want.
# `edgewatch check --config FILE` tests it, `edgewatch probe --config FILE` prints the readings.
# `edgewatch schema config` lists all keys.

"""


class Machine(NamedTuple):
    """Places to search; tests replace the paths.

    Parameters
    ----------
    sys, proc, dev
        Mount points of the kernel's file systems.
    broker
        Host and port of an MQTT broker.
    listen_s
        Seconds to listen at the broker.
    """

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    dev: Path = Path("/dev")
    broker: tuple[str, int] = ("localhost", 1883)
    listen_s: float = 10.0


def survey(machine: Machine, say: Callable[[str], object]) -> str:
    """Search the machine and return a valid configuration as YAML text.

    Parameters
    ----------
    machine
        Places to search.
    say
        Receives a line on the result of each search.
    """
    with _quiet():
        text = _written(machine, say)
    configuration.parse(text.encode(), "the written configuration")  # checks our own output
    return text


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of sources: a missing device is not a fault here."""
    logger = logging.getLogger("agent")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _written(machine: Machine, say: Callable[[str], object]) -> str:
    sources = [_host(say), _latency(machine, say)]
    sources += [_sensors(name, key, machine.sys / folder, say) for name, key, folder in _SENSORS]
    answers = _answers(machine.broker)
    sources.append(_topics(machine, say) if answers else "")
    sources.append(_ports(machine.dev, say))
    text = _HEAD.format(name=socket.gethostname()) + "sources:\n" + "".join(filter(None, sources))
    return text + _broker(machine.broker, answers=answers, say=say)


# Source, configuration key of its root, and that root below /sys.
_SENSORS = (
    ("hwmon", "root", Path("class")),
    ("iio", "root", Path("bus/iio/devices")),
    ("onewire", "root", Path("bus/w1/devices")),
)


def _host(say: Callable[[str], object]) -> str:
    disks = sorted(name for name in _counters(psutil.disk_io_counters, perdisk=True) if _is_worth(name))
    interfaces = sorted(name for name in _counters(psutil.net_io_counters, pernic=True) if name != "lo")
    say(f"host: disks {_listed(disks)}; interfaces {_listed(interfaces)}")
    return (
        "  # This machine: processor, load, memory, swap, disk, network, processes, temperatures.\n"
        "  - type: host\n"
        "    # Add channels of single devices to the sums over all:\n"
        f"    # disks: {_flow(disks)}\n"
        f"    # interfaces: {_flow(interfaces)}\n"
    )


def _counters(function: Callable[..., Any], **options: bool) -> Iterable[str]:
    try:
        return list(function(**options) or {})
    except (OSError, RuntimeError):  # a container without /proc/diskstats
        return []


def _is_worth(disk: str) -> bool:
    """Whether a device is a whole disk, not a partition or a virtual device."""
    return not re.match(r"(loop|ram|zram|dm-|sr|fd)\d|.*\dp\d+$|[hsv]d[a-z]+\d+$|mmcblk\d+boot", disk)


def _latency(machine: Machine, say: Callable[[str], object]) -> str:
    gateway = _gateway(machine.proc)
    if not gateway:
        say("gateway: no default route")
        return ""
    for how, target in (("icmp", gateway), ("tcp", f"{gateway}:53"), ("tcp", f"{gateway}:80")):
        icmp, tcp = (target, "") if how == "icmp" else ("", target)
        if _responds(LatencyTarget("gateway", tcp=tcp, icmp=icmp, timeout_s=_ANSWER_S)):
            say(f"gateway: {target} answers by {how}")
            return (
                "  # Response time of the gateway, in milliseconds.\n"
                "  - type: latency\n"
                "    targets:\n"
                f"      - {{name: gateway, {how}: {_quoted(target)}}}\n"
            )
    say(f"gateway: {gateway} does not answer to ICMP (or this user may not send it), nor on ports 53 and 80")
    return (
        f"  # The gateway {gateway} did not answer. To probe it by ICMP, if the kernel permits (docs/sources.md):\n"
        "  # - type: latency\n"
        f"  #   targets: [{{name: gateway, icmp: {_quoted(gateway)}}}]\n"
    )


def _gateway(proc: Path) -> str:
    """IPv4 address of the default gateway; empty without a default route."""
    try:
        lines = (proc / "net" / "route").read_text(encoding="ascii").splitlines()[1:]
    except (OSError, UnicodeDecodeError):
        return ""
    for line in lines:
        fields = line.split()
        if len(fields) > 3 and fields[1] == "00000000" and int(fields[3], 16) & 2:
            return ".".join(str(byte) for byte in bytes.fromhex(fields[2])[::-1])
    return ""


def _responds(target: LatencyTarget) -> bool:
    try:
        source = LatencySource(LatencyConfig(type="latency", targets=(target,)), 1.0)
    except EdgewatchError:  # the kernel does not permit ICMP to this user
        return False
    try:
        # Two attempts: the first may have to resolve the link-layer address.
        return any(value < 0.9e3 * _ANSWER_S for value in (source.read()[0] for _ in range(2)))
    finally:
        source.close()


def _sensors(name: str, key: str, root: Path, say: Callable[[str], object]) -> str:
    """Configuration of a source of the kernel's sensors; empty if it finds none."""
    from agent.sources.registry import source_class  # noqa: PLC0415 - only if needed

    kind = source_class(name)
    try:
        config = msgspec.convert({"type": name, key: str(root)}, kind.Config)
        source = kind(config, 1.0)
    except EdgewatchError as error:
        say(f"{name}: {error.message}")
        return ""
    found = _readings(source)
    source.close()
    say(f"{name}: {len(found)} channels")
    return f"  # {_SENSED[name]}\n" + _remarks(found) + f"  - type: {name}\n"


_SENSED = {
    "hwmon": "All sensors of boards and drives (host includes the hottest of each chip):",
    "iio": "Industrial I/O sensors:",
    "onewire": "Thermometers on the 1-wire bus:",
}


def _readings(source: Source) -> list[str]:
    columns = zip(source.channels, source.read(), strict=True)
    return [
        f"{channel.name} {'without a reading' if math.isnan(value) else f'{value:.6g} {channel.unit}'.rstrip()}"
        for channel, value in columns
        if channel is not NOBODY
    ]


def _remarks(lines: Sequence[str]) -> str:
    shown = [*lines[:_SHOWN], f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else lines
    return "".join(f"  #   {line}\n" for line in shown)


def _answers(broker: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(broker, timeout=_ANSWER_S):
            return True
    except OSError:
        return False


def _topics(machine: Machine, say: Callable[[str], object]) -> str:
    """Listen at the broker; configure a source with a filter for each first level of the topics."""
    from agent.sources.mqtt import MqttSource, MqttSourceConfig, TopicConfig  # noqa: PLC0415 - as above

    host, port = machine.broker
    config = MqttSourceConfig(type="mqtt", host=host, port=port, topics=(TopicConfig("#"),), max_channels=_MOST_TOPICS)
    source = MqttSource(config, 1.0)
    try:
        time.sleep(machine.listen_s)
        names = [channel.name for channel in source.channels if channel is not NOBODY]
    finally:
        source.close()
    heads = Counter(name.partition("/")[0] for name in names if "/" in name)
    for other in _NO_SENSORS:
        heads.pop(other, None)
    say(f"mqtt: {sum(heads.values())} readings on {host}:{port} in {machine.listen_s:g} s")
    if not heads:
        return ""
    address = "" if (host, port) == ("localhost", 1883) else f"    host: {_quoted(host)}\n    port: {port}\n"
    lines = (
        f"      - {{filter: {_quoted(f'{head}/#')}}}  # {count} readings, such as {_example(head, names)}\n"
        for head, count in heads.most_common(_SHOWN)
    )
    room = max(200, 2 * sum(heads.values()))
    return (
        f"  # Readings published on {host}:{port}; each is a channel.\n"
        f"  - type: mqtt\n{address}    max_channels: {room}\n    topics:\n{''.join(lines)}"
    )


def _example(head: str, names: Iterable[str]) -> str:
    return next(name for name in names if name.startswith(f"{head}/")).replace("#", "")


def _ports(dev: Path, say: Callable[[str], object]) -> str:
    ports = sorted((dev / "serial" / "by-id").glob("*"))
    say(f"serial: {len(ports)} ports")
    return "".join(
        "  # A serial port; enable it if a device prints readings there (pip install 'edgewatch[serial]'):\n"
        f"  # - {{type: serial, port: {_quoted(str(port))}, baudrate: 115200}}\n"
        for port in ports
    )


def _broker(broker: tuple[str, int], *, answers: bool, say: Callable[[str], object]) -> str:
    host, port = broker
    say(f"broker: {host}:{port} {'answers' if answers else 'does not answer'}")
    remark = "" if answers else f"  # No broker answered at {host}:{port}: install mosquitto, or enter your broker.\n"
    return (
        "\n# The broker that receives the alerts.\nmqtt:\n"
        f"{remark}  host: {_quoted(host)}\n  port: {port}\n"
        "  # Announce the node to Home Assistant (docs/home-assistant.md):\n"
        "  # discovery: true\n"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _flow(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, names))}]"


def _quoted(text: str) -> str:
    """Format a text as a YAML scalar, in quotes if necessary."""
    return text if re.fullmatch(r"[A-Za-z][\w.-]*", text) else msgspec.json.encode(text).decode()
