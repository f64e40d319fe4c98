"""Writes a bundle (manifest and networks) atomically, after the agent's loader has accepted it."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from typing import TYPE_CHECKING, Any

import msgspec

from agent.models import loader as agent_bundle
from agent.models import verification
from training.files.atomic_folder import staged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.models.bundle import Bundle
    from agent.models.manifest import Golden, Manifest

__all__ = ["created", "file_entry", "recorded", "rounded", "sealed", "write"]


def file_entry(name: str, content: bytes) -> dict[str, Any]:
    """Entry of a file in the manifest: name, SHA-256 and size in bytes."""
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def created() -> str:
    """Date of today in UTC, or of SOURCE_DATE_EPOCH for reproducible bundles; ISO 8601."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = dt.datetime.now(dt.timezone.utc) if epoch is None else dt.datetime.fromtimestamp(int(epoch), dt.timezone.utc)
    return now.date().isoformat()


def sealed(manifest: Manifest) -> Manifest:
    """Set the digest: SHA-256 of the manifest without date, digest and measured times."""
    bare = msgspec.structs.replace(manifest, created="", digest="", measured={})
    return msgspec.structs.replace(
        manifest, digest=hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()
    )


def write(bundle: Bundle, output: Path, finish: Callable[[Path], None] | None = None) -> Bundle:
    """Write a bundle; an existing one is replaced only after the new one is complete.

    Parameters
    ----------
    bundle
        Bundle to write; its digest is set here.
    output
        Target folder.
    finish
        Called with the temporary folder before it replaces the target, for further checks and files.

    Returns
    -------
    The bundle as loaded by the agent from ``output``.

    Raises
    ------
    UserError
        The folder cannot be written or has other content, or the loader refuses the bundle.
    """
    manifest = sealed(bundle.manifest)
    with staged(output) as folder:
        (folder / manifest.forecaster.file).write_bytes(bundle.forecaster_file)
        (folder / manifest.autoencoder.file).write_bytes(bundle.autoencoder_file)
        (folder / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        agent_bundle.load(folder)  # verifies the bundle before an old one is replaced
        if finish is not None:
            finish(folder)
    return agent_bundle.load(output)


def recorded(bundle: Bundle) -> Golden:
    """Golden vectors: the golden inputs in the manifest with the rounded outputs of the networks."""
    golden = bundle.manifest.golden
    forecast, reconstruction = verification.golden_answers(bundle, golden)
    return msgspec.structs.replace(golden, forecast=rounded(forecast), reconstruction=rounded(reconstruction))


def rounded(numbers: Any) -> Any:
    """Round nested lists of floats to five decimals, far finer than the tolerance of golden vectors."""
    if isinstance(numbers, float):
        return round(numbers, 5)
    return [rounded(number) for number in numbers]
