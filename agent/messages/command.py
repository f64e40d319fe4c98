"""Commands that arrive on ``cmd``, and the answer to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent.core.section import NamePatterns
from agent.messages.envelope import Node, Version  # noqa: TC001 - msgspec resolves the hints at run time

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["LONGEST_S", "Acknowledge", "Answer", "Command", "CommandId", "Relearn", "Reload", "Silence", "Unsilence"]

CommandId: TypeAlias = Annotated[str, Meta(max_length=64)]
_ChannelPatterns: TypeAlias = Annotated[
    NamePatterns, Meta(description="Names of the channels; `*`, `?` and `[…]` match as in a shell.")
]


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="command"):
    """Base of all commands."""

    id: Annotated[
        CommandId,
        Meta(
            description=(
                "Identifier that the sender chooses and the answer repeats. A command whose identifier was seen "
                "before is answered again, not executed again."
            )
        ),
    ] = ""


class Silence(_Command, frozen=True, tag="silence"):
    """Raise no alerts of these channels for a time; this replaces earlier commands for them."""

    channels: _ChannelPatterns
    for_s: Annotated[float, Meta(gt=0, le=LONGEST_S, description="Duration in seconds, at most thirty days.")]
    include_limits: Annotated[bool, Meta(description="Suppress alerts at hard limits, too.")] = False


class Unsilence(_Command, frozen=True, tag="unsilence"):
    """End silences by command of these channels; those of the configuration stay."""

    channels: _ChannelPatterns


class Acknowledge(_Command, frozen=True, tag="acknowledge"):
    """Send no more updates of this open incident, only its close."""

    incident: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="Identifier of the incident: `incident` or `id` of one of its alerts.",
        ),
    ]


class Relearn(_Command, frozen=True, tag="relearn"):
    """Discard the learned state of these channels and start learning afresh."""

    channels: _ChannelPatterns


class Reload(_Command, frozen=True, tag="reload"):
    """Read the configuration again."""


Command: TypeAlias = Silence | Unsilence | Acknowledge | Relearn | Reload


class Answer(msgspec.Struct, frozen=True):
    """The answer to a command."""

    v: Version
    node: Node
    id: Annotated[str, Meta(description="Identifier of the command; empty if it had none.")]
    ok: Annotated[bool, Meta(description="True if the command was executed.")]
    error: Annotated[str, Meta(description="Reason of a refusal.")] = ""
    detail: Annotated[str, Meta(description="Description of the effect.")] = ""


#: A silence by command ends after thirty days at the latest.
LONGEST_S = 30 * 86400.0
