"""Libraries without modules that they take along and this agent never uses: memory, and time at the start."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

__all__ = ["msgspec", "without"]


@contextlib.contextmanager
def without(stand_ins: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Let others stand for modules while something is imported, unless they are there already.

    Parameters
    ----------
    stand_ins
        By their full names; None where the import is to fail, as if the module could not be had.
    """
    absent = {name: stand_in for name, stand_in in stand_ins.items() if name not in sys.modules}
    sys.modules.update(absent)  # type: ignore[arg-type] # None is what Python itself puts there to that end
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


# It takes type hints from there where it can, for Python versions and kinds of types that are none of ours.
with without({"typing_extensions": None}):
    import msgspec
