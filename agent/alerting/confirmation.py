"""Confirmation and hysteresis: anomalous readings that open an incident, and quiet ones that end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.alerting.settings import AlertsConfig
    from agent.core.arrays import BoolArray, IntArray

__all__ = ["LIMIT", "UNUSUAL", "Confirmation"]

#: Rows of arrays by reason of an incident: unusual for the channel, or at a hard limit.
UNUSUAL, LIMIT = 0, 1
# Share of the readings within `confirm_s` that must be anomalous. Chosen by hand.
_CONFIRMED_SHARE = 0.8
# Quiet readings that end an incident if readings are further apart than `clear_s`. Chosen by hand.
_CLEAR_READINGS = 3
# Seconds without a reading after which a channel no longer keeps its incident open. Chosen by hand.
_MISSING_S = 60.0


class ConfirmationState(State):
    """Fields of a `Confirmation` that outlive a restart; rows of arrays of two are `UNUSUAL` and `LIMIT`."""

    # Whether each of the newest readings was anomalous, newest last.
    history: BoolArray = array("flag", 2, CHANNEL, "recent", dtype=bool)
    any_history: bool = number("flag", initial=False)
    # Tick of the first anomalous reading in the present history.
    began: IntArray = array("ticks", 2, CHANNEL, dtype=np.int64)
    quiet_rows: IntArray = array("readings", CHANNEL, dtype=np.int64)
    absent_rows: IntArray = array("readings", CHANNEL, dtype=np.int64)
    # Tick at which the cool-down ends.
    silent_until: IntArray = array("ticks", 2, CHANNEL, dtype=np.int64)


class Confirmation:
    """Counts anomalous, quiet and missing readings of every channel.

    Parameters
    ----------
    config
        The section ``alerts``.
    interval_s
        Seconds between ticks.
    every
        int64[n_channels], ticks between the readings of each channel.
    """

    def __init__(self, config: AlertsConfig, interval_s: float, every: IntArray) -> None:
        own_s = interval_s * every
        confirm_rows = np.maximum(1, np.round(config.confirm_s / own_s))
        self._needed = np.maximum(1, np.ceil(_CONFIRMED_SHARE * confirm_rows)).astype(np.int64)
        self._clear_rows = np.where(own_s <= config.clear_s, np.round(config.clear_s / own_s), _CLEAR_READINGS)
        self._missing_rows = np.maximum(1, np.round(_MISSING_S / own_s))
        self._cooldown_ticks = round(config.cooldown_s / interval_s)
        longest = max(1, round(config.confirm_s / interval_s))
        # Readings of the history by which each channel is confirmed, bool[n_channels, longest].
        self._looked_at = np.arange(longest) >= longest - confirm_rows[:, None]
        self._state = ConfirmationState(channel=every.size, recent=longest)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    @property
    def pending(self) -> bool:
        """Whether any of the newest readings of any channel was anomalous."""
        return self._state.any_history

    @property
    def began(self) -> IntArray:
        """Tick of the first anomalous reading in the present history, int64[2, n_channels]."""
        return self._state.began

    def push(self, anomalous: BoolArray, missing: BoolArray, waiting: BoolArray, tick: int) -> BoolArray:
        """Update with the readings of a tick.

        Parameters
        ----------
        anomalous
            bool[2, n_channels], by reason.
        missing
            bool[n_channels], channels whose reading at this tick is missing.
        waiting
            bool[n_channels], channels without a reading at this tick, missing or not due.
        tick
            Number of the tick.

        Returns
        -------
        Confirmed anomalies of channels outside their cool-down, bool[2, n_channels].
        """
        state = self._state
        # A missing reading is neither anomalous nor quiet.
        shifted = np.concatenate((state.history[:, :, 1:], anomalous[:, :, None]), axis=2)
        state.history = np.where(waiting[:, None], state.history, shifted)
        state.any_history = bool(state.history.any())
        counts = (state.history & self._looked_at).sum(axis=2)
        state.began[anomalous & (counts == 1)] = tick
        state.absent_rows = np.where(missing, state.absent_rows + 1, np.where(waiting, state.absent_rows, 0))
        # Without a reading nothing new is known: a verdict that lasts meanwhile confirms nothing.
        confirmed: BoolArray = anomalous & ~waiting & (counts >= self._needed) & (state.silent_until <= tick)
        return confirmed

    def count_quiet(self, quiet: BoolArray, waiting: BoolArray) -> None:
        """Count quiet channels, bool[n_channels]; waiting ones keep their count, others restart at 0."""
        state = self._state
        state.quiet_rows = np.where(quiet, state.quiet_rows + 1, np.where(waiting, state.quiet_rows, 0))

    def restart(self, channels: IntArray) -> None:
        """Reset the counts of quiet and missing readings of channels, int64[m], that join an incident."""
        self._state.quiet_rows[channels] = 0
        self._state.absent_rows[channels] = 0

    def is_quiet(self, channels: IntArray) -> BoolArray:
        """Which of these channels, int64[m], were quiet for ``clear_s``; bool[m]."""
        quiet: BoolArray = self._state.quiet_rows[channels] >= self._clear_rows[channels]
        return quiet

    def is_long_quiet(self, channels: IntArray) -> BoolArray:
        """Which of these channels, int64[m], were quiet for ``clear_s`` and ``cooldown_s`` together; bool[m]."""
        quiet: BoolArray = self._state.quiet_rows[channels] >= self._clear_rows[channels] + self._cooldown_ticks
        return quiet

    def is_gone(self, channels: IntArray) -> BoolArray:
        """Which of these channels, int64[m], have had no reading for a minute; bool[m]."""
        gone: BoolArray = self._state.absent_rows[channels] >= self._missing_rows[channels]
        return gone

    def cool_down(self, channel: int, tick: int, reasons: BoolArray, *, at_once: bool = False) -> None:
        """Start the cool-down of a channel, in which it opens no incident.

        Parameters
        ----------
        channel, tick
            Index of the channel, and number of the present tick.
        reasons
            bool[2], reasons for which it was in an incident. `UNUSUAL` always cools down.
        at_once
            End the cool-down at once, for a channel that was already quiet for as long.
        """
        until = tick + (0 if at_once else self._cooldown_ticks)
        self._state.silent_until[:, channel][reasons] = until
        self._state.silent_until[UNUSUAL, channel] = until
