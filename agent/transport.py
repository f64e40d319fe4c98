"""What a connection to a broker needs besides the broker: transport security, and secrets that are kept elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.errors import UserError

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["TlsConfig", "read_secret", "secret_in", "ssl_context", "why"]

_MAX_SECRET = 1 << 16  # what MQTT can carry


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Transport security: TLS 1.2 or later, the server's certificate and name always checked.

    Parameters
    ----------
    ca_file
        Certificates to trust; the system's by default.
    cert_file, key_file
        Our own certificate and key, where the broker asks for one.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


def ssl_context(tls: TlsConfig, place: str = "$.mqtt") -> SSLContext:
    """TLS 1.2 or later, certificate and name checked; there is no way to switch that off.

    Parameters
    ----------
    tls
        The section of the configuration.
    place
        Where that is, for errors.

    Raises
    ------
    UserError
        A file cannot be used.
    """
    from agent.lean import with_tls  # noqa: PLC0415 - megabytes, only where there is TLS

    ssl: Any = with_tls()
    where, file = f"{place}.tls.ca_file", tls.ca_file
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file:
            where, file = f"{place}.tls.cert_file", f"{tls.cert_file}, {tls.key_file or 'key in the same file'}"
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"cannot use the TLS file: {error.strerror or error}",
            place=f"{where}: {file}",
            remedy="it must be PEM and readable by the agent's user",
        ) from error
    made: SSLContext = context
    return made


def why(error: Exception) -> str:
    """Why a connection to a broker failed, in words."""
    if type(error).__module__ == "ssl":  # which is not imported to ask
        distrust = getattr(error, "verify_message", "")
        if distrust:
            return f"TLS: the broker's certificate is not trusted: {distrust}"
        return f"TLS: {getattr(error, 'reason', None) or error}"
    return f"{getattr(error, 'strerror', None) or error or type(error).__name__}"


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


def secret_in(path: Path, place: str = "$.mqtt") -> str:
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
            place=f"{place}.password_file: {path}",
            remedy="give the agent's user the right to read it (chmod 600 and chown)",
        ) from error
    if not line:
        raise UserError(
            "the password file is empty", place=f"{place}.password_file: {path}", remedy="write the password into it"
        )
    return line
