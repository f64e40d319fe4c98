"""``python -m training sign``: sign a bundle for agents that trust the key."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core.errors import UserError
from agent.models import loader as agent_bundle
from agent.models.signature import FILE
from training.optional_imports import importing

if TYPE_CHECKING:
    import argparse

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("sign", help="sign a bundle with an Ed25519 key")
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="PEM", help="private key; generated if the file does not exist"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Verify the bundle, sign its manifest, and print the public key for agents."""
    with importing("signed"):
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - the same
    agent_bundle.load(options.bundle)
    if not options.key.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # Created with mode 0600, so that no other user can read the key at any time.
        with os.fdopen(os.open(options.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        print(f"generated a new key: keep {options.key} secret and safe")
    try:
        key = serialization.load_pem_private_key(options.key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            "not readable as a private key",
            location=str(options.key),
            remedy="name an unencrypted PEM file of an Ed25519 key",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError("not an Ed25519 key", location=str(options.key), remedy="name a new file to generate a key")
    manifest = (options.bundle / "manifest.json").read_bytes()
    (options.bundle / FILE).write_bytes(base64.b64encode(key.sign(manifest)) + b"\n")
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    print(f"signed {options.bundle}; agents accept it with\ntrusted_keys: [{base64.b64encode(public).decode()}]")
