"""Verifies the Ed25519 signature (RFC 8032) of a bundle's manifest, which holds the hashes of all other files.

The signature is stored in base64 in ``manifest.sig``. Trusted keys are set in the configuration. The library
`cryptography` is an optional dependency and is imported only if keys are set.
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

#: File of the signature in the bundle's folder.
FILE = "manifest.sig"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
# Bytes read from the signature's file at most; a signature in base64 has 88.
_MOST_TEXT = 1024


def read_key(text: str) -> bytes:
    """Decode an Ed25519 public key from base64; 32 bytes.

    Raises
    ------
    ValueError
        The text is not base64 or has another length.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{text!r} is not base64") from error
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{text!r} has {len(key)} bytes, an Ed25519 key has {_KEY_BYTES}")
    return key


def check(directory: Path, manifest: bytes, keys: Sequence[str]) -> None:
    """Refuse a manifest that is not signed by one of the keys.

    Parameters
    ----------
    directory
        The bundle's folder, which holds the signature.
    manifest
        The manifest's bytes.
    keys
        Trusted public keys in base64.

    Raises
    ------
    UserError
        The signature is missing, unreadable, or by none of the keys.
    EnvironmentFault
        The library `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an optional dependency
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - the same
    except ImportError as error:
        raise EnvironmentFault(
            "the library cryptography, which checks signatures, is not installed",
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
