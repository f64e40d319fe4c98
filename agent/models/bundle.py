"""A verified bundle, which makes networks of any batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.models.tflite import StepNetwork, WindowNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.models.manifest import Manifest


__all__ = ["Bundle", "labels"]


class Bundle:
    """A verified bundle, ready to make networks of any batch size.

    Parameters
    ----------
    directory
        Where it came from, for messages.
    manifest
        What it says of itself.
    forecaster, autoencoder
        Contents of the two files.
    """

    def __init__(self, directory: Path, manifest: Manifest, forecaster: bytes, autoencoder: bytes) -> None:
        self.directory = directory
        self.manifest = manifest
        self.forecaster_file = forecaster
        self.autoencoder_file = autoencoder

    @property
    def label(self) -> str:
        """Name and version, as alerts carry them: ``default@1.0.0``."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def forecaster(self, batch: int) -> StepNetwork:
        """Make the step network for a batch of rows."""
        manifest, spec = self.manifest, self.manifest.forecaster
        place = str(self.directory / spec.file)
        n_outputs = len(spec.quantiles) * manifest.lanes
        return StepNetwork(self.forecaster_file, batch, manifest.width, spec.units, n_outputs, place)

    def autoencoder(self, batch: int) -> WindowNetwork:
        """Make the window network for a batch of windows."""
        spec = self.manifest.autoencoder
        place = str(self.directory / spec.file)
        shape = (spec.window, self.manifest.lanes)
        return WindowNetwork(self.autoencoder_file, batch, shape, spec.state_tensors, place)


def labels(bundles: Sequence[Bundle]) -> str:
    """Labels of bundles that run side by side: ``default@1.0.0+pump@1.2.0``."""
    return "+".join(bundle.label for bundle in bundles)
