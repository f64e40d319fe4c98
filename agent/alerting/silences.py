"""Silences: channels that raise no alerts at present, by the configuration's windows or by a command."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from agent.alerting.silence_windows import FixedWindow, WeeklyWindow
from agent.core.channel import NOBODY
from agent.core.errors import UserError
from agent.core.name_patterns import glob
from agent.messages.command import LONGEST_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent.alerting.settings import AlertsConfig, MaintenanceConfig, SilenceConfig
    from agent.alerting.silence_windows import SilenceWindow
    from agent.core.arrays import BoolArray, IntArray
    from agent.core.channel import Channel
    from agent.core.frame import Frame


__all__ = ["Silences", "matching"]

_LOG = logging.getLogger(__name__)


def matching(patterns: Iterable[str], channels: Sequence[Channel]) -> BoolArray:
    """Channels whose name matches any of the patterns, bool[n_channels].

    Parameters
    ----------
    patterns
        Glob patterns with ``*``, ``?`` and ``[…]``, as in a shell.

    Raises
    ------
    UserError
        A pattern matches no channel.

    Examples
    --------
    >>> from agent.core.channel import Channel
    >>> matching(["disk.*"], [Channel("disk.read"), Channel("load")]).tolist()
    [True, False]
    """
    matched = np.zeros(len(channels), bool)
    for pattern in patterns:
        these = _matches(pattern, channels)
        if not these.any():
            raise UserError(f"no channel matches {pattern!r}", remedy="`edgewatch probe` lists the channels' names")
        matched |= these
    return matched


def _matches(pattern: str, channels: Sequence[Channel]) -> BoolArray:
    match = glob([pattern]).match
    return np.array([bool(channel.name) and match(channel.name) is not None for channel in channels], bool)


class Silences:
    """Determines the silenced channels at each frame.

    Windows of the configuration follow the wall clock. Silences by command follow the monotonic clock, so that jumps of
    the wall clock neither prolong nor end them; for each channel the latest command counts.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    config
        The section ``alerts``.

    Examples
    --------
    >>> from agent.alerting.settings import AlertsConfig
    >>> from agent.core.channel import Channel
    >>> from agent.core.frame import Frame
    >>> silences = Silences([Channel("disk.read"), Channel("load")], AlertsConfig())
    >>> silences.add(["disk.*"], 60.0, now_ns=0)
    1
    >>> silences.at(Frame(0, 0, 0.0, None)).tolist()
    [[True, False], [False, False]]
    >>> silences.at(Frame(60, 60_000_000_000, 60.0, None)) is None
    True
    """

    def __init__(self, channels: Sequence[Channel], config: AlertsConfig) -> None:
        self._name(channels)
        self._config = config
        # Monotonic end of each channel's silence by command, nanoseconds, by reason: `UNUSUAL` and `LIMIT`.
        self._until_ns = np.zeros((2, len(channels)), np.int64)
        self._last_ns = 0
        self._windows: list[SilenceWindow] = []
        self.configure(config)

    def configure(self, config: AlertsConfig) -> None:
        """Replace the windows of the configuration; silences by command continue."""
        self._config = config
        self._windows = [FixedWindow(part, self._mask(part)) for part in config.silences]
        self._windows += [WeeklyWindow(part, self._mask(part)) for part in config.maintenance]

    def rename(self, channels: Sequence[Channel], indices: IntArray) -> None:
        """Set the channels anew; silences by command end for these indices, int64[m], which were reassigned."""
        self._name(channels)
        self._until_ns[:, indices] = 0
        self.configure(self._config)

    def _name(self, channels: Sequence[Channel]) -> None:
        self._channels = tuple(channels)
        # Channels that the configuration silences permanently, except at hard limits.
        always = np.array([channel.silent for channel in channels], bool)
        self._always = np.stack((always, np.zeros_like(always)))
        self._some_always = bool(always.any())

    def at(self, frame: Frame) -> BoolArray | None:
        """Silenced channels by reason (`UNUSUAL`, `LIMIT`), bool[2, n_channels]; None if no channel is silenced."""
        if not self._windows and frame.mono_ns >= self._last_ns and not self._some_always:
            return None
        silenced: BoolArray = (self._until_ns > frame.mono_ns) | self._always
        for window in self._windows:
            if window.covers(frame.wall):
                silenced = silenced | window.mask
        return silenced if silenced.any() else None

    def add(self, patterns: Iterable[str], for_s: float, now_ns: int, *, include_limits: bool = False) -> int:
        """Silence channels from now on, replacing earlier commands; return their number.

        Parameters
        ----------
        for_s
            Duration in seconds, at most `LONGEST_S`.
        now_ns
            Monotonic time as in frames, nanoseconds.
        include_limits
            Silence hard limits, too.

        Raises
        ------
        UserError
            A pattern matches no channel.
        """
        which = matching(patterns, self._channels)
        until_ns = now_ns + round(min(for_s, LONGEST_S) * 1e9)
        self._until_ns[:, which] = [[until_ns], [until_ns if include_limits else 0]]
        self._last_ns = int(self._until_ns.max())
        return int(np.count_nonzero(which))

    def lift(self, patterns: Iterable[str]) -> int:
        """End silences by command of matching channels; return their number. Windows of the configuration stay.

        Raises
        ------
        UserError
            A pattern matches no channel.
        """
        which = matching(patterns, self._channels)
        self._until_ns[:, which] = 0
        self._last_ns = int(self._until_ns.max())
        return int(np.count_nonzero(which))

    def remaining(self, now_ns: int) -> dict[str, tuple[float, float]]:
        """Remaining seconds of silences by command, by channel name: (unusual, hard limits)."""
        left = np.maximum(self._until_ns - now_ns, 0) / 1e9
        columns = zip(self._channels, *left.tolist(), strict=True)
        return {channel.name: (unusual, limits) for channel, unusual, limits in columns if unusual or limits}

    def resume(self, remaining: Mapping[str, tuple[float, float]], now_ns: int, away_s: float = 0.0) -> None:
        """Restore silences that `remaining` returned ``away_s`` seconds ago, for channels that still exist."""
        for index, channel in enumerate(self._channels):
            left = [min(s, LONGEST_S) - away_s for s in remaining.get(channel.name, (0.0, 0.0))]
            self._until_ns[:, index] = [now_ns + round(s * 1e9) if s > 0 else 0 for s in left]
        self._last_ns = int(self._until_ns.max(initial=0))

    def _mask(self, part: SilenceConfig | MaintenanceConfig) -> BoolArray:
        """Channels that a window silences, by reason, bool[2, n_channels]."""
        which = np.zeros(len(self._channels), bool)
        for pattern in part.channels:
            these = _matches(pattern, self._channels)
            if not these.any() and NOBODY not in self._channels:
                _LOG.warning("silences: no channel matches %r", pattern)
            which |= these
        return np.stack((which, which & part.include_limits))
