"""The errors that a person at the device can mend, and the exit codes they lead to."""

from __future__ import annotations

import msgspec

__all__ = ["UNREADABLE", "EdgewatchError", "EnvironmentFault", "UserError"]


#: What decoding bytes from outside can raise.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class EdgewatchError(Exception):
    """A failure with its location and a remedy, shown without a traceback.

    Parameters
    ----------
    message
        What is wrong and what was expected.
    location
        Where it is: ``file:line``, ``$.path``, a topic or an address.
    remedy
        What to do about it.
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
    """Something outside that has to be there and is not: a broker, a runtime (exit code 3)."""

    exit_code = 3
