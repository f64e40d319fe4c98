"""Transfer learned state from one object to another, as a restart of the agent does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.persistent_state import capture, pack, restore, unpack

if TYPE_CHECKING:
    from agent.core.persistent_state import Stateful


def carry_over(source: Stateful, target: Stateful) -> None:
    """Write, read and put back all records; fail where a part does not fit."""
    assert restore(target, [unpack(pack(capture(source)))]) == {}
