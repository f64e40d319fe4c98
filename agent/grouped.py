"""Thousands of channels, watched in groups whose turns are spread over time, so that no tick bears all of the work."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec.structs
import numpy as np

from agent.types import Verdict
from agent.universal import UniversalWatch
from agent.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config import AlertsConfig, DetectionConfig
    from agent.networks import Networks
    from agent.types import Channel, Float64Array, Frame, IntArray

__all__ = ["LANES", "GroupedWatch"]

#: Most channels that are watched together: more in a batch cost no less each.
LANES = 256


class GroupedWatch(Watch):
    """Watches channels as `UniversalWatch` does, group by group; the groups' blocks end at different rows.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    networks
        Of a universal bundle; all groups run in the same interpreters.
    detection, alerts
        The config's sections.
    interval_s
        Seconds between frames, to which all times are rounded.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        networks: Networks,
        detection: DetectionConfig,
        alerts: AlertsConfig,
        interval_s: float,
    ) -> None:
        super().__init__(channels, alerts, interval_s)
        n = len(channels)
        count = -(-n // LANES)
        bounds = [round(n * part / count) for part in range(count + 1)]
        self._places = [slice(begin, end) for begin, end in pairwise(bounds)]
        # The largest piece of work comes once in so many rows.
        cycle = max(1, round(detection.block_s / interval_s)) * networks.manifest.autoencoder.stride
        self._watches = [
            UniversalWatch(
                channels[place],
                networks,
                detection,
                alerts,
                interval_s,
                phase=cycle * part // count,
                with_readout=False,
            )
            for part, place in enumerate(self._places)
        ]

    @property
    def invalid(self) -> int:  # type: ignore[override]
        """Readings that were there but could not be used, so far."""
        return sum(watch.invalid for watch in self._watches)

    def step(self, frame: Frame) -> Verdict:
        """See `Watch.step`."""
        values = frame.values
        parts = [
            watch.step(msgspec.structs.replace(frame, values=values[place]))
            for place, watch in zip(self._places, self._watches, strict=True)
        ]
        return Verdict.side_by_side(parts, values, self._in_units)

    def replace(self, places: IntArray, channels: Sequence[Channel]) -> None:
        """See `Watch.replace`."""
        for place, watch in zip(self._places, self._watches, strict=True):
            own = np.flatnonzero((places >= place.start) & (places < place.stop))
            if own.size:
                watch.replace(places[own] - place.start, [channels[index] for index in own.tolist()])

    def skip(self, rows: int) -> None:
        """See `Watch.skip`."""
        for watch in self._watches:
            watch.skip(rows)

    def _in_units(self, scaled: Float64Array) -> Float64Array:
        return np.concatenate(
            [watch.in_units(scaled[..., place]) for place, watch in zip(self._places, self._watches, strict=True)],
            axis=-1,
        )
