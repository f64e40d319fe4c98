"""Writes a bundle: manifest and networks, whole or not at all, accepted by the agent's own loader."""

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
    """What a manifest says of a file."""
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def created() -> str:
    """Today's date, or that of SOURCE_DATE_EPOCH, so that a bundle can be made again byte for byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = dt.datetime.now(dt.timezone.utc) if epoch is None else dt.datetime.fromtimestamp(int(epoch), dt.timezone.utc)
    return now.date().isoformat()


def sealed(manifest: Manifest) -> Manifest:
    """Put in the digest."""
    bare = msgspec.structs.replace(manifest, created="", digest="", measured={})
    return msgspec.structs.replace(
        manifest, digest=hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()
    )


def write(bundle: Bundle, output: Path, finish: Callable[[Path], None] | None = None) -> Bundle:
    """Write a bundle; an existing one is replaced when the new one is complete.

    Parameters
    ----------
    bundle
        Its manifest is sealed here.
    output
        The folder.
    finish
        Given the folder while it is not yet in its place, to check it further and to put more files beside the
        bundle.

    Returns
    -------
    The bundle, as the agent loaded it from where it was written.

    Raises
    ------
    UserError
        The folder cannot be written or holds something else, or the loader refuses the bundle.
    """
    manifest = sealed(bundle.manifest)
    with staged(output) as folder:
        (folder / manifest.forecaster.file).write_bytes(bundle.forecaster_file)
        (folder / manifest.autoencoder.file).write_bytes(bundle.autoencoder_file)
        (folder / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        agent_bundle.load(folder)  # which checks everything, before an old bundle goes
        if finish is not None:
            finish(folder)
    return agent_bundle.load(output)


def recorded(bundle: Bundle) -> Golden:
    """Golden inputs of the bundle's manifest with the answers of its networks, rounded."""
    golden = bundle.manifest.golden
    forecast, reconstruction = verification.golden_answers(bundle, golden)
    return msgspec.structs.replace(golden, forecast=rounded(forecast), reconstruction=rounded(reconstruction))


def rounded(numbers: Any) -> Any:
    """Nested lists of floats to five decimals, far below the tolerance they are held against."""
    if isinstance(numbers, float):
        return round(numbers, 5)
    return [rounded(number) for number in numbers]
