"""Commands that arrive on ``cmd``, and the answer to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from agent.core.section import NamePatterns  # noqa: TC001 - msgspec resolves the hint at run time

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["LONGEST_S", "Acknowledge", "Answer", "Command", "CommandId", "Relearn", "Reload", "Silence", "Unsilence"]

CommandId: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="command"):
    """Base of all commands.

    Parameters
    ----------
    id
        Chosen by the sender and echoed; a command whose id was seen is answered again, not carried out again.
    """

    id: CommandId = ""


class Silence(_Command, frozen=True, tag="silence"):
    """Raise no alerts of these channels for a time, instead of what was ordered for them before.

    Parameters
    ----------
    channels
        Names; ``*``, ``?`` and ``[…]`` match as in a shell.
    for_s
        Seconds, thirty days at most.
    include_limits
        Hard limits are silenced, too.
    """

    channels: NamePatterns
    for_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_S)]
    include_limits: bool = False


class Unsilence(_Command, frozen=True, tag="unsilence"):
    """End silences by command of these channels; those of the configuration stay."""

    channels: NamePatterns


class Acknowledge(_Command, frozen=True, tag="acknowledge"):
    """Somebody knows of this open incident: no more updates of it, only its close.

    Parameters
    ----------
    incident
        As alerts carry it in ``incident`` or ``id``.
    """

    incident: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Relearn(_Command, frozen=True, tag="relearn"):
    """Forget what was learned of these channels and begin anew."""

    channels: NamePatterns


class Reload(_Command, frozen=True, tag="reload"):
    """Read the configuration again."""


Command: TypeAlias = Silence | Unsilence | Acknowledge | Relearn | Reload


class Answer(msgspec.Struct, frozen=True):
    """What the sender is told.

    Parameters
    ----------
    id
        The command's own, empty where it had none.
    error, detail
        Why it was refused; what was done.
    """

    v: int
    node: str
    id: str
    ok: bool
    error: str = ""
    detail: str = ""


#: A silence by command ends after thirty days at the latest.
LONGEST_S = 30 * 86400.0
