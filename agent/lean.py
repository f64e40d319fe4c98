"""The MQTT library, without what a connection without TLS never uses; the first thing that the daemon imports.

On import it takes along TLS, and an HTTP client for the proxies that it knows by way of PySocks: together some
megabytes, and a tenth of a second on a small device. Here empty modules stand for them while it is imported, unless
they are there already; `with_tls` gives it the real TLS before the first connection that needs it. Checksums, too, are
worked out by what Python brings along: OpenSSL, which would, takes three megabytes more.
"""

from __future__ import annotations

import contextlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["mqtt", "with_tls"]


class _Never(Exception):  # noqa: N818 - it is never raised
    """Stands for an error of TLS where there is no TLS."""


def _stand_in(name: str) -> ModuleType | None:
    if name == "_hashlib":
        return None  # hashlib goes on without it
    module = ModuleType(name)
    if name == "ssl":
        for error in ("SSLError", "SSLWantReadError", "SSLWantWriteError", "CertificateError"):
            setattr(module, error, _Never)
    return module


@contextlib.contextmanager
def _spared() -> Iterator[None]:
    names = ["ssl", "_hashlib"] if find_spec("socks") else ["ssl", "_hashlib", "urllib.request"]
    stand_ins = {name: _stand_in(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)  # type: ignore[arg-type] # None stands for what is not there
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


with _spared():
    import hashlib  # noqa: F401 - which remembers what it found

    import paho.mqtt.client as mqtt


def with_tls() -> ModuleType:
    """Give the MQTT library what it needs for TLS; gives the module ``ssl``."""
    import ssl  # noqa: PLC0415 - only where there is TLS

    mqtt.ssl = ssl  # type: ignore[attr-defined] # as it would have imported it
    return ssl
