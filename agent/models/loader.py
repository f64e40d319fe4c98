"""Loads a bundle from its folder and verifies it before the first inference.

A TFLite file with a flipped byte usually still loads and runs. Verified are therefore hashes, sizes, tensor names,
shapes and types, and the networks' outputs for recorded (golden) inputs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.core.errors import UNREADABLE, UserError
from agent.core.mismatch import mismatch
from agent.models.bundle import Bundle
from agent.models.manifest import FORMAT, Manifest
from agent.models.verification import check_golden, check_meaning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.models.manifest import FileEntry


__all__ = ["builtin_directory", "load", "load_builtin"]

_MANIFEST = "manifest.json"
# Bounds of files that are read into memory. Chosen by hand.
_MAX_MANIFEST_BYTES = 16 << 20
_MAX_MODEL_BYTES = 64 << 20


def builtin_directory() -> Path:
    """Folder of the shipped bundle."""
    return Path(__file__).parent / "default"


def load_builtin(known: Sequence[Bundle] = ()) -> Bundle:
    """Load the shipped bundle; see `load`."""
    return load(builtin_directory(), known=known)


def load(directory: Path, trust: Callable[[bytes], None] | None = None, known: Sequence[Bundle] = ()) -> Bundle:
    """Load and verify a bundle.

    Parameters
    ----------
    directory
        Folder of the bundle.
    trust
        Called with the manifest's bytes; raises if the bundle is not to be trusted.
    known
        Bundles verified before; an unchanged one is returned without another verification.

    Raises
    ------
    UserError
        A file is missing, altered or of another format, or a network's outputs are wrong.
    EnvironmentFault
        No TFLite runtime is installed.
    """
    path = directory / _MANIFEST
    manifest = _read_manifest(path, trust)
    forecaster = _read(directory, manifest.forecaster)
    autoencoder = _read(directory, manifest.autoencoder)
    for one in known:
        if (one.directory, one.manifest, one.forecaster_file, one.autoencoder_file) == (
            directory,
            manifest,
            forecaster,
            autoencoder,
        ):
            return one
    bundle = Bundle(directory, manifest, forecaster, autoencoder)
    check_golden(bundle)
    return bundle


def _read_manifest(path: Path, trust: Callable[[bytes], None] | None) -> Manifest:
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise UserError(
                "the manifest is larger than 16 MiB",
                location=str(path),
                remedy="name the folder of an Edgewatch bundle, or `builtin`",
            )
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the bundle's manifest: {error.strerror or error}",
            location=str(path),
            remedy="name a folder that holds manifest.json, or `builtin`",
        ) from error
    if trust is not None:
        trust(raw)
    try:
        version = msgspec.json.decode(raw, type=dict[str, Any]).get("format")
        if version != FORMAT:
            raise UserError(
                f"bundle format {version!r}, this agent reads {FORMAT}",
                location=str(path),
                remedy="export the bundle with a matching version of edgewatch",
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except UNREADABLE as error:
        raise UserError(
            f"the manifest is damaged: {_damage(raw)}", location=str(path), remedy="copy or export the bundle again"
        ) from error
    check_meaning(manifest, path)
    return manifest


def _damage(raw: bytes) -> str:
    """Describe the first mismatch in a manifest that could not be decoded."""
    try:
        found = mismatch(msgspec.json.decode(raw), Manifest)
    except UNREADABLE:
        return "not JSON"
    return str(found) if found else "its format is missing"


def _read(directory: Path, entry: FileEntry) -> bytes:
    path = directory / entry.file
    if Path(entry.file).name != entry.file or not entry.file.isprintable() or entry.size > _MAX_MODEL_BYTES:
        raise UserError(
            f"refused file entry {entry.file!r} of {entry.size} bytes",
            location=str(directory / _MANIFEST),
            remedy="model files must lie beside the manifest and be no larger than 64 MiB",
        )
    try:
        if path.stat().st_size != entry.size:
            raise UserError(
                f"{path.stat().st_size} bytes, the manifest says {entry.size}: the file is truncated or altered",
                location=str(path),
                remedy="copy the bundle again",
            )
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the model: {error.strerror or error}", location=str(path), remedy="copy the bundle again"
        ) from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise UserError(
            "SHA-256 differs from the manifest's: the file is damaged or altered",
            location=str(path),
            remedy="copy the bundle again",
        )
    return content
