"""Transport security of a connection to a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.errors import UserError

if TYPE_CHECKING:
    from ssl import SSLContext
    from typing import Any

    from agent.mqtt.settings import TlsConfig


__all__ = ["ssl_context"]


def ssl_context(tls: TlsConfig, section: str = "$.mqtt") -> SSLContext:
    """TLS 1.2 or later, certificate and name checked; there is no way to switch that off.

    Parameters
    ----------
    tls
        The section of the configuration.
    section
        Path of the section that has it, for errors.

    Raises
    ------
    UserError
        A file cannot be used.
    """
    from agent.mqtt.slim_paho import with_tls  # noqa: PLC0415 - megabytes, only where there is TLS

    ssl: Any = with_tls()
    where, file = f"{section}.tls.ca_file", tls.ca_file
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file:
            where, file = f"{section}.tls.cert_file", f"{tls.cert_file}, {tls.key_file or 'key in the same file'}"
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"cannot use the TLS file: {error.strerror or error}",
            location=f"{where}: {file}",
            remedy="it must be PEM and readable by the agent's user",
        ) from error
    made: SSLContext = context
    return made
