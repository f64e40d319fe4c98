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
    """Make a context for TLS 1.2 or later that always verifies the broker's certificate and host name.

    Parameters
    ----------
    tls
        The section ``tls``.
    section
        Path of the section that contains it, for errors.

    Raises
    ------
    UserError
        A certificate or key file cannot be read or is not PEM.
    """
    from agent.mqtt.slim_paho import with_tls  # noqa: PLC0415 - takes megabytes, needed only with TLS

    ssl: Any = with_tls()
    key, file = f"{section}.tls.ca_file", tls.ca_file
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file:
            key, file = f"{section}.tls.cert_file", f"{tls.cert_file}, {tls.key_file or 'key in the same file'}"
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"cannot use the TLS file: {error.strerror or error}",
            location=f"{key}: {file}",
            remedy="name a PEM file that the agent's user may read",
        ) from error
    typed: SSLContext = context
    return typed
