"""Signed bundles: an Ed25519 signature (RFC 8032) over the manifest, which names the hashes of all else.

The file ``manifest.sig`` beside it holds the signature in base64. Keys are pinned in the configuration; the library
that checks is an extra, and is imported only where there are any.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from agent.core.errors import EnvironmentFault, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FILE", "check", "read_key"]

#: Name of the file in the bundle's folder.
FILE = "manifest.sig"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
_MOST_TEXT = 1024


def read_key(text: str) -> bytes:
    """Bytes of a public key that is written in base64.

    Raises
    ------
    ValueError
        It is no such key.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{text!r} is not base64") from error
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{text!r} has {len(key)} bytes, an Ed25519 key has {_KEY_BYTES}")
    return key


def check(directory: Path, manifest: bytes, keys: Sequence[str]) -> None:
    """Refuse a manifest that none of the keys has signed.

    Raises
    ------
    UserError
        There is no signature, or it is of none of the keys.
    EnvironmentFault
        The library that checks is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - the same
    except ImportError as error:
        raise EnvironmentFault(
            "cryptography is not installed, which checks signatures",
            location="$.trusted_keys",
            remedy="pip install 'edgewatch[signed]'",
        ) from error
    path = directory / FILE
    try:
        with path.open("rb") as file:
            signature = base64.b64decode(file.read(_MOST_TEXT).strip(), validate=True)
    except (OSError, binascii.Error, ValueError) as error:
        raise UserError(
            "the bundle is not signed, or its signature cannot be read", location=str(path), remedy=_REMEDY
        ) from error
    for key in keys if len(signature) == _SIGNATURE_BYTES else ():
        try:
            Ed25519PublicKey.from_public_bytes(read_key(key)).verify(signature, manifest)
        except (InvalidSignature, ValueError):
            continue
        return
    raise UserError("the bundle is signed by none of the trusted keys", location=str(path), remedy=_REMEDY)


_REMEDY = "sign it with `python -m training sign`, or name its key in $.trusted_keys"
