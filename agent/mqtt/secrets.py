"""Passwords that are kept outside the configuration: in a file, a credential, or the environment."""

from __future__ import annotations

import os
from pathlib import Path

from agent.core.errors import UserError

__all__ = ["read_secret", "secret_in"]

_MAX_SECRET = 1 << 16  # what MQTT can carry


def read_secret(password_file: str | None) -> str | None:
    """The broker's password: from the file, the systemd credential ``mqtt_password``, or the environment.

    Raises
    ------
    UserError
        The file cannot be read or is empty.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(password_file) if password_file else None
    if path is None and credentials and (Path(credentials) / "mqtt_password").exists():
        path = Path(credentials) / "mqtt_password"
    if path is None:
        return os.environ.get("EDGEWATCH_MQTT_PASSWORD")
    return secret_in(path)


def secret_in(path: Path, section: str = "$.mqtt") -> str:
    """Give the first line of a file.

    Raises
    ------
    UserError
        It cannot be read or is empty.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(_MAX_SECRET).rstrip(b"\r\n").decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(
            f"cannot read the password file: {reason}",
            location=f"{section}.password_file: {path}",
            remedy="give the agent's user the right to read it (chmod 600 and chown)",
        ) from error
    if not line:
        raise UserError(
            "the password file is empty",
            location=f"{section}.password_file: {path}",
            remedy="write the password into it",
        )
    return line
