"""Which channels and incidents are silenced at the present tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.alerting.confirmation import LIMIT, UNUSUAL

if TYPE_CHECKING:
    from agent.alerting.incident import Incident
    from agent.core.arrays import BoolArray

__all__ = ["Audibility"]


class Audibility:
    """Combines silences with the reason for which each channel is part of an incident."""

    def __init__(self) -> None:
        # Silenced channels by reason, bool[2, n], and for their present reason, bool[n]; None if none is silenced.
        self._silence: BoolArray | None = None
        self._silent: BoolArray | None = None

    @property
    def silenced(self) -> int:
        """Number of silenced channels."""
        return 0 if self._silence is None else int(np.count_nonzero(self._silence[UNUSUAL]))

    def update(self, silence: BoolArray | None) -> None:
        """Take in the silences of the present tick, bool[2, n_channels]; None if there is none."""
        self._silence = silence

    def apply(self, member: BoolArray) -> BoolArray | None:
        """Find the channels silenced for their present reason, bool[n_channels]; None if none is.

        Parameters
        ----------
        member
            bool[2, n_channels], channels that are part of an incident, by reason.
        """
        if self._silence is None:
            self._silent = None
        else:
            self._silent = np.where(member[LIMIT], self._silence[LIMIT], self._silence[UNUSUAL])
        return self._silent

    def are_silent(self, channels: list[int]) -> bool:
        """Whether all of these channels are silenced."""
        return self._silent is not None and bool(self._silent[channels].all())

    def is_silent(self, incident: Incident) -> bool:
        """Whether all channels of an incident are silenced."""
        return self.are_silent(list(incident.worst))

    def heard(self, incident: Incident) -> list[int]:
        """Channels of an incident that are not silenced."""
        return [channel for channel in incident.worst if self._silent is None or not self._silent[channel]]
