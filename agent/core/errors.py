"""Errors that the user can fix, and their exit codes."""

from __future__ import annotations

import msgspec

__all__ = ["UNREADABLE", "EdgewatchError", "EnvironmentFault", "UserError"]


#: Exceptions that msgspec raises for undecodable bytes.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class EdgewatchError(Exception):
    """A failure with a location and a remedy, shown without a traceback.

    Parameters
    ----------
    message
        The problem, and the expected state.
    location
        Location: ``file:line``, ``$.path`` in the configuration, a topic or an address.
    remedy
        Advice to the user.
    """

    exit_code = 1

    def __init__(self, message: str, *, location: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.remedy = remedy

    def move_below(self, path: str) -> None:
        """Put the location, a path ``$…`` of a part of the configuration, below the path of that part."""
        if self.location.startswith("$"):
            self.location = f"{path}{self.location[1:]}"

    def __str__(self) -> str:
        text = f"{self.location}: {self.message}" if self.location else self.message
        return f"{text} – {self.remedy}" if self.remedy else text


class UserError(EdgewatchError):
    """A mistake in the configuration, the arguments or the data (exit code 2)."""

    exit_code = 2


class EnvironmentFault(EdgewatchError):  # noqa: N818 - EnvironmentError is Python's own
    """A missing dependency outside the agent, such as the broker or a TFLite runtime (exit code 3)."""

    exit_code = 3
