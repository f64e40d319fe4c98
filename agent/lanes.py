"""One channel's part of what watches many: it is found by what differs between a watch of one channel and of several.

Objects hold arrays over channels, lane beside lane; some hold several kinds of lanes one after another. Where the array
of a watch of n channels is n times as long as that of a watch of one, it is an array over channels along that axis, and
what that one has is one lane of it. Where it is so along two axes, it is an array over pairs of channels. A class says
of itself, where it must, how to go on with a lane that is new: ``_ON_NEW_LANE`` gives the values of flags and counts
that stand for all lanes together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec.structs
import numpy as np

from agent.snapshot import is_ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.types import Channel, IntArray

    _Array: TypeAlias = NDArray[Any]

__all__ = ["by_kind", "put_lanes"]


def by_kind(places: IntArray, channels: Sequence[Channel]) -> dict[Channel, IntArray]:
    """Places, int64[m], of channels that are the same but for their names.

    Examples
    --------
    >>> from agent.types import Channel
    >>> found = by_kind(np.array([4, 7, 9]), [Channel("a"), Channel("b", "%"), Channel("c")])
    >>> [(kind.unit, those.tolist()) for kind, those in found.items()]
    [('', [4, 9]), ('%', [7])]
    """
    kinds: dict[Channel, list[int]] = {}
    for place, channel in zip(places.tolist(), channels, strict=True):
        kinds.setdefault(msgspec.structs.replace(channel, name=""), []).append(place)
    return {kind: np.array(those) for kind, those in kinds.items()}


def put_lanes(watch: Any, n_lanes: int, single: Any, lanes: IntArray) -> None:
    """Give chosen channels of a watch what another one has learned of its only channel.

    Parameters
    ----------
    watch
        Watches ``n_lanes`` channels.
    n_lanes
        How many.
    single
        Built alike, of one channel.
    lanes
        int64[m], which of the channels.

    Raises
    ------
    ValueError
        They are built differently.

    Examples
    --------
    >>> from agent.flatline import FlatLine
    >>> several, fresh = FlatLine(3, 1.0, 0.0), FlatLine(1, 1.0, 0.0)
    >>> for value in range(9):
    ...     _ = several.step(np.full(3, float(value)), np.ones(3, bool))
    >>> put_lanes(several, 3, fresh, np.array([1]))
    >>> several._seen.tolist()
    [9.0, 0.0, 9.0]
    """
    if vars(watch).keys() != vars(single).keys():
        raise ValueError(f"{type(watch).__name__} and {type(single).__name__} are built differently")
    scratch = getattr(watch, "_SCRATCH", ())
    for name, mine in vars(watch).items():
        if name in scratch:
            continue
        other = vars(single)[name]
        if is_ours(mine):
            put_lanes(mine, n_lanes, other, lanes)
        elif isinstance(mine, list | tuple) and mine and all(map(is_ours, mine)):
            for part, counterpart in zip(mine, other, strict=True):
                put_lanes(part, n_lanes, counterpart, lanes)
        elif isinstance(mine, np.ndarray) and other is not None:  # what is made when needed may not be there yet
            setattr(watch, name, _with_lanes(mine, n_lanes, other, lanes))
    for name, value in getattr(watch, "_ON_NEW_LANE", {}).items():
        setattr(watch, name, value)


def _with_lanes(array: _Array, n_lanes: int, single: _Array, lanes: IntArray) -> _Array:
    if array.ndim != single.ndim:
        raise ValueError(f"{array.shape} and {single.shape} are no arrays over channels")
    differing = [axis for axis in range(array.ndim) if array.shape[axis] != single.shape[axis]]
    if n_lanes == 1:
        whole: _Array = single.copy()
        return whole
    if not differing:
        return array
    if len(differing) > 1:
        return _with_pairs(array, n_lanes, single, lanes)
    (axis,) = differing
    kinds = single.shape[axis]
    if array.shape[axis] != kinds * n_lanes:
        raise ValueError(f"{array.shape} and {single.shape} are no arrays over {n_lanes} channels and one")
    # Several attributes may share an array, and a view of it may be kept: what is replaced is a copy.
    changed: _Array = array.copy()
    for kind in range(kinds):
        place: list[Any] = [slice(None)] * array.ndim
        place[axis] = kind * n_lanes + lanes
        source: list[Any] = [slice(None)] * array.ndim
        source[axis] = slice(kind, kind + 1)
        changed[tuple(place)] = single[tuple(source)]
    return changed


def _with_pairs(array: _Array, n_lanes: int, single: _Array, lanes: IntArray) -> _Array:
    """What channels have to do with each other, from the row to the column: a new one means nothing to the others."""
    if array.shape != (n_lanes, n_lanes) or single.shape != (1, 1):
        raise ValueError(f"{array.shape} and {single.shape} are no arrays over pairs of {n_lanes} channels and one")
    changed: _Array = array.copy()
    changed[lanes] = 0
    changed[:, lanes] = single[0, 0]
    return changed
