"""A verified bundle: factory of its networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.models.tflite import StepNetwork, WindowNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.models.manifest import Manifest


__all__ = ["Bundle", "labels"]


class Bundle:
    """A verified bundle; makes its networks for any batch size.

    Parameters
    ----------
    directory
        Folder that it was loaded from, for messages.
    manifest
        The bundle's metadata.
    forecaster, autoencoder
        Contents of the two TFLite files.
    """

    def __init__(self, directory: Path, manifest: Manifest, forecaster: bytes, autoencoder: bytes) -> None:
        self.directory = directory
        self.manifest = manifest
        self.forecaster_file = forecaster
        self.autoencoder_file = autoencoder

    @property
    def label(self) -> str:
        """Name and version as shown in alerts: ``default@1.0.0``."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def forecaster(self, batch: int) -> StepNetwork:
        """Make the forecaster for a batch of rows: channels, or 1 in the joint layout."""
        manifest, spec = self.manifest, self.manifest.forecaster
        location = str(self.directory / spec.file)
        n_outputs = len(spec.quantiles) * manifest.lanes
        return StepNetwork(self.forecaster_file, batch, manifest.width, spec.units, n_outputs, location)

    def autoencoder(self, batch: int) -> WindowNetwork:
        """Make the autoencoder for a batch of windows: channels, or 1 in the joint layout."""
        spec = self.manifest.autoencoder
        location = str(self.directory / spec.file)
        shape = (spec.window, self.manifest.lanes)
        return WindowNetwork(self.autoencoder_file, batch, shape, spec.state_tensors, location)


def labels(bundles: Sequence[Bundle]) -> str:
    """Joined labels of bundles that run side by side: ``default@1.0.0+pump@1.2.0``."""
    return "+".join(bundle.label for bundle in bundles)
