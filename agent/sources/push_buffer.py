"""Buffer for pushed readings: takes them from any thread, and makes a row of them at each tick.

Each name is a channel with an index of its own, up to `max_channels`. A name that is silent for `forget_s` loses its
index to the next new name.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta

from agent.core.channel import NOBODY, Channel
from agent.sources.base import SourceConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agent.core.arrays import Float32Array

__all__ = ["ArrivalsConfig", "Arriving", "PushBuffer"]

_LOG = logging.getLogger(__name__)
# Characters of a channel's name; chosen by hand.
_LONGEST_NAME = 200
# Seconds between searches for silent channels; chosen by hand.
_SEARCH_EVERY_S = 60.0
_How = Literal["last", "mean", "count"]


class ArrivalsConfig(SourceConfig, frozen=True):
    """Keys of all sources whose readings arrive by themselves."""

    max_channels: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Maximum number of channels; readings of further names are counted and left out.",
        ),
    ] = 200
    how: Annotated[
        _How,
        Meta(
            description=(
                "Value of a tick from the readings since the previous tick: the `last` one, their `mean`, or their "
                "`count`."
            )
        ),
    ] = "last"
    stale_s: Annotated[
        float, Meta(gt=0, description="Seconds until a reading is stale; then the channel is missing.")
    ] = 60.0
    forget_s: Annotated[
        float,
        Meta(
            gt=0,
            description=(
                "Seconds without a reading after which a channel is forgotten and its place is free for another one."
            ),
        ),
    ] = 7 * 86400.0


class PushBuffer:
    """Assigns an index to each name, in the order of first readings, and collects readings between ticks.

    Parameters
    ----------
    config
        The source's configuration keys.
    clock
        Monotonic time in seconds.

    Examples
    --------
    >>> arrivals = PushBuffer(ArrivalsConfig(type="stream", max_channels=2))
    >>> arrivals.take([("oven", 180.0), ("room", 21.0), ("attic", 9.0)])
    >>> arrivals.row().tolist()
    [180.0, 21.0]
    >>> [(index, channel.name) for index, channel in arrivals.changes()]
    [(0, 'oven'), (1, 'room')]
    >>> arrivals.left_out
    Counter({'too many names': 1})
    """

    def __init__(
        self,
        config: ArrivalsConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        n = config.max_channels
        #: Channel of each index; `NOBODY` if it is free.
        self.channels: list[Channel] = [NOBODY] * n
        self._indices: dict[str, int] = {}
        self._free = list(range(n - 1, -1, -1))
        # Lists: storing a single value is faster than in numpy arrays.
        self._newest = [float("nan")] * n
        self._sum = [0.0] * n
        self._count = [0] * n
        self._at = [float("-inf")] * n
        self._changed: dict[int, Channel] = {}
        self._searched_at = clock()
        #: Number of unusable readings, by reason.
        self.left_out: Counter[str] = Counter()

    @property
    def capacity(self) -> int:
        """Maximum number of channels."""
        return self._config.max_channels

    def take(self, readings: Iterable[tuple[str, float]]) -> None:
        """Store readings, pairs of name and finite value; callable from any thread."""
        now = self._clock()
        with self._lock:
            indices = self._indices
            for name, value in readings:
                index = indices.get(name, -1)
                if index < 0:
                    index = self._claim(name)
                    if index < 0:
                        continue
                self._newest[index] = value
                self._sum[index] += value
                self._count[index] += 1
                self._at[index] = now

    def leave_out(self, why: str) -> None:
        """Count an unusable reading by its reason, and log the first of each reason."""
        with self._lock:
            self._leave_out(why)

    def row(self) -> Float32Array:
        """Return the readings since the last row, combined by `how`: float32[max_channels], NaN where missing."""
        now = self._clock()
        with self._lock:
            count = np.array(self._count, np.float64)
            at = np.array(self._at)
            how = self._config.how
            if how == "count":
                row = np.where(np.isfinite(at), count, np.nan)
            else:
                newest = np.array(self._newest)
                if how == "mean":
                    newest = np.where(count > 0, np.array(self._sum) / np.maximum(count, 1.0), newest)
                row = np.where(now - at <= self._config.stale_s, newest, np.nan)
            n = len(self._count)
            self._count = [0] * n
            self._sum = [0.0] * n
            if now - self._searched_at > min(self._config.forget_s, _SEARCH_EVERY_S):
                self._searched_at = now
                for index in np.flatnonzero(np.isfinite(at) & (now - at > self._config.forget_s)).tolist():
                    self._release(index)
        with np.errstate(over="ignore"):
            return row.astype(np.float32)

    def changes(self) -> list[tuple[int, Channel]]:
        """Return the indices reassigned since the last call, each with its new channel."""
        with self._lock:
            changed, self._changed = self._changed, {}
        return sorted(changed.items())

    def restore(self, channels: Sequence[tuple[int, str]]) -> None:
        """Assign indices of an earlier run to names; call it before the first reading."""
        now = self._clock()
        with self._lock:
            for index, name in channels:
                free = index < len(self.channels) and self.channels[index] is NOBODY
                if free and name not in self._indices:
                    self._settle(name, index)
                    self._at[index] = now  # `forget_s` starts now
            self._free = [index for index in self._free if self.channels[index] is NOBODY]

    def _claim(self, name: str) -> int:
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            self._leave_out("name that cannot be shown")
            return -1
        if not self._free:
            self._leave_out("too many names")
            return -1
        index = self._free.pop()
        self._settle(name, index)
        return index

    def _settle(self, name: str, index: int) -> None:
        self._indices[name] = index
        self.channels[index] = self._changed[index] = Channel(name)

    def _release(self, index: int) -> None:
        name = self.channels[index].name
        _LOG.info("%s had no reading for %g s: the channel is forgotten", name, self._config.forget_s)
        del self._indices[name]
        self._free.append(index)
        self.channels[index] = self._changed[index] = NOBODY
        self._newest[index], self._at[index] = float("nan"), float("-inf")

    def _leave_out(self, why: str) -> None:
        if not self.left_out[why]:
            _LOG.warning("unusable reading: %s; further ones are counted in health.left_out", why)
        self.left_out[why] += 1


class Arriving:
    """Base class of sources with pushed readings; implements `OpenSource`."""

    def __init__(self, config: ArrivalsConfig) -> None:
        self._arrivals = PushBuffer(config)

    @property
    def channels(self) -> Sequence[Channel]:
        """See `OpenSource`."""
        return self._arrivals.channels

    @property
    def left_out(self) -> dict[str, int]:
        """Number of unusable lines and readings, by reason."""
        return dict(self._arrivals.left_out)

    def read(self) -> Float32Array:
        """See `Source.read`."""
        return self._arrivals.row()

    def changes(self) -> Sequence[tuple[int, Channel]]:
        """See `OpenSource.changes`."""
        return self._arrivals.changes()

    def restore(self, names: Sequence[tuple[int, str]]) -> None:
        """See `OpenSource.restore`."""
        self._arrivals.restore(names)
