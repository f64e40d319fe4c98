"""A frame: the values of all channels at one tick."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Frame"]


class Frame(msgspec.Struct, frozen=True, gc=False):
    """Values of all channels at one tick.

    Parameters
    ----------
    seq
        Number of the tick since start; missed ticks leave gaps.
    mono_ns
        Monotonic time of the tick's deadline, nanoseconds.
    wall
        Wall time of the tick, seconds since 1970; a label, not for computing ages.
    values
        float32[n_channels], NaN where no valid reading arrived.
    due
        bool[n_channels], channels that should have a reading at this tick; None for all. The others are not missing.
    """

    seq: int
    mono_ns: int
    wall: float
    values: Any  # Float32Array; msgspec does not look inside
    due: Any = None  # BoolArray
