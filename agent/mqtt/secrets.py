"""Reads passwords from a file, a systemd credential, or the environment."""

from __future__ import annotations

import os
from pathlib import Path

from agent.core.errors import UserError

__all__ = ["read_secret", "secret_in"]

_MAX_SECRET = 1 << 16  # bytes: the largest password in a CONNECT packet


def read_secret(password_file: str | None) -> str | None:
    """The broker's password; None if none is configured.

    Taken from the file if given, else from the systemd credential ``mqtt_password`` if it exists, else from the
    environment variable ``EDGEWATCH_MQTT_PASSWORD``.

    Raises
    ------
    UserError
        The file cannot be read, is empty, or is not UTF-8.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(password_file) if password_file else None
    if path is None and credentials and (Path(credentials) / "mqtt_password").exists():
        path = Path(credentials) / "mqtt_password"
    if path is None:
        return os.environ.get("EDGEWATCH_MQTT_PASSWORD")
    return secret_in(path)


def secret_in(path: Path, section: str = "$.mqtt") -> str:
    """Read the password in the first line of a file.

    Parameters
    ----------
    path
        The file.
    section
        Path of the configuration's section that names it, for errors.

    Raises
    ------
    UserError
        The file cannot be read, is empty, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(_MAX_SECRET).rstrip(b"\r\n").decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(
            f"cannot read the password file: {reason}",
            location=f"{section}.password_file: {path}",
            remedy="write it as UTF-8 text that the agent's user may read (chown, chmod 600)",
        ) from error
    if not line:
        raise UserError(
            "the password file is empty",
            location=f"{section}.password_file: {path}",
            remedy="write the password into it",
        )
    return line
