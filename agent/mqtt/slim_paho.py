"""The library paho without the modules that a plain connection never uses; the first thing that the daemon imports.

On import paho takes TLS along, and an HTTP client for proxies. Stand-ins take their places while paho is imported,
unless the modules are there already; `with_tls` gives paho the real TLS before the first connection that needs it.
Checksums use Python's own code, since OpenSSL's would load that library, too.

Gain on ``edgewatch run``, resident memory and private dirty memory in MiB, the medians of five fresh processes each,
side by side (``python -m tools.benchmark workarounds``, Python 3.11, paho 2.2, x86-64):

==================  ====  =============
left out            RSS   private dirty
==================  ====  =============
``ssl``              3.7            1.0
``_hashlib``         3.5            0.5
``urllib.request``   1.1            1.1
all three            5.9            2.6
==================  ====  =============

``urllib.request`` has to be left out with ``ssl``: it would keep the stand-in for good, and HTTPS would fail later.
"""

from __future__ import annotations

import contextlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["mqtt", "with_tls"]


class _NeverRaised(Exception):  # noqa: N818 - it is never raised
    """Stands for an error of TLS where there is no TLS."""


def _ssl() -> ModuleType:
    module = ModuleType("ssl")
    for error in ("SSLError", "SSLWantReadError", "SSLWantWriteError", "CertificateError"):
        setattr(module, error, _NeverRaised)
    return module


@contextlib.contextmanager
def _without(stand_ins: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Let stand-ins take the places of modules while something is imported, unless the modules are there already.

    Parameters
    ----------
    stand_ins
        By the modules' full names; None makes the import fail, as if the module were not installed.
    """
    absent = {name: stand_in for name, stand_in in stand_ins.items() if name not in sys.modules}
    sys.modules.update(absent)  # type: ignore[arg-type] # None is Python's own mark of a module that cannot be imported
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


# `hashlib` goes on without `_hashlib`. PySocks, where it is installed, makes paho use that instead of `urllib.request`.
_UNUSED: dict[str, ModuleType | None] = {"ssl": _ssl(), "_hashlib": None}
if not find_spec("socks"):
    _UNUSED["urllib.request"] = ModuleType("urllib.request")
with _without(_UNUSED):
    import hashlib  # noqa: F401 - remembers the implementations that it finds on import

    import paho.mqtt.client as mqtt


def with_tls() -> ModuleType:
    """Give paho what it needs for TLS; returns the module ``ssl``."""
    import ssl  # noqa: PLC0415 - only where there is TLS

    mqtt.ssl = ssl  # type: ignore[attr-defined] # as it would have imported it
    return ssl
