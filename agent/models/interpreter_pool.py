"""Shares TFLite interpreters between networks of the same batch size, each with its own recurrent state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.models.bundle import Bundle
    from agent.models.manifest import Manifest
    from agent.models.tflite import StepNetwork, WindowNetwork

__all__ = ["InterpreterPool"]


class InterpreterPool:
    """Makes networks that share interpreters, and therefore must not run concurrently.

    Parameters
    ----------
    bundle
        The verified bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._forecasters: dict[int, StepNetwork] = {}
        self._autoencoders: dict[int, WindowNetwork] = {}

    @property
    def manifest(self) -> Manifest:
        """The bundle's metadata."""
        return self._bundle.manifest

    def forecaster(self, batch: int) -> StepNetwork:
        """Make a forecaster for a batch of rows, with its own recurrent state."""
        if batch not in self._forecasters:
            self._forecasters[batch] = self._bundle.forecaster(batch)
        return self._forecasters[batch].twin()

    def autoencoder(self, batch: int) -> WindowNetwork:
        """Give the shared autoencoder for a batch of windows; it is stateless."""
        if batch not in self._autoencoders:
            self._autoencoders[batch] = self._bundle.autoencoder(batch)
        return self._autoencoders[batch]
