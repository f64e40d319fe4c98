"""Gateway: thousands of sensors over a real broker, with lost, duplicate, late and invalid messages and some faults.

Time is simulated, but every reading goes through mosquitto. The agent runs in a separate process that also publishes,
so that a tick begins only after all earlier messages have arrived:
``python -m tools.fault_injection.gateway FOLDER PORT SENSORS HOURS``.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
import numpy as np

from agent.alerting.budget import AlertBudget
from agent.alerting.settings import AlertsConfig
from agent.config import loader as configuration
from agent.core.clock import ManualClock
from agent.detection.alarm_bar import AlarmBar
from agent.detection.settings import DetectionConfig
from agent.service import log_format
from agent.service.daemon import Daemon
from agent.service.process_memory import rss_mib
from tools.fault_injection.receiver import Receiver
from tools.testing.mosquitto import Mosquitto
from tools.testing.mqtt_flood import MqttFlood, packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.messages.alert import Alert
    from agent.sources.push_buffer import PushBuffer
    from tools.testing.findings import Findings

__all__ = ["run"]

_ROOT = Path(__file__).parents[2]
# Sampling interval, in simulated seconds.
_INTERVAL_S = 10.0
_HOUR_S, _DAY_S = 3600.0, 86400.0
# Simulated time of the first tick, seconds since 1970.
_BEGIN = 1_750_000_000.0
_CLOCK = "clock/tick"
# Budget of the run, incidents a day.
_UNLIMITED = 1e9
# False incidents allowed in the first hours, in which limits are uncertain; chosen by hand.
_PROVISIONAL = 2.0
_CONFIG = """\
node: gateway
interval_s: {interval}
state_dir: {folder}/state
sources:
  - type: mqtt
    port: {port}
    max_channels: {channels_max}
    topics:
      - {{filter: "zigbee2mqtt/+", strip: 1, ignore: [linkquality]}}
      - {{filter: "tele/+/SENSOR", strip: 1, values: [CO2.value, ENERGY.Power]}}
      - {{filter: "#"}}
alerts: {{budget_per_day: {unlimited:g}}}
mqtt: {{port: {port}, health_interval_s: 600}}
"""
# Shares of all messages, and new unknown topics a tick; chosen by hand.
_LOST, _DOUBLED, _LATE, _GARBAGE = 0.02, 0.01, 0.01, 0.005
_JUNK_TOPICS = 3
# Ticks without unknown topics, until every sensor has a channel.
_QUIET_TICKS = 6
# Seconds between repetitions of the clock message while the agent is not subscribed yet.
_REPEAT_S = 0.5
_GARBAGE_PAYLOADS = (
    b"",
    b"unavailable",
    b"nan",
    b"1e999",
    b"12,5",
    b"\xff\xfe\x00",
    b'{"temperature": ',
    b'{"temperature": {"temperature": {"temperature": null}}}',
    b"[" * 2000,
    b"<html>",
    b"9" * 100_000,
)
# Share of sensors with a fault, and when faults begin, as shares of the time; chosen by hand.
_FAULTY = 0.04
_FIRST, _LAST = 0.4, 0.93
# Duration of faults, in simulated seconds.
_FAULT_S = {"spike": 10.0, "shift": 1800.0, "noise": 1800.0, "stuck": 2700.0}
# Simulated seconds after a fault in which an incident still counts as found; chosen by hand.
_GRACE_S = 300.0
# Seconds to wait for the messages of a tick, chosen by hand.
_PATIENCE_S = 60.0
# Allowed growth of memory in the second half, chosen by hand.
_GROWTH_MIB = 2.0


class _SensorKind(NamedTuple):
    """A kind of sensor.

    Parameters
    ----------
    topic, payload
        Format strings with a field for the sensor's number, or for its reading.
    channel
        Format string of the channel name.
    usual
        Gives normal readings from time in seconds, phases between 0 and 1, and standard normal noise.
    size
        Size of a fault in the sensor's unit, many times the noise.
    faults
        Kinds of faults of such a sensor.
    """

    topic: str
    payload: str
    channel: str
    usual: Callable[[float, Any, Any], Any]
    size: float
    faults: tuple[str, ...] = ("spike", "shift", "noise", "stuck")


def _daily(now: float, phase: Any) -> Any:
    return np.sin(2 * np.pi * (now / _DAY_S + phase))


_KINDS = {
    "temperature": _SensorKind(
        "zigbee2mqtt/temperature{}",
        '{{"temperature": {:.2f}, "linkquality": 80}}',
        "temperature{}.temperature",
        lambda now, phase, noise: 20 + 2 * _daily(now, phase) + 0.05 * noise,
        6.0,
    ),
    "humidity": _SensorKind(
        "site/humidity{}",
        "{:.1f} %",
        "site/humidity{}",
        lambda now, phase, noise: 50 + 5 * _daily(now, phase) + 0.3 * noise,
        25.0,
    ),
    "co2": _SensorKind(
        "tele/co2{}/SENSOR",
        '{{"Time": "2025-06-15T15:06:40", "CO2": {{"value": {:.0f}}}}}',
        "co2{}/SENSOR.CO2.value",
        lambda now, phase, noise: 600 + 80 * _daily(now, phase) + 8 * noise,
        700.0,
    ),
    "power": _SensorKind(
        "tele/plug{}/SENSOR",
        '{{"ENERGY": {{"Power": {:.1f}, "Voltage": 230}}}}',
        "plug{}/SENSOR.ENERGY.Power",
        lambda now, phase, noise: np.where((now / 2400 + phase) % 1 < 0.4, 90.0, 3.0) + noise,
        400.0,
        ("spike", "shift", "noise"),
    ),
    "pressure": _SensorKind(
        "site/pressure{}",
        "{:.2f}",
        "site/pressure{}",
        lambda now, phase, noise: 1013 + 3 * np.sin(2 * np.pi * (now / 7200 + phase)) + 0.1 * noise,
        30.0,
    ),
    "vibration": _SensorKind(
        "site/vibration{}",
        "{:.3f}",
        "site/vibration{}",
        lambda now, phase, noise: 2 + phase + 0.2 * noise + 0 * now,
        6.0,
    ),
    "battery": _SensorKind(
        "site/battery{}",
        "{:.2f}",
        "site/battery{}",
        lambda now, phase, noise: 90 - 5 * phase - (now - _BEGIN) / _DAY_S + 0.05 * noise,
        20.0,
    ),
    "level": _SensorKind(
        "site/level{}",
        "{:.3f}",
        "site/level{}",
        lambda now, phase, noise: 1 + ((now / 3600 + phase) % 1) + 0.01 * noise,
        3.0,
        ("spike", "shift", "noise"),
    ),
}


class _Fault(msgspec.Struct):
    """Fault of one sensor; times are simulated seconds since 1970."""

    channel: str
    kind: str
    begin: float
    end: float


class _Network:
    """Simulated sensors and the network that carries their messages.

    Parameters
    ----------
    sensors
        Number of sensors, in equal parts of each kind.
    hours
        Simulated hours, for the schedule of faults.
    """

    def __init__(self, sensors: int, hours: float) -> None:
        self._n = n = max(1, sensors // len(_KINDS))
        self._rng = np.random.default_rng(0)
        self._choice = random.Random(0)
        self._phase = self._rng.random((len(_KINDS), n))
        self._topics = [[kind.topic.format(i).encode() for i in range(n)] for kind in _KINDS.values()]
        self._before: dict[tuple[int, int], bytes] = {}
        self._stuck: dict[tuple[int, int], float] = {}
        self._junk = 0
        #: Faults by index of the kind and number of the sensor.
        self.faults = dict(self._planned(hours * _HOUR_S))

    def _planned(self, seconds: float) -> Iterator[tuple[tuple[int, int], _Fault]]:
        for index, kind in enumerate(_KINDS.values()):
            count = max(len(kind.faults), round(_FAULTY * self._n))
            for number, sensor in enumerate(self._choice.sample(range(self._n), min(count, self._n))):
                fault_kind = kind.faults[number % len(kind.faults)]
                begin = _BEGIN + seconds * self._choice.uniform(_FIRST, _LAST)
                fault = _Fault(kind.channel.format(sensor), fault_kind, begin, begin + _FAULT_S[fault_kind])
                yield (index, sensor), fault

    def messages(self, now: float, *, junk: bool) -> list[bytes]:
        """MQTT packets of a tick in order of sending; ``junk`` adds new unknown topics."""
        packets: list[bytes] = []
        for index, kind in enumerate(_KINDS.values()):
            values = kind.usual(now, self._phase[index], self._rng.normal(0, 1, self._n))
            for (kind_index, sensor), fault in self.faults.items():
                if kind_index == index and fault.begin <= now < fault.end:
                    values[sensor] = self._wrong((index, sensor), kind, fault, float(values[sensor]))
            fate = self._rng.random(self._n)
            for sensor, (topic, value, chance) in enumerate(
                zip(self._topics[index], values.tolist(), fate.tolist(), strict=True)
            ):
                packets += self._sent(
                    (index, sensor), packet(topic, kind.payload.format(value).encode()), topic, chance
                )
        for _ in range(_JUNK_TOPICS * junk):
            self._junk += 1
            packets.append(packet(f"junk/{self._junk}".encode(), b"1"))
        return packets

    def _wrong(self, sensor_key: tuple[int, int], kind: _SensorKind, fault: _Fault, value: float) -> float:
        if fault.kind == "stuck":
            return self._stuck.setdefault(sensor_key, value)
        if fault.kind == "noise":
            return value + 0.5 * kind.size * float(self._rng.normal())
        return value + kind.size

    def _sent(self, sensor_key: tuple[int, int], message: bytes, topic: bytes, chance: float) -> list[bytes]:
        """Packets that arrive for a message: none, one, two, one with an old one, or garbage."""
        before, self._before[sensor_key] = self._before.get(sensor_key, message), message
        if chance < _LOST:
            return []
        if chance < (bound := _LOST + _DOUBLED):
            return [message, message]
        if chance < (bound := bound + _LATE):
            return [message, before, message]
        if chance < bound + _GARBAGE:
            return [packet(topic, self._choice.choice(_GARBAGE_PAYLOADS))]
        return [message]


class _Time(ManualClock):
    """Simulated clock; a tick begins when all earlier messages have arrived."""

    def __init__(self, network: _Network, flood: MqttFlood, folder: Path, hours: float) -> None:
        super().__init__(_BEGIN)
        self._network, self._flood = network, flood
        self._end_s = hours * _HOUR_S
        self._samples = (folder / "samples.jsonl").open("ab", buffering=0)
        self._ticks = 0
        self.daemon: Daemon | None = None

    def sleep_until(self, deadline_ns: int) -> bool:
        """See `Clock.sleep_until`; publishes the messages of the sensors between ticks."""
        going = super().sleep_until(deadline_ns)
        if self.daemon is None or not going:
            return going
        self._ticks += 1
        self._flood.send(self._network.messages(self.wall(), junk=self._ticks > _QUIET_TICKS))
        self._wait()
        if self._ticks % round(600 / _INTERVAL_S) == 0:
            self._samples.write(msgspec.json.encode([self.now_ns / 1e9, rss_mib()]) + b"\n")
        if self.now_ns >= self._end_s * 1e9:
            self.stop()
        return going

    def _wait(self) -> None:
        """Wait until the agent has received the last clock message, hence all messages before it."""
        (source,) = cast("Daemon", self.daemon).parts.pipeline.sampler.sources
        arrivals: PushBuffer = cast("Any", source)._arrivals  # noqa: SLF001 - no public access to the newest reading
        arrivals._clock = lambda: self.now_ns / 1e9  # noqa: SLF001 - readings become stale in simulated time
        until = time.monotonic() + _PATIENCE_S
        sent_at_s = 0.0
        while arrivals._newest[arrivals._indices.get(_CLOCK, -1)] != self._ticks:  # noqa: SLF001 - as above
            if time.monotonic() > until:
                raise TimeoutError("published messages do not arrive")
            if time.monotonic() - sent_at_s > _REPEAT_S:  # the agent may not be subscribed yet
                sent_at_s = time.monotonic()
                self._flood.send([packet(_CLOCK.encode(), str(self._ticks).encode())])
            time.sleep(5e-4)


def run(findings: Findings, folder: Path, *, sensors: int, hours: float) -> None:
    """Simulate ``sensors`` sensors for ``hours`` hours, and compare the agent's alerts with the faults."""
    broker = Mosquitto(folder / "broker")
    receiver = Receiver(broker.port)
    command = [
        sys.executable,
        "-m",
        "tools.fault_injection.gateway",
        str(folder),
        str(broker.port),
        str(sensors),
        str(hours),
    ]
    (folder / "samples.jsonl").touch()
    with (folder / "agent.log").open("wb") as errors:
        process = subprocess.Popen(command, cwd=_ROOT, stdout=errors, stderr=errors)
    try:
        while process.poll() is None:
            time.sleep(0.5)
            done = (folder / "samples.jsonl").read_bytes().count(b"\n") * 600
            findings.progress(done, round(hours * _HOUR_S))
        time.sleep(2.0)
    finally:
        process.kill()
        process.wait()
        receiver.close()
        broker.stop()
    findings.promise("the agent ends normally", process.returncode == 0)
    if process.returncode == 0:
        _judge(findings, folder, receiver, sensors, hours)


def _judge(findings: Findings, folder: Path, receiver: Receiver, sensors: int, hours: float) -> None:
    faults = msgspec.json.decode((folder / "faults.json").read_bytes(), type=list[_Fault])
    joined_at = _joined_at(receiver.unique())
    found = {
        index
        for index, fault in enumerate(faults)
        if any(fault.begin <= at <= fault.end + _GRACE_S for at in joined_at.get(fault.channel, ()))
    }
    per_day, false, sent = AlertsConfig().budget_per_day, 0, 0
    block_s = max(DetectionConfig().block_s, _INTERVAL_S)
    usual, unlimited = AlarmBar(per_day, 1, block_s), AlarmBar(_UNLIMITED, 1, block_s)
    guard = AlertBudget(per_day)
    guard.begin(AlertsConfig().learning_s)
    for at, channels, strength in _incidents(receiver.unique()):
        own_faults = [fault for fault in faults if fault.channel in channels]
        if not any(fault.begin <= at <= fault.end + _GRACE_S for fault in own_faults):
            false += 1
            # Strength is the root of the rarity over that of an alarm, which depends on the budget.
            at_s = at - _BEGIN
            learned_s = np.array([at_s])
            ratio = float(unlimited.period_s(learned_s)[0] / usual.period_s(learned_s)[0])
            sent += guard.admits(strength * math.sqrt(ratio), at_s)
    health = receiver.health[-1]
    findings.figure("sensors", sensors)
    findings.figure("faults", len(faults))
    findings.figure("faults found, %", round(100 * len(found) / len(faults), 1))
    for kind in _FAULT_S:
        of_kind = [index for index, fault in enumerate(faults) if fault.kind == kind]
        if of_kind:
            findings.figure(f"{kind}: found of {len(of_kind)}", len(found.intersection(of_kind)))
    for index in sorted(set(range(len(faults))) - found):
        findings.say(f"   missed: {faults[index].kind} of {faults[index].channel}")
    # Provisional alerts of the first hours have a bar of their own.
    allowed = max(_PROVISIONAL, 2 * per_day * hours * _HOUR_S / _DAY_S)
    findings.figure("false incidents", false)
    findings.figure("false incidents within the default budget", sent)
    left_out = health["left_out"].get("mqtt", {})
    for reason, count in sorted(left_out.items()):
        findings.figure(f"left out: {reason}", count)
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_bytes().splitlines()]
    half = [rss for at, rss in samples if at >= hours * _HOUR_S / 2]
    findings.figure("resident memory at the end, MiB", round(samples[-1][1], 1))
    findings.promise(
        "every sensor has a channel despite unknown topics", receiver.states[-1]["channels"] >= sensors + 1
    )
    findings.promise("nine faults of ten are found", len(found) >= 0.9 * len(faults))
    findings.promise(f"at most {allowed:.3g} false incidents would be sent", sent <= allowed)
    findings.promise("messages without a reading are counted by kind", len(left_out) >= 3)
    findings.promise("no tick is missed", health["missed_ticks"] == 0)
    findings.promise(
        f"memory grows by at most {_GROWTH_MIB:g} MiB in the second half", half[-1] - half[0] <= _GROWTH_MIB
    )
    findings.promise("the log has no traceback", "Traceback" not in (folder / "agent.log").read_text("utf-8"))


def _joined_at(alerts: list[Alert]) -> dict[str, list[float]]:
    """Times at which each channel joined an incident, by channel."""
    named: set[tuple[str, str]] = set()
    times: dict[str, list[float]] = {}
    for alert in alerts:
        for part in alert.contributors:
            if (alert.incident, part.channel) not in named:
                named.add((alert.incident, part.channel))
                times.setdefault(part.channel, []).append(alert.ts)
    return times


def _incidents(alerts: list[Alert]) -> list[tuple[float, set[str], float]]:
    """Opening time, all channels and largest strength of each incident."""
    found: dict[str, tuple[float, set[str], float]] = {}
    for alert in alerts:
        at, channels, strength = found.get(alert.incident, (alert.ts, set(), 0.0))
        channels |= {part.channel for part in alert.contributors}
        found[alert.incident] = at, channels, max(strength, alert.strength)
    return list(found.values())


def main() -> None:
    """Run the agent and its simulated sensors in this process."""
    parser = argparse.ArgumentParser(prog="python -m tools.fault_injection.gateway")
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("sensors", type=int)
    parser.add_argument("hours", type=float)
    options = parser.parse_args()
    log_format.configure(20)
    network = _Network(options.sensors, options.hours)
    (options.folder / "faults.json").write_bytes(msgspec.json.encode(list(network.faults.values())))
    # Channels for the sensors, the clock and a few unknown topics.
    channels_max = len(_KINDS) * max(1, options.sensors // len(_KINDS)) + 8
    text = _CONFIG.format(
        interval=_INTERVAL_S,
        folder=options.folder,
        port=options.port,
        channels_max=channels_max,
        unlimited=_UNLIMITED,
    )
    clock = _Time(network, MqttFlood(options.port), options.folder, options.hours)
    clock.daemon = Daemon(configuration.parse(text.encode()), clock)
    clock.daemon.run()


if __name__ == "__main__":
    main()
