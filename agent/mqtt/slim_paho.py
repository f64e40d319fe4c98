"""The MQTT library, without what a connection without TLS never uses; the first thing that the daemon imports.

On import it takes along TLS, and an HTTP client for the proxies that it knows by way of PySocks: together some
megabytes, and a tenth of a second on a small device. Here empty modules stand for them while it is imported, unless
they are there already; `with_tls` gives it the real TLS before the first connection that needs it. Checksums, too, are
worked out by what Python brings along: OpenSSL, which would, takes three megabytes more.
"""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType

from agent.core.slim_imports import without

__all__ = ["mqtt", "with_tls"]


class _Never(Exception):  # noqa: N818 - it is never raised
    """Stands for an error of TLS where there is no TLS."""


def _ssl() -> ModuleType:
    module = ModuleType("ssl")
    for error in ("SSLError", "SSLWantReadError", "SSLWantWriteError", "CertificateError"):
        setattr(module, error, _Never)
    return module


# `hashlib` goes on without the module that is none; PySocks knows proxies by the other library.
_UNUSED: dict[str, ModuleType | None] = {"ssl": _ssl(), "_hashlib": None}
if not find_spec("socks"):
    _UNUSED["urllib.request"] = ModuleType("urllib.request")
with without(_UNUSED):
    import hashlib  # noqa: F401 - which remembers what it found

    import paho.mqtt.client as mqtt


def with_tls() -> ModuleType:
    """Give the MQTT library what it needs for TLS; gives the module ``ssl``."""
    import ssl  # noqa: PLC0415 - only where there is TLS

    mqtt.ssl = ssl  # type: ignore[attr-defined] # as it would have imported it
    return ssl
