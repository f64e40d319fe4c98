"""Reads sources into frames, one a tick, at absolute deadlines that slow sources do not delay."""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING

import numpy as np

from agent.core.channel import NOBODY, owned
from agent.core.errors import UserError
from agent.core.frame import Frame
from agent.sampling.channel_rules import ChannelRules, Plausible
from agent.sampling.derived_channels import DerivedChannels
from agent.sources.base import EndOfInputError, OpenSource, named_twice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agent.core.arrays import BoolArray, Float32Array
    from agent.core.channel import Channel
    from agent.core.clock import Clock
    from agent.sampling.settings import DerivedConfig
    from agent.sources.base import Source

__all__ = ["Sampler"]

_LOG = logging.getLogger(__name__)
# A tick waits for slow sources this many seconds, or this share of the interval if shorter; chosen by hand.
_GRACE_S = 0.25
_GRACE_SHARE = 0.25
# Seconds between the start of a reading and its frame, for sources that are not read at every tick; chosen by hand.
_LEAD_S = 10.0
# Nanoseconds of a gap without frames from which it is logged; chosen by hand.
_SUSPENDED_NS = 30 * 10**9


class _Slot:
    """A source with its columns in the frame and its reading schedule.

    It is read every ``every`` ticks. A reading starts ``lead`` ticks before the frame that contains it.
    """

    def __init__(self, name: str, source: Source, start: int, every: int, lead: int) -> None:
        self.name = name
        self.source = source
        self.columns = slice(start, start + len(source.channels))
        self.every = every
        self._lead = min(lead, every - 1)
        # Numbers of the turns whose reading was started last, and was due last.
        self._asked: int | None = None
        self._taken: int | None = None
        self.failures = 0
        self._failing = False

    def channels_at_start(self) -> Sequence[Channel]:
        """Channels of the columns; `NOBODY` for those of an open source, until `Sampler.changes`."""
        open_ = isinstance(self.source, OpenSource)
        return [NOBODY] * len(self.source.channels) if open_ else self.source.channels

    def is_asked(self, seq: int) -> bool:
        """Whether a reading must start at this tick."""
        before, self._asked = self._asked, seq // self.every
        return before != self._asked if before is not None else seq % self.every == 0

    def is_due(self, seq: int) -> bool:
        """Whether the frame of this tick contains a reading of this source."""
        before, self._taken = self._taken, (seq - self._lead) // self.every
        return before != self._taken if before is not None else (seq - self._lead) % self.every == 0

    def read(self) -> Float32Array | None:
        """Read the source; None if it fails, which is counted, and logged at the first of consecutive failures."""
        try:
            with np.errstate(over="ignore"):  # 1e308 becomes infinite, which is an invalid reading
                row = np.asarray(self.source.read(), np.float32)
            if row.shape != (len(self.source.channels),):
                self._failed(f"expected {len(self.source.channels)} values, got an array of shape {row.shape}")
                return None
        except EndOfInputError:
            raise
        except Exception as error:  # noqa: BLE001 - a source may raise anything, and the daemon must continue
            self._failed(f"{type(error).__name__}: {error}")
            return None
        if self._failing:
            self._failing = False
            _LOG.info("source %s: works again", self.name)
        return row

    def late(self) -> None:
        """Count a reading that was not ready for its frame."""
        self._failed("no reading in time")

    def _failed(self, why: str) -> None:
        self.failures += 1
        if not self._failing:
            self._failing = True
            _LOG.warning("source %s: %s", self.name, why)


def _slots(sources: Sequence[tuple[str, Source]], every: Sequence[int], lead: int) -> list[_Slot]:
    """Assign each source consecutive columns of the frame."""
    slots: list[_Slot] = []
    start = 0
    for (name, source), ticks in zip(sources, every, strict=True):
        slots.append(_Slot(name, source, start, ticks, lead))
        start += len(source.channels)
    return slots


class _Worker:
    """Reads a source that may block in its own thread, so that it delays its reading but no tick."""

    def __init__(self, slot: _Slot) -> None:
        self.slot = slot
        self._asked = threading.Event()
        self._answered = threading.Event()
        self._row: Float32Array | None = None
        self._busy = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"source-{slot.name}", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Start a reading, unless the last one is not finished."""
        if not self._busy:
            self._busy = True
            self._answered.clear()
            self._asked.set()

    def answer(self, timeout_s: float) -> Float32Array | None:
        """Wait for the reading, float32[n]; None if it failed or is not finished (a later tick takes it then)."""
        if not self._busy:  # the run began between the start of a reading and its frame
            return None
        if not self._answered.wait(timeout_s):
            self.slot.late()
            return None
        self._busy = False
        if self._ended:
            raise EndOfInputError
        return self._row

    def stop(self) -> None:
        """Let the thread end after its present reading; one that hangs ends with the process."""
        self._ended = True
        self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._ended:
                return
            try:
                self._row = self.slot.read()
            except EndOfInputError:
                self._ended = True
            self._answered.set()


class Sampler:
    """Reads sources into frames, one a tick.

    Deadlines are absolute: tick k is due at start + k · interval. If a tick is missed, it is counted and ``seq`` skips
    its number. A slow source delivers its reading with a later frame, and NaN until then.

    Parameters
    ----------
    sources
        Name and source, in the order of the frames' values.
    interval_s
        Seconds between ticks.
    clock
        Source of time.
    every
        Ticks between readings, by source; 1 by default.
    rules
        Overrides for channels; none by default.
    derived
        Channels that are computed from others; they follow those of the sources.

    Raises
    ------
    UserError
        Two sources have a channel of the same name, or there is no channel.
    """

    def __init__(
        self,
        sources: Sequence[tuple[str, Source]],
        interval_s: float,
        clock: Clock,
        *,
        every: Sequence[int] | None = None,
        rules: ChannelRules | None = None,
        derived: Sequence[DerivedConfig] = (),
    ) -> None:
        self._clock = clock
        self._interval_ns = max(1, round(interval_s * 1e9))
        self._grace_s = min(_GRACE_S, _GRACE_SHARE * interval_s)
        self._rules = rules or ChannelRules(())
        self._slots = _slots(sources, every or [1] * len(sources), lead=math.ceil(_LEAD_S / interval_s))
        self._paces = {slot.every for slot in self._slots}
        self._derived = DerivedChannels(derived, interval_s)
        channels = [channel for slot in self._slots for channel in slot.channels_at_start()]
        channels += self._derived.channels
        self._take(self._rules.applied(channel) if channel is not NOBODY else NOBODY for channel in channels)
        paces = np.array([slot.every for slot in self._slots for _ in slot.source.channels], np.int64)
        #: int64[n], ticks between readings of each channel.
        self.every = np.concatenate((paces, self._derived.pace(paces)))
        self._refuse_bad_names()
        self._open = [(slot.columns.start, slot.source) for slot in self._slots if isinstance(slot.source, OpenSource)]
        self._inline = [slot for slot in self._slots if slot.source.inline]
        self._workers = [_Worker(slot) for slot in self._slots if not slot.source.inline]
        #: Missed ticks.
        self.missed = 0
        #: Implausible readings; see `Plausible`.
        self.invalid = 0
        self._first_seq = 0

    def _refuse_bad_names(self) -> None:
        """Raise `UserError` if two sources share a channel name, or if there is no channel."""
        twice = named_twice([channel.name for channel in self.channels if channel is not NOBODY])
        if twice is not None or not self.channels:
            raise UserError(
                f"channel {twice!r} comes from two sources" if self.channels else "the sources have no channels",
                location="$.sources",
                remedy="give each channel one source" if self.channels else "name at least one source with a channel",
            )

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources, in the order of the frames' values."""
        return tuple(slot.source for slot in self._slots)

    @property
    def failures(self) -> dict[str, int]:
        """Number of failed and late readings, by source."""
        return {slot.name: slot.failures for slot in self._slots}

    @property
    def left_out(self) -> dict[str, dict[str, int]]:
        """Number of unusable inputs of push sources, by source and reason."""
        by_source = {slot.name: getattr(slot.source, "left_out", None) for slot in self._slots}
        return {name: dict(counts) for name, counts in by_source.items() if counts}

    def changes(self) -> list[tuple[int, Channel]]:
        """Apply and return the changes of open sources' channels since the last call.

        A channel whose name another source already has is omitted and logged.

        Returns
        -------
        list of (int, Channel)
            Index in the frame and its new channel; `NOBODY` if the index is free now.
        """
        found = [(start + index, channel) for start, source in self._open for index, channel in source.changes()]
        if found:
            channels = list(self.channels)
            taken = {channel.name for channel in channels}
            for position, (index, channel) in enumerate(found):
                if channel is NOBODY:
                    pass
                elif channel.name in taken and channel.name != channels[index].name:
                    _LOG.warning("channel %r comes from two sources; the later one is ignored", channel.name)
                    found[position] = index, NOBODY
                else:
                    taken.add(channel.name)
                    found[position] = index, self._rules.applied(channel)
                channels[index] = found[position][1]
            self._take(channels)
        return found

    def _take(self, channels: Iterable[Channel]) -> None:
        #: Channels in the order of the frames' values; `NOBODY` for a free index.
        self.channels = tuple(channels)
        #: Indices of the frame that belong to a channel.
        self.occupied = owned(self.channels)
        self._derived.find(self.channels)
        self._plausible = Plausible(self.channels)

    def restore(self, names: Mapping[int, str]) -> None:
        """Assign channels of open sources the indices in the frame that they had in an earlier run."""
        for start, source in self._open:
            own = range(start, start + len(source.channels))
            source.restore([(index - start, name) for index, name in names.items() if index in own])

    def open_channels(self) -> dict[int, str]:
        """Names of the channels of open sources, by index in the frame."""
        occupied = set(self.occupied)
        return {
            index: self.channels[index].name
            for start, source in self._open
            for index in occupied.intersection(range(start, start + len(source.channels)))
        }

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the clock is stopped or a finite source ends."""
        start_ns = self._clock.monotonic_ns()
        seq = 0
        while self._clock.sleep_until(deadline_ns := start_ns + seq * self._interval_ns):
            number = self._first_seq + seq
            try:
                values, due = self._read(number)
            except EndOfInputError:
                return
            yield Frame(number, deadline_ns, self._clock.wall(), values, due)
            behind = (self._clock.monotonic_ns() - start_ns) // self._interval_ns
            if behind > seq + 1:
                self.missed += behind - seq - 1
                gap_ns = (behind - seq) * self._interval_ns
                if gap_ns > _SUSPENDED_NS:
                    _LOG.warning("no frame for %.0f s: the machine was suspended, or a step was too slow", gap_ns / 1e9)
                seq = behind
            else:
                seq += 1

    @property
    def first_seq(self) -> int:
        """Number of the first frame."""
        return self._first_seq

    def continue_from(self, seq: int) -> None:
        """Set the number of the first frame, to continue that of an earlier run."""
        self._first_seq = seq

    def close(self) -> None:
        """Stop the threads and close the sources."""
        for worker in self._workers:
            worker.stop()
        for slot in self._slots:
            slot.source.close()

    def _read(self, seq: int) -> tuple[Float32Array, BoolArray | None]:
        """Read a frame: float32[n] values, and bool[n] channels that were due (None if all were)."""
        values = np.full(len(self.channels), np.nan, np.float32)
        for worker in self._workers:
            if worker.slot.is_asked(seq):
                worker.ask()
        due = {slot.every for slot in self._slots if slot.is_due(seq)}
        for slot in self._inline:
            if slot.every in due:
                self._put(values, slot, slot.read())
        until_ns = self._clock.monotonic_ns() + round(self._grace_s * 1e9)
        for worker in self._workers:
            if worker.slot.every in due:
                row = worker.answer(max(0.0, (until_ns - self._clock.monotonic_ns()) / 1e9))
                self._put(values, worker.slot, row)
        self.invalid += self._plausible.clean(values)
        self._derived.fill(values, seq)
        return values, None if len(due) == len(self._paces) else np.isin(self.every, list(due))

    @staticmethod
    def _put(values: Float32Array, slot: _Slot, row: Float32Array | None) -> None:
        if row is not None:
            values[slot.columns] = row
