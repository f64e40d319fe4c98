"""Selection of channels by pattern, and the check that recordings have the same channels."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING

from agent.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from training.data.recording import Recording

__all__ = ["nearest", "same_channels", "selected", "selects"]

_SHOWN = 6  # names listed in an error


def selected(names: Sequence[str], patterns: Sequence[str], location: str) -> list[str]:
    """Names that match any pattern, in their order; without patterns all names.

    Parameters
    ----------
    names
        Channel names.
    patterns
        Case-sensitive, with ``*`` and ``?``.
    location
        Name of the data, for errors.

    Raises
    ------
    UserError
        A pattern matches no name.

    Examples
    --------
    >>> selected(["cpu.user", "memory", "cpu.idle"], ["cpu.*"], "data.csv")
    ['cpu.user', 'cpu.idle']
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(
                f"no channel matches {pattern!r}",
                location=location,
                remedy=f"{nearest(pattern, names)}; * and ? stand for any characters",
            )
    return [name for name in names if selects(patterns, name)]


def selects(patterns: Sequence[str], name: str) -> bool:
    """Whether any pattern matches the name, or there are no patterns."""
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def nearest(name: str, names: Sequence[str]) -> str:
    """Remedy for an unknown name: the most similar one, or a list of all."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {_listed(names)}"


def same_channels(recordings: Iterable[Recording]) -> None:
    """Check that all recordings have the same channels in the same order, as needed to train one model on them.

    Raises
    ------
    UserError
        Two recordings differ; the error names them and the channels.
    """
    first: Recording | None = None
    for recording in recordings:
        first = first or recording
        expected = [channel.name for channel in first.channels]
        found = [channel.name for channel in recording.channels]
        if found == expected:
            continue
        only_first = [name for name in expected if name not in found]
        only_here = [name for name in found if name not in expected]
        parts = [
            f"only {owner} has {_listed(names)}"
            for owner, names in ((first.name, only_first), (recording.name, only_here))
            if names
        ]
        raise UserError(
            f"the channels of {first.name} and {recording.name} differ: " + ("; ".join(parts) or "their order differs"),
            location=recording.name,
            remedy="rename or reorder the columns, or choose common ones with --channels",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in islice(names, _SHOWN))
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
