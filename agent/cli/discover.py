"""Looks at this machine and writes a configuration for it: ``edgewatch discover``."""

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

_ANSWER_S = 1.0
_MOST_TOPICS = 5000
# What is no reading of a sensor: our own topics, what Home Assistant is told, what the broker says of itself.
_NO_SENSORS = ("edgewatch", "homeassistant", "$SYS")
_SHOWN = 12
_HEAD = """\
# Written by `edgewatch discover` for {name}. Each part says why it is there; take out what you do not want.
# `edgewatch check --config FILE` tells whether it works, `edgewatch probe --config FILE` what is read.
# All that may stand here: `edgewatch schema config`.

"""


class Machine(NamedTuple):
    """Where to look; other places are for tests.

    Parameters
    ----------
    sys, proc, dev
        The kernel's file systems.
    broker
        Host and port.
    listen_s
        How long to listen there.
    """

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    dev: Path = Path("/dev")
    broker: tuple[str, int] = ("localhost", 1883)
    listen_s: float = 10.0


def survey(machine: Machine, say: Callable[[str], object]) -> str:
    """Look at the machine; gives the text of a configuration that can be used as it is.

    Parameters
    ----------
    say
        Is told of each thing that was looked for.
    """
    with _quiet():
        text = _written(machine, say)
    configuration.parse(text.encode(), "what was written")  # a mistake here would be ours
    return text


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hear nothing of sources: what is not there is no fault here."""
    logger = logging.getLogger("agent")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _written(machine: Machine, say: Callable[[str], object]) -> str:
    sources = [_host(say), _latency(machine, say)]
    sources += [_sensors(name, key, machine.sys / place, say) for name, key, place in _SENSORS]
    answers = _answers(machine.broker)
    sources.append(_topics(machine, say) if answers else "")
    sources.append(_ports(machine.dev, say))
    text = _HEAD.format(name=socket.gethostname()) + "sources:\n" + "".join(filter(None, sources))
    return text + _broker(machine.broker, answers=answers, say=say)


# Source, key of its root, and where that is below /sys.
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
        "    # Channels of their own, beside the sums over all:\n"
        f"    # disks: {_flow(disks)}\n"
        f"    # interfaces: {_flow(interfaces)}\n"
    )


def _counters(function: Callable[..., Any], **options: bool) -> Iterable[str]:
    try:
        return list(function(**options) or {})
    except (OSError, RuntimeError):  # a container without /proc/diskstats
        return []


def _is_worth(disk: str) -> bool:
    """Whole disks, not their partitions, and nothing that is none."""
    return not re.match(r"(loop|ram|zram|dm-|sr|fd)\d|.*\dp\d+$|[hsv]d[a-z]+\d+$|mmcblk\d+boot", disk)


def _latency(machine: Machine, say: Callable[[str], object]) -> str:
    gateway = _gateway(machine.proc)
    if not gateway:
        say("gateway: there is none")
        return ""
    for how, target in (("icmp", gateway), ("tcp", f"{gateway}:53"), ("tcp", f"{gateway}:80")):
        icmp, tcp = (target, "") if how == "icmp" else ("", target)
        if _responds(LatencyTarget("gateway", tcp=tcp, icmp=icmp, timeout_s=_ANSWER_S)):
            say(f"gateway: {target} answers by {how}")
            return (
                "  # How long the way out takes, in milliseconds.\n"
                "  - type: latency\n"
                "    targets:\n"
                f"      - {{name: gateway, {how}: {_quoted(target)}}}\n"
            )
    say(f"gateway: {gateway} answers neither to echoes (or this user may not send them) nor on ports 53 and 80")
    return (
        f"  # The gateway {gateway} did not answer. Where its echoes may be asked for (docs/sources.md):\n"
        "  # - type: latency\n"
        f"  #   targets: [{{name: gateway, icmp: {_quoted(gateway)}}}]\n"
    )


def _gateway(proc: Path) -> str:
    """Address of the default route, by IPv4; empty where there is none."""
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
    except EdgewatchError:  # the kernel does not let this user send echoes
        return False
    try:
        # The first may still look for the neighbour.
        return any(value < 0.9e3 * _ANSWER_S for value in (source.read()[0] for _ in range(2)))
    finally:
        source.close()


def _sensors(name: str, key: str, root: Path, say: Callable[[str], object]) -> str:
    """A source of the kernel's, if it has anything to read here."""
    from agent.sources.registry import source_class  # noqa: PLC0415 - what is not there costs nothing

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
    "hwmon": "Every sensor of boards and drives; the hottest of each chip is in host, too:",
    "iio": "Sensors with a driver of their own:",
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
    """What is published, by the first levels of the topics."""
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
    place = "" if (host, port) == ("localhost", 1883) else f"    host: {_quoted(host)}\n    port: {port}\n"
    lines = (
        f"      - {{filter: {_quoted(f'{head}/#')}}}  # {count} readings, such as {_example(head, names)}\n"
        for head, count in heads.most_common(_SHOWN)
    )
    room = max(200, 2 * sum(heads.values()))
    return (
        f"  # What others publish on {host}:{port}; each reading is a channel.\n"
        f"  - type: mqtt\n{place}    max_channels: {room}\n    topics:\n{''.join(lines)}"
    )


def _example(head: str, names: Iterable[str]) -> str:
    return next(name for name in names if name.startswith(f"{head}/")).replace("#", "")


def _ports(dev: Path, say: Callable[[str], object]) -> str:
    ports = sorted((dev / "serial" / "by-id").glob("*"))
    say(f"serial: {len(ports)} ports")
    return "".join(
        "  # A serial port: if something prints readings there (pip install 'edgewatch[serial]'):\n"
        f"  # - {{type: serial, port: {_quoted(str(port))}, baudrate: 115200}}\n"
        for port in ports
    )


def _broker(broker: tuple[str, int], *, answers: bool, say: Callable[[str], object]) -> str:
    host, port = broker
    say(f"broker: {host}:{port} {'answers' if answers else 'does not answer'}")
    remark = "" if answers else f"  # Nothing answered at {host}:{port}: install mosquitto, or name your broker.\n"
    return (
        "\n# Where alerts go.\nmqtt:\n"
        f"{remark}  host: {_quoted(host)}\n  port: {port}\n"
        "  # Announce the node to Home Assistant (docs/home-assistant.md):\n"
        "  # discovery: true\n"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _flow(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, names))}]"


def _quoted(text: str) -> str:
    """A text as YAML has it: one in quotes is also JSON."""
    return text if re.fullmatch(r"[A-Za-z][\w.-]*", text) else msgspec.json.encode(text).decode()
