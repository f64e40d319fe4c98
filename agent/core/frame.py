"""A frame: the values of all channels at one tick."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Frame"]


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One tick's values.

    Parameters
    ----------
    seq
        Number of the tick since start; it jumps where ticks were missed.
    mono_ns
        Monotonic nanoseconds of the tick's deadline.
    wall
        Wall time of the tick, seconds since 1970: a label, never an age.
    values
        float32[n_channels], NaN where nothing valid arrived.
    due
        bool[n_channels], whose turn it was; None where it was everybody's. The others are not missing.
    """

    seq: int
    mono_ns: int
    wall: float
    values: Any  # Float32Array; msgspec does not look inside
    due: Any = None  # BoolArray
