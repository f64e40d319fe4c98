"""The networks of a bundle for several users: those of one batch size share an interpreter, each has its own state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.models.bundle import Bundle
    from agent.models.manifest import Manifest
    from agent.models.tflite import StepNetwork, WindowNetwork

__all__ = ["InterpreterPool"]


class InterpreterPool:
    """Makes networks that run one after another, never at once: an interpreter's buffers are the same for all of them.

    Parameters
    ----------
    bundle
        The verified models.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._forecasters: dict[int, StepNetwork] = {}
        self._autoencoders: dict[int, WindowNetwork] = {}

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._bundle.manifest

    def forecaster(self, batch: int) -> StepNetwork:
        """Make a step network for a batch of rows, with a state of its own."""
        if batch not in self._forecasters:
            self._forecasters[batch] = self._bundle.forecaster(batch)
        return self._forecasters[batch].twin()

    def autoencoder(self, batch: int) -> WindowNetwork:
        """Give the window network for a batch of windows; it keeps nothing from one to the next."""
        if batch not in self._autoencoders:
            self._autoencoders[batch] = self._bundle.autoencoder(batch)
        return self._autoencoders[batch]
