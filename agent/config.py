"""The configuration: typed, every error at once, each with its line and its ``$.path``.

YAML is read by the core schema of YAML 1.2 only, so that ``NO`` stays a word, ``12:30`` a text and ``1e3`` a number;
anchors, aliases, tags and duplicate keys are refused, and the size is capped.
"""

from __future__ import annotations

import datetime
import difflib
import ipaddress
import math
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar, cast, get_args, get_origin

import msgspec
import msgspec.structs
import yaml

from agent.errors import UserError
from agent.signature import read_key
from agent.sources import REGISTRY, source_class
from agent.sources.base import SourceConfig  # noqa: TC001 - msgspec resolves the hint at run time
from agent.transport import TlsConfig  # noqa: TC001 - the same

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "AlertsConfig",
    "Config",
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
    "json_schema",
    "load",
    "load_as",
    "moment",
    "parse",
]

# What lies within is read in about a second, whatever it says.
_MAX_BYTES = 1 << 18
_MAX_DEPTH = 20
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_MOST_NODES = 15_000
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
    """

    threshold: ThresholdConfig = msgspec.field(default_factory=RangeThreshold)
    memory_s: _Positive = 365 * 86400.0
    accept_after_s: _Positive = 1800.0
    block_s: _Positive = 5.0


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
    models
        Bundles, ``builtin`` or a folder; several run side by side.
    trusted_keys
        Ed25519 public keys in base64. Where there are any, bundles other than ``builtin`` must be signed by one.
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
            raw = file.read(_MAX_BYTES + 1)
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
    if len(raw) > _MAX_BYTES:
        raise UserError("larger than 256 KiB", place=name, remedy="a configuration is a few hundred lines")
    document = _Document(name)
    tree = document.read(raw)
    checker = _Checker(document)
    struct = checker.struct(kind, {} if tree is None else tree, "$")
    if checker.problems:
        raise UserError("\n".join(checker.problems))
    return cast("_Struct", struct)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration, for editors."""
    schema = msgspec.json.schema(Config)
    definitions = schema["$defs"]
    alternatives = []
    for name in REGISTRY:
        config_type = source_class(name).Config
        (parts,), more = msgspec.json.schema_components((config_type,), ref_template="#/$defs/{name}")
        definitions.update(more)
        definition = definitions[parts["$ref"].rsplit("/", 1)[1]]
        definition["properties"]["type"] = {"const": name}
        alternatives.append(parts)
    definitions["Config"]["properties"]["sources"] = {"type": "array", "items": {"oneOf": alternatives}}
    return schema


class _Loader(yaml.SafeLoader):
    """YAML with the core schema's scalars and nothing that can surprise."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML has it

    def __init__(self, raw: bytes, inspect: Callable[[yaml.Event], None]) -> None:
        super().__init__(raw)
        self._inspect = inspect
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Look at what comes before it is taken in."""
        self._inspect(self.peek_event())  # type: ignore[no-untyped-call]
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise yaml.scanner.ScannerError(None, None, f"more than {_MOST_NODES:,} values", self.get_mark())
        return super().compose_node(parent, index)

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Refuse deep nests at once: scanning them takes a time that grows with the square of their depth."""
        self._refuse_depth(self.flow_level)
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        """The same for nests by indentation."""
        self._refuse_depth(len(self.indents))
        return super().add_indent(column)

    def _refuse_depth(self, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, "nested too deeply", self.get_mark())


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), [*_first] if _tag != "null" else ["", *_first]
    )


class _Document:
    """A YAML text as plain Python values, with the line of every path remembered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lines: dict[str, int] = {"$": 1}

    def place(self, path: str) -> str:
        """``file:line: $.path`` of a path, or of its nearest ancestor that stands in the file."""
        known = path
        while known not in self._lines:  # down to $, which always is
            known = known[: max(known.rfind("."), known.rfind("["), 1)]
        return f"{self.name}:{self._lines[known]}: {path}"

    def read(self, raw: bytes) -> Any:
        """Parse; raises `UserError` for what is no YAML of ours."""
        try:
            loader = _Loader(raw, self._refuse_surprises)
            node = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = getattr(mark, "line", 0) + 1
            raise UserError(
                f"not valid YAML: {error.problem or error.context}",
                place=f"{self.name}:{line}",
                remedy="check the indentation, and quote texts with special characters",
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(
                f"not valid YAML: {' '.join(str(error).split())}", place=self.name, remedy="save the file as UTF-8 text"
            ) from error
        return None if node is None else self._value(node, "$", 0)

    def _refuse_surprises(self, event: yaml.Event) -> None:
        what = None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            what = "anchors and aliases are not supported"
        elif getattr(event, "tag", None):
            what = "tags are not supported"
        if what:
            raise UserError(
                what, place=f"{self.name}:{getattr(event.start_mark, 'line', 0) + 1}", remedy="write the value out"
            )

    def _value(self, node: yaml.Node, path: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        if depth > _MAX_DEPTH:
            raise UserError("nested too deeply", place=f"{self.name}:{line}", remedy="a configuration is flat")
        self._refuse_no_text(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)]
        return _scalar(node)

    def _refuse_no_text(self, node: yaml.Node) -> None:
        """Refuse what no file, topic or message can hold."""
        if isinstance(node, yaml.ScalarNode) and _NO_TEXT.search(node.value):
            place = f"{self.name}:{node.start_mark.line + 1}"
            raise UserError("a text with \\0 or half a character", place=place, remedy="leave it out")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = str(key_node.value)
            self._refuse_no_text(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or key in mapping:
                what = f"key {key!r} stands twice" if key in mapping else "a key must be a plain word"
                raise UserError(what, place=f"{self.name}:{line}: {path}", remedy="keep one of them")
            self._lines[f"{path}.{key}"] = line
            mapping[key] = self._value(value_node, f"{path}.{key}", depth + 1)
        return mapping


def _scalar(node: yaml.Node) -> Any:
    kind = node.tag.rsplit(":", 1)[1]
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() == "true"
    if kind == "int" and len(node.value) <= 30:
        return int(node.value)
    if kind == "float":
        return float(node.value)
    return node.value


class _Checker:
    """Converts plain values to structs, going on after each problem."""

    def __init__(self, document: _Document) -> None:
        self._document = document
        self.problems: list[str] = []

    def struct(self, kind: type[msgspec.Struct], value: Any, path: str) -> Any:
        """Convert a mapping; None when there was any problem in it."""
        if not isinstance(value, dict):
            self._report(path, f"expected a mapping of keys, got {_shown(value)}")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        before = len(self.problems)
        converted = {}
        for key, item in value.items():
            where = f"{path}.{key}"
            if key not in fields:
                self._report(where, f"unknown key{_nearest(key, fields)}")
            elif item is None and not fields[key].required:
                continue  # a section whose keys are all commented out
            elif kind is Config and key == "sources":
                converted[key] = self._sources(item, where)
            else:
                converted[fields[key].name] = self._typed(fields[key].type, item, where)
        for key, field in fields.items():
            if field.required and key not in value:
                self._report(path, f"required key {key!r} is missing")
        if len(self.problems) > before:
            return None
        try:
            return kind(**converted)
        except (ValueError, TypeError) as error:  # from a struct's own __post_init__
            self._report(path, str(error))
            return None

    def _typed(self, hint: Any, value: Any, path: str) -> Any:
        """Convert a value; structs inside are walked here, so that each reports all of its problems."""
        if get_origin(hint) is Annotated and _structs_in(hint):
            hint = get_args(hint)[0]
        structs = _structs_in(hint)
        if structs and not (value is None and type(None) in get_args(hint)):
            if get_origin(hint) in {tuple, list}:
                if isinstance(value, list):
                    return tuple(self._typed(get_args(hint)[0], item, f"{path}[{i}]") for i, item in enumerate(value))
            elif structs[0].__struct_config__.tag is None:
                return self.struct(structs[0], value, path)
            else:
                return self._tagged(structs, value, path)
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            problem, _, tail = str(error).partition(" - at `")
            self._report(
                path + tail.removeprefix("$").rstrip("`"), f"{_lowered(problem)} (the value is {_shown(value)})"
            )
            return None

    def _tagged(self, structs: list[type[msgspec.Struct]], value: Any, path: str) -> Any:
        field = structs[0].__struct_config__.tag_field
        known = {str(kind.__struct_config__.tag): kind for kind in structs}
        if not isinstance(value, dict) or field not in value:
            self._report(path, f"expected a mapping with key {field!r}: one of {', '.join(known)}")
            return None
        name = value[field]
        if not isinstance(name, str) or name not in known:
            self._report(f"{path}.{field}", f"unknown {field} {name!r}{_nearest(str(name), known)}")
            return None
        return self.struct(known[name], {k: v for k, v in value.items() if k != field}, path)

    def _sources(self, value: Any, path: str) -> Any:
        if not isinstance(value, list) or not value:
            self._report(path, f"expected a list of sources, got {_shown(value)}")
            return None
        return tuple(self._source(item, f"{path}[{i}]") for i, item in enumerate(value))

    def _source(self, value: Any, path: str) -> SourceConfig | None:
        if not isinstance(value, dict) or "type" not in value:
            self._report(path, f"expected a mapping with key 'type': one of {', '.join(REGISTRY)}")
            return None
        name = value["type"]
        if not isinstance(name, str) or name not in REGISTRY:
            self._report(f"{path}.type", f"unknown source {name!r}{_nearest(str(name), REGISTRY)}")
            return None
        return self.struct(source_class(name).Config, value, path)  # type: ignore[no-any-return]

    def _report(self, path: str, problem: str) -> None:
        self.problems.append(f"{self._document.place(path)}: {problem}")


def _structs_in(hint: Any) -> list[type[msgspec.Struct]]:
    """The struct types that a type hint names, whether optional, in a union, in a list or annotated."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for part in get_args(hint) for found in _structs_in(part)]


def _nearest(key: str, known: Any) -> str:
    matches = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else f"; known are {', '.join(sorted(known))}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
