"""Applies the rules of the section ``channels``, and removes implausible readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec.structs
import numpy as np

from agent.core.name_patterns import glob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from agent.core.arrays import Float32Array
    from agent.core.channel import Channel
    from agent.sampling.settings import ChannelConfig


__all__ = ["ChannelRules", "Plausible"]


class ChannelRules:
    """Overrides fields of channels whose names match a rule.

    Parameters
    ----------
    rules
        The section ``channels``. If several rules set the same field of a channel, the last one counts.

    Examples
    --------
    >>> from agent.sampling.settings import ChannelConfig
    >>> from agent.core.channel import Channel
    >>> hot, all_of_it = ChannelConfig(names=("boiler.*",), alarm_above=90.0), ChannelConfig(names=("*",), unit="°C")
    >>> rules = ChannelRules([all_of_it, hot])
    >>> [(c.unit, c.alarm_above) for c in map(rules.applied, (Channel("boiler.flow"), Channel("attic")))]
    [('°C', 90.0), ('°C', inf)]
    """

    def __init__(self, rules: Iterable[ChannelConfig]) -> None:
        self._rules = [(glob(rule.names), _overrides(rule)) for rule in rules]

    def applied(self, channel: Channel) -> Channel:
        """The channel with the overrides of all matching rules."""
        changes: dict[str, Any] = {}
        for pattern, overrides in self._rules:
            if pattern.match(channel.name):
                changes.update(overrides)
        return msgspec.structs.replace(channel, **changes) if changes else channel


def _overrides(rule: ChannelConfig) -> dict[str, Any]:
    fields = msgspec.structs.asdict(rule)
    del fields["names"]
    return {key: value for key, value in fields.items() if value is not None}


class Plausible:
    """Removes values beyond ``invalid_below`` and ``invalid_above`` of their channels, which are sensor faults.

    Parameters
    ----------
    channels
        Channels in the order of the values.

    Examples
    --------
    >>> from agent.core.channel import Channel
    >>> plausible = Plausible([Channel("room", "°C", invalid_below=-40.0, invalid_above=85.0), Channel("pump")])
    >>> row = np.array([127.9, 300.0], np.float32)
    >>> plausible.clean(row), row.tolist()
    (1, [nan, 300.0])
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._highest = np.array([channel.invalid_above for channel in channels], np.float32)
        self._lowest = np.array([channel.invalid_below for channel in channels], np.float32)
        self._any = bool(np.isfinite(self._highest).any() or np.isfinite(self._lowest).any())

    def clean(self, values: Float32Array) -> int:
        """Replace implausible values by NaN in place; returns their number.

        Parameters
        ----------
        values
            float32[n_channels].
        """
        if not self._any:
            return 0
        beyond = (values > self._highest) | (values < self._lowest)
        values[beyond] = np.nan
        return int(np.count_nonzero(beyond))
