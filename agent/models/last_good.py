"""The last good copy of each bundle that came from outside: a bad new one never stops an agent that had a good one."""

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
    """The keys of the configuration that say which bundles run, where copies lie, and whose signature is trusted."""

    @property
    def models(self) -> tuple[str, ...]:
        """Bundles, ``builtin`` or a folder."""

    @property
    def state_dir(self) -> str:
        """The state directory."""

    @property
    def trusted_keys(self) -> tuple[str, ...]:
        """Public keys; where there are any, a bundle must be signed by one."""


def load_bundles(config: BundleSettings, known: Sequence[Bundle] = ()) -> list[Bundle]:
    """Load and verify the bundles that a config names.

    Parameters
    ----------
    known
        Bundles that were verified before, and are not again where they are the same.

    Raises
    ------
    UserError, EnvironmentFault
        One cannot be used, or is not signed by a key that the config trusts.
    """
    return [
        loader.load_builtin(known) if name == _BUILTIN else _load(Path(name), config, _place(name, config), known)
        for name in config.models
    ]


def load_or_last_good(config: BundleSettings, known: Sequence[Bundle] = ()) -> list[Bundle]:
    """The same, but for a bundle that cannot be used take what it was when it last could; that is said.

    Raises
    ------
    UserError, EnvironmentFault
        One cannot be used and never could.
    """
    loaded = []
    for name in config.models:
        if name == _BUILTIN:
            loaded.append(loader.load_builtin(known))
            continue
        kept = _place(name, config)
        try:
            one = _load(Path(name), config, kept, known)
        except UserError as error:
            try:
                one = _load(kept, config, kept, known)
            except UserError:
                raise error from None
            _LOG.error("%s – the last good copy of the bundle is used instead", error)
        else:
            _keep(one, kept)
        loaded.append(one)
    return loaded


def _place(name: str, config: BundleSettings) -> Path:
    """Where the copy of a bundle is kept."""
    return Path(config.state_dir) / _FOLDER / hashlib.sha256(name.encode()).hexdigest()[:16]


def _load(directory: Path, config: BundleSettings, kept: Path, known: Sequence[Bundle]) -> Bundle:
    """Load a bundle from outside; its signature is that of the very bytes that are read."""

    def trust(raw: bytes) -> None:
        if config.trusted_keys:
            signature.check(directory, raw, config.trusted_keys)
        if directory != kept and not _is_copy(directory, kept):
            sandbox.survive(directory)

    return loader.load(directory, trust, known)


def _is_copy(directory: Path, kept: Path) -> bool:
    """Whether all that is kept of a bundle that was loaded is still the same there."""
    try:
        return kept.is_dir() and all(_same(path, directory / path.name) for path in kept.iterdir())
    except OSError:
        return False


def _keep(good: Bundle, kept: Path) -> None:
    """Copy a bundle unless this copy is there; a copy that is not whole is refused when it is needed."""
    import shutil  # noqa: PLC0415 - it takes archives of every kind along

    files = ["manifest.json", good.manifest.forecaster.file, good.manifest.autoencoder.file, signature.FILE]
    there = [name for name in files if (good.directory / name).is_file()]
    try:
        if all((kept / name).is_file() and _same(kept / name, good.directory / name) for name in there):
            return
        partial = kept.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in there:
            shutil.copyfile(good.directory / name, partial / name)
        shutil.rmtree(kept, ignore_errors=True)
        partial.rename(kept)
    except OSError as error:
        _LOG.warning("no copy of the bundle %s could be kept: %s", good.directory, error.strerror or error)


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()
