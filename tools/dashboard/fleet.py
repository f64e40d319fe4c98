"""State, incidents and recent channel history of all nodes, collected from their messages.

Messages are untrusted: they are decoded by the types of the contract, names are stripped of control characters, and
the amount of stored data is limited.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from agent.core.text import plain
from agent.messages.alert import Alert, Digest
from agent.messages.command import Answer
from agent.messages.status import Health, Metrics, NodeState

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.arrays import Float32Array, Float64Array, IntArray
    from agent.messages.status import ChannelMetric

__all__ = ["ANSWERS", "FIELDS", "Fleet", "Incident", "Node", "Standing", "Worst"]

#: Quantities stored of a channel's history.
FIELDS = ("value", "expected", "lower", "upper", "score", "anomalous")
# Limits of stored data, chosen by hand; `_LARGEST_ALERT` is in bytes, `_LONGEST_NAME` in characters.
_MOST_NODES = 200
_MOST_CHANNELS = 2000
_MOST_INCIDENTS = 100
_LARGEST_ALERT = 16_384
_MOST_IDS = 2000
_MOST_ANSWERS = 100
_LONGEST_NAME = 100
# Readings kept of a node, 24 bytes each.
_MOST_READINGS = 200_000
# Rows kept of each channel: half an hour at 1 Hz, fewer with many channels.
_FEWEST_ROWS, _MOST_ROWS = 64, 1800
# A node is silent after this many of its metrics intervals without metrics, and at least these seconds; by hand.
_SILENT_TURNS, _SILENT_S = 3.5, 4.0
# Metrics this many seconds older than the newest are not late: the node's clock was set back. Chosen by hand.
_SET_BACK_S = 60.0

#: State of a node: as published, or inferred from missing messages.
Standing: TypeAlias = Literal["learning", "normal", "anomalous", "offline", "silent", "unknown"]
_DECODERS: dict[str, Any] = {
    "state": msgspec.json.Decoder(NodeState),
    "metrics": msgspec.json.Decoder(Metrics),
    "health": msgspec.json.Decoder(Health),
    "digest": msgspec.json.Decoder(Digest),
}
_ALERT = msgspec.json.Decoder(Alert)
_ANSWER = msgspec.json.Decoder(Answer)
#: Subtopic of answers to commands without a response topic.
ANSWERS = "cmd/answer"


class Worst(NamedTuple):
    """An unusual channel."""

    channel: str
    score: float
    anomalous: bool


class Incident(msgspec.Struct):
    """An incident, from its alert messages.

    Parameters
    ----------
    name
        Id of the incident, as in commands.
    newest
        Last message of the incident.
    opened
        Wall time of its begin, seconds since 1970.
    closed
        Wall time of its end, seconds since 1970; None while open.
    acknowledged
        Whether it was acknowledged by a command.
    """

    name: str
    newest: Alert
    opened: float
    closed: float | None = None
    acknowledged: bool = False


class Course:
    """Recent readings of all channels of a node, in growing ring buffers of at most `_MOST_ROWS` rows."""

    def __init__(self) -> None:
        self._time = np.full(0, np.nan)
        self._rows: Float32Array = np.full((0, len(FIELDS), 0), np.nan, np.float32)
        # Number of stored rows, and index of the next one.
        self._kept = self._next = 0
        #: Column of each channel.
        self.indices: dict[str, int] = {}

    def add(self, metrics: Metrics) -> None:
        """Store the readings of a metrics message."""
        new = [name for name in metrics.channels if name not in self.indices][: _MOST_CHANNELS - len(self.indices)]
        self.indices.update({name: len(self.indices) + index for index, name in enumerate(new)})
        most = max(_FEWEST_ROWS, min(_MOST_ROWS, _MOST_READINGS // max(len(self.indices), 1)))
        if new or self._kept == len(self._time) < most:
            self._resize(min(most, max(_FEWEST_ROWS, 2 * self._kept)))
        row = np.full((len(FIELDS), len(self.indices)), np.nan, np.float32)
        with np.errstate(over="ignore"):  # values too large for float32 become infinite and are not drawn
            for name, metric in metrics.channels.items():
                index = self.indices.get(name)
                if index is not None:
                    row[:, index] = _fields(metric)
        self._time[self._next] = metrics.ts
        self._rows[self._next] = row
        self._next = (self._next + 1) % len(self._time)
        self._kept = min(self._kept + 1, len(self._time))

    def of(self, channel: str, after: float = -np.inf) -> tuple[Float64Array, Float32Array]:
        """Wall times later than ``after``, float64[n], and the channel's `FIELDS`, float32[6, n]; oldest first."""
        index, order = self.indices.get(channel), self._order()
        if index is None:
            return np.empty(0), np.empty((len(FIELDS), 0), np.float32)
        selected = order[self._time[order] > after]
        return self._time[selected], self._rows[selected, :, index].T

    @property
    def newest(self) -> float:
        """Wall time of the newest row, seconds since 1970; minus infinity before the first."""
        return float(self._time[self._next - 1]) if self._kept else -np.inf

    def _order(self) -> IntArray:
        """Indices of the stored rows, oldest first."""
        order: IntArray = (self._next - self._kept + np.arange(self._kept)) % max(len(self._time), 1)
        return order

    def _resize(self, size: int) -> None:
        order = self._order()[-size:]
        times = np.full(size, np.nan)
        rows = np.full((size, len(FIELDS), len(self.indices)), np.nan, np.float32)
        times[: order.size] = self._time[order]
        rows[: order.size, :, : self._rows.shape[2]] = self._rows[order]
        self._time, self._rows, self._kept, self._next = times, rows, order.size, order.size % size


def _fields(metric: ChannelMetric) -> list[float]:
    numbers = (metric.value, metric.expected, metric.lower, metric.upper, metric.score)
    return [np.nan if number is None else number for number in numbers] + [float(metric.anomalous)]


class Node:
    """One node.

    Parameters
    ----------
    name
        Name as shown.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self._clock = clock
        self._seen: deque[str] = deque(maxlen=_MOST_IDS)
        self.online: bool | None = None
        self.state: NodeState | None = None
        self.metrics: Metrics | None = None
        self.health: Health | None = None
        self.digest: Digest | None = None
        self.course = Course()
        #: Incidents by id, oldest first.
        self.incidents: OrderedDict[str, Incident] = OrderedDict()
        self._last_message_s = clock()
        self._metrics_at: float | None = None
        self._metrics_every = np.nan

    def take(self, leaf: str, payload: bytes) -> bool:
        """Process a message; give False for an unknown topic.

        Raises
        ------
        msgspec.MsgspecError
            The message violates the contract.
        """
        if leaf == "status":
            if payload not in {b"online", b"offline"}:
                raise msgspec.ValidationError("expected online or offline")
            self.online = payload == b"online"
        elif leaf == "alert":
            if len(payload) > _LARGEST_ALERT:
                raise msgspec.ValidationError(f"alert larger than {_LARGEST_ALERT} bytes")
            self._take_alert(_ALERT.decode(payload))
        elif leaf in _DECODERS:
            message = _DECODERS[leaf].decode(payload)
            setattr(self, leaf, message)
            if isinstance(message, Metrics):
                self._take_metrics(message)
        else:
            return False
        self._last_message_s = self._clock()
        return True

    def _take_metrics(self, metrics: Metrics) -> None:
        now = self._clock()
        if self._metrics_at is not None:
            self._metrics_every = now - self._metrics_at
        self._metrics_at = now
        if metrics.ts > self.course.newest or metrics.ts < self.course.newest - _SET_BACK_S:
            self.course.add(metrics)

    def _take_alert(self, alert: Alert) -> None:
        if alert.id in self._seen:
            return
        self._seen.append(alert.id)
        known = self.incidents.get(alert.incident)
        if known is None:
            known = self.incidents[alert.incident] = Incident(alert.incident, alert, alert.started)
            while len(self.incidents) > _MOST_INCIDENTS:
                self.incidents.popitem(last=False)
        known.newest = alert
        known.acknowledged |= alert.reason == "acknowledged"
        if alert.phase == "close":
            known.closed = alert.ts

    @property
    def open(self) -> list[Incident]:
        """Open incidents, newest first."""
        return [incident for incident in reversed(self.incidents.values()) if incident.closed is None]

    @property
    def standing(self) -> Standing:
        """State as published, unless the node is offline or silent."""
        if self.online is False:
            return "offline"
        if self._metrics_at is not None:
            interval_s = self._metrics_every if np.isfinite(self._metrics_every) else 0.0
            if self._clock() - self._metrics_at > max(_SILENT_TURNS * interval_s, _SILENT_S):
                return "silent"
        return self.state.state if self.state else "unknown"

    @property
    def silent_s(self) -> float:
        """Seconds since the last message."""
        return self._clock() - self._last_message_s

    @property
    def progress(self) -> float:
        """Learning progress, 0 to 1."""
        if self.metrics and self.metrics.channels:
            return sum(metric.progress for metric in self.metrics.channels.values()) / len(self.metrics.channels)
        return self.state.learning_progress if self.state else 0.0

    def worst(self, most: int = 3) -> list[Worst]:
        """The ``most`` most unusual channels, the worst first."""
        if self.metrics is None:
            return []
        ranked = sorted(self.metrics.channels.items(), key=lambda item: (-item[1].anomalous, -item[1].score))
        return [Worst(name, metric.score, metric.anomalous) for name, metric in ranked[:most]]


class Fleet:
    """All nodes below a prefix.

    Parameters
    ----------
    prefix
        Topic prefix of all nodes.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix = f"{prefix}/"
        self._clock = clock
        #: Nodes by their topic level.
        self.nodes: dict[str, Node] = {}
        #: Answers by command id, the latest last.
        self.answers: OrderedDict[str, Answer] = OrderedDict()
        #: Number of invalid messages.
        self.refused = 0

    def take(self, topic: str, payload: bytes) -> None:
        """Process a message; invalid ones are counted in `refused`."""
        name, _, leaf = topic.removeprefix(self._prefix).partition("/")
        if not topic.startswith(self._prefix) or not leaf or ("/" in leaf and leaf != ANSWERS):
            return
        try:
            node = self.nodes.get(name)
            if leaf == ANSWERS:
                self._take_answer(_ANSWER.decode(payload))
            elif node is not None and not payload and leaf in {"status", "state"}:
                del self.nodes[name]  # an empty payload deletes the retained message: the node was removed
            elif node is not None:
                node.take(leaf, payload)
            elif len(self.nodes) < _MOST_NODES and payload:
                node = Node(plain(name, _LONGEST_NAME), self._clock)
                if node.take(leaf, payload):
                    self.nodes[name] = node
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.refused += 1

    def _take_answer(self, answer: Answer) -> None:
        self.answers[answer.id] = answer
        while len(self.answers) > _MOST_ANSWERS:
            self.answers.popitem(last=False)
