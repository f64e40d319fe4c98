"""The configuration: typed, every error at once, each with its line and its ``$.path``."""

from __future__ import annotations

import datetime
import ipaddress
import math
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, cast, get_args

import msgspec

from agent.checking import Checker, nearest
from agent.document import MAX_BYTES, Document
from agent.errors import UserError
from agent.mismatch import shown
from agent.signature import read_key
from agent.sources import known_sources, source_class
from agent.sources.base import SourceConfig  # noqa: TC001 - msgspec resolves the hint at run time
from agent.transport import TlsConfig  # noqa: TC001 - the same

__all__ = [
    "AlertsConfig",
    "ChannelConfig",
    "Config",
    "DerivedConfig",
    "DetectionConfig",
    "DspotThreshold",
    "HistoryConfig",
    "LikelihoodThreshold",
    "MadThreshold",
    "MaintenanceConfig",
    "MeanStdThreshold",
    "MqttConfig",
    "OutboxConfig",
    "PercentileThreshold",
    "PrometheusConfig",
    "RangeThreshold",
    "SilenceConfig",
    "SpotThreshold",
    "ThresholdConfig",
    "config_schema",
    "load",
    "load_as",
    "moment",
    "parse",
]

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
# Levels of topics: no wildcards, no control characters, and not the broker's own, which begin with a dollar sign.
_Name = Annotated[str, msgspec.Meta(pattern=r"^[^/+#\s\x00-\x1f\x7f-\x9f]{1,64}$")]
_Prefix = Annotated[str, msgspec.Meta(pattern=r"^[^/$+#\s\x00-\x1f\x7f-\x9f][^+#\s\x00-\x1f\x7f-\x9f]{0,127}$")]
# Three hundred years: in nanoseconds and in rows it is still a number.
_LONGEST = 1e10
_Positive = Annotated[float, msgspec.Meta(gt=0, le=_LONGEST)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0, le=_LONGEST)]
# Readings that are kept of each channel to confirm an anomaly.
_MOST_CONFIRMING = 100_000
_Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Patterns = Annotated[tuple[_Pattern, ...], msgspec.Meta(min_length=1, max_length=64)]
_Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: unknown keys are errors."""


class RangeThreshold(_Section, frozen=True, tag_field="method", tag="range"):
    """Soft range novelty (default): how far beyond everything seen so far."""

    novelty: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.14


class MeanStdThreshold(_Section, frozen=True, tag_field="method", tag="mean_std"):
    """Mean ± k standard deviations of the error."""

    k: Annotated[float, msgspec.Meta(gt=0, le=100)] = 6.0


class PercentileThreshold(_Section, frozen=True, tag_field="method", tag="percentile"):
    """A high percentile of the error, and its mirror image below."""

    percentile: Annotated[float, msgspec.Meta(gt=50, lt=100)] = 99.9


class MadThreshold(_Section, frozen=True, tag_field="method", tag="mad"):
    """Median ± k median absolute deviations of the error."""

    k: Annotated[float, msgspec.Meta(gt=0, le=100)] = 8.0


class LikelihoodThreshold(_Section, frozen=True, tag_field="method", tag="likelihood"):
    """Anomaly likelihood: how improbable the mean of the newest errors is."""

    epsilon: Annotated[float, msgspec.Meta(gt=0, lt=0.5)] = 1e-5
    short_rows: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 5.0


class SpotThreshold(_Section, frozen=True, tag_field="method", tag="spot"):
    """Streaming peaks over threshold: the level that an error passes with a given risk."""

    risk: Annotated[float, msgspec.Meta(gt=0, lt=0.05)] = 1e-4
    calibration_rows: Annotated[int, msgspec.Meta(ge=100, le=10_000)] = 300


class DspotThreshold(_Section, frozen=True, tag_field="method", tag="dspot"):
    """The same for errors that drift: around their moving average over so many rows."""

    risk: Annotated[float, msgspec.Meta(gt=0, lt=0.05)] = 1e-4
    calibration_rows: Annotated[int, msgspec.Meta(ge=100, le=10_000)] = 300
    depth_rows: Annotated[float, msgspec.Meta(ge=2, le=100_000)] = 50.0


ThresholdConfig: TypeAlias = (
    RangeThreshold
    | MeanStdThreshold
    | PercentileThreshold
    | MadThreshold
    | LikelihoodThreshold
    | SpotThreshold
    | DspotThreshold
)


class DetectionConfig(_Section, frozen=True):
    """How errors are judged.

    Parameters
    ----------
    threshold
        Which rolling threshold, with its parameters.
    memory_s
        Time after which an error is largely forgotten.
    accept_after_s
        A channel anomalous for this long has a new normal.
    block_s
        Readings are judged as means over this time, or one by one where they come more slowly; coarser scales are
        12, 24 and 48 times as long.
    relations
        Whether a channel is also held against what the others of its node tell of it.
    """

    threshold: ThresholdConfig = msgspec.field(default_factory=RangeThreshold)
    memory_s: _Positive = 365 * 86400.0
    accept_after_s: _Positive = 1800.0
    block_s: _Positive = 5.0
    relations: bool = True


def moment(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 date or time; without an offset it is this machine's local time.

    Examples
    --------
    >>> moment("2026-01-02T03:04:05Z"), moment("2026-01-02 04:04:05+01:00")
    (1767323045.0, 1767323045.0)
    """
    try:
        return datetime.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is no ISO 8601 time such as 2026-12-24T18:00 or 2026-12-24T17:00:00Z") from None


class SilenceConfig(_Section, frozen=True):
    """A time in which channels raise no alerts.

    Parameters
    ----------
    channels
        Names; ``*``, ``?`` and ``[…]`` match as in a shell.
    begin, until
        ISO 8601; without an offset it is this machine's local time. The key of the first is ``from``; without it the
        silence has begun.
    include_limits
        Hard limits are silenced, too.
    """

    channels: _Patterns
    until: str
    begin: str | None = msgspec.field(default=None, name="from")
    include_limits: bool = False

    def __post_init__(self) -> None:
        if moment(self.until) <= (moment(self.begin) if self.begin else -math.inf):
            raise ValueError(f"until {self.until!r} is not after from {self.begin!r}")


class MaintenanceConfig(_Section, frozen=True):
    """A window that comes back on certain days, in which channels raise no alerts.

    Parameters
    ----------
    at
        When it begins, ``HH:MM`` by this machine's local time.
    for_s
        How long it lasts, a day at most.
    days
        Of its beginning; every day by default.
    channels, include_limits
        As in `SilenceConfig`; all channels by default.
    """

    at: Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    for_s: Annotated[float, msgspec.Meta(gt=0, le=86400)]
    days: Annotated[tuple[_Day, ...], msgspec.Meta(min_length=1)] = get_args(_Day)
    channels: _Patterns = ("*",)
    include_limits: bool = False


class AlertsConfig(_Section, frozen=True):
    """When an anomaly becomes an incident, and when it ends.

    Parameters
    ----------
    learning_s
        Silent time after a channel's first reading (at least 100 readings).
    provisional_s
        Until then alerts are marked as provisional.
    confirm_s
        A channel opens an incident when it was anomalous in four fifths of this time.
    clear_s
        An incident closes when all its channels were quiet for this long.
    merge_s
        Channels that follow within this time join the incident.
    cooldown_s
        A channel opens no new incident for this long after its last one closed.
    budget_per_day
        Incidents that are sent a day in the long run: the strongest. The others go into the digest.
    silences, maintenance
        When channels raise no alerts: once, and again and again. Detection and learning go on.
    """

    learning_s: _NotNegative = 600.0
    provisional_s: _NotNegative = 86400.0
    confirm_s: _NotNegative = 5.0
    clear_s: _NotNegative = 10.0
    merge_s: _NotNegative = 30.0
    cooldown_s: _NotNegative = 60.0
    budget_per_day: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 3.0
    silences: Annotated[tuple[SilenceConfig, ...], msgspec.Meta(max_length=1000)] = ()
    maintenance: Annotated[tuple[MaintenanceConfig, ...], msgspec.Meta(max_length=1000)] = ()


class ChannelConfig(_Section, frozen=True):
    """What is so of some channels, whichever source they come from; what is not said stays as the source has it.

    Parameters
    ----------
    names
        ``*``, ``?`` and ``[…]`` match as in a shell.
    unit
        As printed behind values.
    effect
        Smallest difference from what is expected that is worth an alert; on a logarithmic scale a factor above 1.
    log_reference
        Above 0: values are compared by their ratios, as suits rates and latencies; what is small against this counts as
        still.
    minimum, maximum
        What the channel can show at all.
    alarm_below, alarm_above
        Hard limits.
    invalid_below, invalid_above
        What lies beyond is no reading, but a fault: it is counted and taken as missing.
    sensitivity
        Strength of its anomalies is multiplied by this.
    silent
        It raises no alerts, but those of its hard limits.
    """

    names: _Patterns
    unit: Annotated[str, msgspec.Meta(max_length=16)] | None = None
    effect: _NotNegative | None = None
    log_reference: _NotNegative | None = None
    minimum: float | None = None
    maximum: float | None = None
    alarm_below: float | None = None
    alarm_above: float | None = None
    invalid_below: float | None = None
    invalid_above: float | None = None
    sensitivity: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None
    silent: bool | None = None

    def __post_init__(self) -> None:
        for low, high in (
            ("minimum", "maximum"),
            ("alarm_below", "alarm_above"),
            ("invalid_below", "invalid_above"),
        ):
            below, above = getattr(self, low), getattr(self, high)
            if below is not None and above is not None and below >= above:
                raise ValueError(f"{low} {below:g} is not below {high} {above:g}")


class DerivedConfig(_Section, frozen=True):
    """A channel that is worked out from others.

    Parameters
    ----------
    name
        Of the channel.
    how
        ``rate`` of one a second, ``difference`` or ``ratio`` of two, ``sum`` of many.
    of
        Names of channels of sources, or of derived ones above; in those of a sum ``*``, ``?`` and ``[…]`` match as in a
        shell.
    unit
        As printed behind values.
    over_s
        A rate is that since so long ago; since the reading before where it is 0.
    counter
        Of a rate: the channel only counts up, and when it is less than before it has begun anew.
    """

    name: _Pattern
    how: Literal["rate", "difference", "ratio", "sum"]
    of: _Patterns
    unit: Annotated[str, msgspec.Meta(max_length=16)] = ""
    over_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 0.0
    counter: bool = False

    def __post_init__(self) -> None:
        needed = {"rate": 1, "difference": 2, "ratio": 2}.get(self.how, len(self.of))
        if len(self.of) != needed:
            raise ValueError(f"a {self.how} is of {needed} channel{'s' if needed > 1 else ''}, not of {len(self.of)}")
        if self.how != "sum" and re.search(r"[*?\[]", "".join(self.of)):
            raise ValueError(f"a {self.how} is of channels called by their names: only a sum takes patterns")
        if self.how != "rate" and (self.over_s or self.counter):
            raise ValueError(f"over_s and counter belong to a rate, not to a {self.how}")


class OutboxConfig(_Section, frozen=True):
    """How many alerts wait for a broker that is away.

    Parameters
    ----------
    max_mb
        Megabytes; beyond, the oldest of the lowest severity go. An alert takes about one kilobyte.
    max_age_s
        Older ones go, too.
    """

    max_mb: Annotated[float, msgspec.Meta(ge=0.1, le=1 << 20)] = 128.0
    max_age_s: _Positive = 30 * 86400.0


class HistoryConfig(_Section, frozen=True):
    """A recording of all readings, to train on.

    Parameters
    ----------
    directory
        Where it lies; ``history`` in the state directory by default.
    max_mb
        Megabytes it may take; the oldest readings go first. Twenty channels at 1 Hz take about 2.5 MB a day.
    """

    directory: str | None = None
    max_mb: Annotated[float, msgspec.Meta(ge=1, le=1 << 20)] = 64.0


class MqttConfig(_Section, frozen=True):
    """The broker and what is published there.

    Parameters
    ----------
    host, port
        Where the broker listens; the port is 1883, or 8883 with TLS, unless given.
    username, password_file
        The password is the first line of a file, of the systemd credential ``mqtt_password``, or the environment
        variable ``EDGEWATCH_MQTT_PASSWORD``.
    tls
        Present: the connection is encrypted and checked. Absent: plain.
    prefix
        First level of all topics.
    keepalive_s
        The connection is given up when the broker is silent for one and a half times as long.
    metrics_interval_s
        Pace of ``metrics``; 0 publishes none.
    health_interval_s
        Pace of ``health``.
    alert_expiry_s
        Under MQTT 5 the broker drops an alert that it could not deliver for this long.
    commands
        Whether the agent obeys what is said to it on ``cmd``.
    discovery
        Whether the node announces itself to Home Assistant; a text is Home Assistant's discovery prefix, where that is
        not ``homeassistant``.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)] = "localhost"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    username: str | None = None
    password_file: str | None = None
    tls: TlsConfig | None = None
    prefix: _Prefix = "edgewatch"
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=65535)] = 30
    metrics_interval_s: _NotNegative = 0.0
    health_interval_s: _Positive = 60.0
    alert_expiry_s: Annotated[int, msgspec.Meta(ge=1)] = 7 * 86400
    commands: bool = False
    discovery: bool | _Prefix = False

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, the default port filled in."""
        return self.host, self.port or (8883 if self.tls else 1883)


class PrometheusConfig(_Section, frozen=True):
    """A page for Prometheus.

    Parameters
    ----------
    port, address
        Where it listens; port 0 is any free one.
    allow_remote
        Addresses other than loopback are allowed: whoever reaches them reads all values; there is no password.
    """

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9469
    address: str = "127.0.0.1"
    allow_remote: bool = False

    def __post_init__(self) -> None:
        address = ipaddress.ip_address(self.address)
        if not (self.allow_remote or address.is_loopback):
            raise ValueError(f"address {self.address} is not loopback; if it is meant, say allow_remote: true")


def _default_node() -> str:
    name = re.sub(r"[/+#\s\x00]", "-", socket.gethostname().split(".")[0])
    return name[:64] or "node"


def _default_state_dir() -> str:
    given = os.environ.get("STATE_DIRECTORY")  # systemd; a list when the unit asks for several
    if given:
        return given.split(":")[0]
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return str(Path(home) / "edgewatch")


class Config(_Section, frozen=True):
    """The whole configuration; an empty file is a valid one.

    Parameters
    ----------
    node
        Name of this machine in topics and alerts; its host name by default.
    interval_s
        Sampling interval in seconds.
    state_dir
        Where alerts wait until they are delivered; by default what systemd gives, or ``~/.local/state/edgewatch``.
    sources
        What is read, by default this host; each entry has a ``type`` and that source's keys.
    channels
        What is so of some channels, whichever source they come from; the last entry that says something of one counts.
    derived
        Channels worked out from others.
    models
        Bundles, ``builtin`` or a folder; several run side by side.
    trusted_keys
        Ed25519 public keys in base64. Where there are any, bundles other than ``builtin`` must be signed by one.
    detection
        How errors are judged.
    alerts
        When an anomaly becomes an incident, and when it ends.
    mqtt
        The broker and what is published there.
    outbox
        How much waits for a broker that is away.
    history
        Present: all readings are recorded.
    prometheus
        Present: a page for Prometheus is served.
    """

    node: _Name = msgspec.field(default_factory=_default_node)
    interval_s: Annotated[float, msgspec.Meta(ge=1e-4, le=86400)] = 1.0
    state_dir: str = msgspec.field(default_factory=_default_state_dir)
    sources: tuple[Any, ...] = msgspec.field(default_factory=lambda: (source_class("host").Config(type="host"),))
    channels: Annotated[tuple[ChannelConfig, ...], msgspec.Meta(max_length=1000)] = ()
    derived: Annotated[tuple[DerivedConfig, ...], msgspec.Meta(max_length=1000)] = ()
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=4)] = ("builtin",)
    trusted_keys: tuple[str, ...] = ()
    detection: DetectionConfig = msgspec.field(default_factory=DetectionConfig)
    alerts: AlertsConfig = msgspec.field(default_factory=AlertsConfig)
    mqtt: MqttConfig = msgspec.field(default_factory=MqttConfig)
    outbox: OutboxConfig = msgspec.field(default_factory=OutboxConfig)
    history: HistoryConfig | None = None
    prometheus: PrometheusConfig | None = None

    def __post_init__(self) -> None:
        for key in self.trusted_keys:
            read_key(key)
        if self.alerts.confirm_s > _MOST_CONFIRMING * self.interval_s:
            raise ValueError(f"alerts.confirm_s is longer than {_MOST_CONFIRMING:,} times interval_s")
        for index, source in enumerate(self.sources):
            turns = self.ticks_between(source)
            if turns < 1 or not math.isclose(turns, round(turns), rel_tol=1e-6):
                raise ValueError(
                    f"sources[{index}].interval_s {source.interval_s:g} is no whole multiple of interval_s, which is "
                    f"{self.interval_s:g}"
                )

    def ticks_between(self, source: SourceConfig) -> float:
        """How many times as long as the node's interval a source's is."""
        return 1.0 if source.interval_s is None else source.interval_s / self.interval_s


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises
    ------
    UserError
        With every problem of the file, one a line.
    """
    return load_as(Config, path)


def load_as(kind: type[_Struct], path: Path) -> _Struct:
    """Read a YAML file as strictly into a struct of another kind; see `load`."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"cannot read the configuration: {error.strerror or error}",
            place=str(path),
            remedy="name a file with --config, or leave it out for the defaults",
        ) from error
    return _parse_as(kind, raw, str(path))


def parse(raw: bytes, name: str = "config") -> Config:
    """Read a configuration from text; see `load`."""
    return _parse_as(Config, raw, name)


def _parse_as(kind: type[_Struct], raw: bytes, name: str) -> _Struct:
    """Read a YAML text as strictly into a struct of another kind; see `load`."""
    document = Document(name)
    tree = document.read(raw)
    checker = Checker(document, {(Config, "sources"): _sources})
    struct = checker.struct(kind, {} if tree is None else tree, "$")
    if checker.problems:
        raise UserError("\n".join(checker.problems))
    return cast("_Struct", struct)


def _sources(checker: Checker, value: Any, path: str) -> Any:
    if not isinstance(value, list) or not value:
        checker.report(path, f"expected a list of sources, got {shown(value)}")
        return None
    return tuple(_source(checker, item, f"{path}[{i}]") for i, item in enumerate(value))


def _source(checker: Checker, value: Any, path: str) -> SourceConfig | None:
    if not isinstance(value, dict) or "type" not in value:
        checker.report(path, f"expected a mapping with key 'type': one of {', '.join(known_sources())}")
        return None
    name = str(value["type"])
    try:
        kind = source_class(name)
    except KeyError:
        checker.report(f"{path}.type", f"unknown source {name!r}{nearest(name, known_sources())}")
        return None
    except UserError as error:
        checker.report(f"{path}.type", str(error))
        return None
    return checker.struct(kind.Config, value, path)  # type: ignore[no-any-return]


def config_schema() -> dict[str, Any]:
    """JSON Schema of the configuration, for editors."""
    from agent import json_schema  # noqa: PLC0415 - only where a person asks for it

    schema = json_schema.schema(Config)
    definitions = schema["$defs"]
    alternatives = []
    for name in known_sources():
        config_type = source_class(name).Config
        (parts,), more = json_schema.components((config_type,), "#/$defs/{name}")
        definitions.update(more)
        definition = definitions[parts["$ref"].rsplit("/", 1)[1]]
        definition["properties"]["type"] = {"const": name}
        alternatives.append(parts)
    definitions["Config"]["properties"]["sources"] = {"type": "array", "items": {"oneOf": alternatives}}
    return schema
