"""Imports paho without the modules that a plain connection never uses; import it before any other.

Paho imports ``ssl``, and ``urllib.request`` for proxies. While paho is imported, stand-ins replace these modules unless
they are loaded already; `with_tls` gives paho the real ``ssl`` before the first connection that needs it. ``hashlib``
uses Python's own code, since ``_hashlib`` would load OpenSSL.

Memory that this saves in ``edgewatch run``, resident and private dirty in MiB, medians of five fresh processes each
(``python -m tools.benchmark workarounds``, Python 3.11, paho 2.2, x86-64):

==================  ====  =============
left out            RSS   private dirty
==================  ====  =============
``ssl``              3.7            1.0
``_hashlib``         3.5            0.5
``urllib.request``   1.1            1.1
all three            5.9            2.6
==================  ====  =============

``urllib.request`` must be left out together with ``ssl``: it would keep the stand-in, and HTTPS would fail later.
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


class _NeverRaised(Exception):  # noqa: N818 - never raised, no error
    """Replaces the exceptions of ``ssl`` in ``except`` clauses of paho."""


def _ssl() -> ModuleType:
    module = ModuleType("ssl")
    for error in ("SSLError", "SSLWantReadError", "SSLWantWriteError", "CertificateError"):
        setattr(module, error, _NeverRaised)
    return module


@contextlib.contextmanager
def _without(stand_ins: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Replace modules that are not loaded yet by stand-ins, for the imports in the block.

    Parameters
    ----------
    stand_ins
        By full name of the module; None makes its import fail, as if it were not installed.
    """
    absent = {name: stand_in for name, stand_in in stand_ins.items() if name not in sys.modules}
    sys.modules.update(absent)  # type: ignore[arg-type] # None marks a module that cannot be imported
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


# `hashlib` works without `_hashlib`. If PySocks is installed, paho does not use `urllib.request`.
_UNUSED: dict[str, ModuleType | None] = {"ssl": _ssl(), "_hashlib": None}
if not find_spec("socks"):
    _UNUSED["urllib.request"] = ModuleType("urllib.request")
with _without(_UNUSED):
    import hashlib  # noqa: F401 - chooses its implementations on import

    import paho.mqtt.client as mqtt


def with_tls() -> ModuleType:
    """Import ``ssl``, make it known to paho, and return it."""
    import ssl  # noqa: PLC0415 - needed only with TLS

    mqtt.ssl = ssl  # type: ignore[attr-defined] # paho's own import of it
    return ssl
