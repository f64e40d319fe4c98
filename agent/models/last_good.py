"""Keeps a copy of each external bundle that worked, as a fallback for when the bundle becomes unusable."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent.core.errors import UserError
from agent.models import loader, sandbox, signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.models.bundle import Bundle

__all__ = ["BundleSettings", "load_bundles", "load_or_last_good"]

_LOG = logging.getLogger(__name__)
_FOLDER = "bundles"
_BUILTIN = "builtin"


class BundleSettings(Protocol):
    """Keys of the configuration that concern bundles."""

    @property
    def models(self) -> tuple[str, ...]:
        """Bundles to run: ``builtin`` or folders."""

    @property
    def state_dir(self) -> str:
        """State directory, which also holds the copies."""

    @property
    def trusted_keys(self) -> tuple[str, ...]:
        """Ed25519 public keys in base64; if any are set, every external bundle must be signed by one."""


def load_bundles(config: BundleSettings, known: Sequence[Bundle] = ()) -> list[Bundle]:
    """Load and verify the configured bundles.

    Parameters
    ----------
    known
        Bundles verified before; unchanged ones are reused without another verification.

    Raises
    ------
    UserError, EnvironmentFault
        A bundle is unusable, or not signed by a trusted key.
    """
    return [
        loader.load_builtin(known) if name == _BUILTIN else _load(Path(name), config, _copy_folder(name, config), known)
        for name in config.models
    ]


def load_or_last_good(config: BundleSettings, known: Sequence[Bundle] = ()) -> list[Bundle]:
    """Load the configured bundles; replace an unusable one by its last good copy and log an error.

    Raises
    ------
    UserError, EnvironmentFault
        A bundle is unusable and has no usable copy.
    """
    loaded = []
    for name in config.models:
        if name == _BUILTIN:
            loaded.append(loader.load_builtin(known))
            continue
        copy = _copy_folder(name, config)
        try:
            one = _load(Path(name), config, copy, known)
        except UserError as error:
            try:
                one = _load(copy, config, copy, known)
            except UserError:
                raise error from None
            _LOG.error("%s – the last good copy of the bundle is used instead", error)
        else:
            _make_copy(one, copy)
        loaded.append(one)
    return loaded


def _copy_folder(name: str, config: BundleSettings) -> Path:
    """Folder of a bundle's copy."""
    return Path(config.state_dir) / _FOLDER / hashlib.sha256(name.encode()).hexdigest()[:16]


def _load(directory: Path, config: BundleSettings, copy: Path, known: Sequence[Bundle]) -> Bundle:
    """Load an external bundle; the signature is checked on the same bytes that are parsed."""

    def trust(raw: bytes) -> None:
        if config.trusted_keys:
            signature.check(directory, raw, config.trusted_keys)
        if directory != copy and not _is_copy(directory, copy):
            sandbox.survive(directory)

    return loader.load(directory, trust, known)


def _is_copy(directory: Path, copy: Path) -> bool:
    """Whether a bundle is identical to its copy, which has been loaded before."""
    try:
        return copy.is_dir() and all(_same(path, directory / path.name) for path in copy.iterdir())
    except OSError:
        return False


def _make_copy(good: Bundle, copy: Path) -> None:
    """Copy a bundle unless an identical copy exists. An incomplete copy would be refused on loading."""
    import shutil  # noqa: PLC0415 - it imports every archive format

    files = ["manifest.json", good.manifest.forecaster.file, good.manifest.autoencoder.file, signature.FILE]
    there = [name for name in files if (good.directory / name).is_file()]
    try:
        if all((copy / name).is_file() and _same(copy / name, good.directory / name) for name in there):
            return
        partial = copy.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in there:
            shutil.copyfile(good.directory / name, partial / name)
        shutil.rmtree(copy, ignore_errors=True)
        partial.rename(copy)
    except OSError as error:
        _LOG.warning("the bundle %s could not be copied: %s", good.directory, error.strerror or error)


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()
