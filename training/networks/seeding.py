"""Initial weights that depend on a seed alone.

By default Keras seeds each layer from random numbers that all threads of a process share, so that any other thread that
draws one changes the weights. Here every layer gets a seed of its own from a generator that nothing else uses.
"""

from __future__ import annotations

import random
from typing import Any

import keras

__all__ = ["Seeds"]

# Largest seed of a layer. Keras draws its own from the same range.
_MOST = 1_000_000_000


class Seeds:
    """Builds layers whose seeds follow from one seed, in the order in which they are built.

    Parameters
    ----------
    seed
        The one seed; None leaves the choice to Keras.

    Examples
    --------
    >>> one, same = Seeds(1).dense(2).kernel_initializer, Seeds(1).dense(2).kernel_initializer
    >>> bool((keras.ops.convert_to_numpy(one((3, 2))) == keras.ops.convert_to_numpy(same((3, 2)))).all())
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = None if seed is None else random.Random(seed)  # noqa: S311 - weights, not secrets

    def next(self) -> int | None:
        """Give the next layer's seed."""
        return None if self._random is None else self._random.randint(1, _MOST)

    def lstm(self, units: int, **options: Any) -> Any:
        """Build an LSTM layer with Keras' own initializers."""
        kernel = keras.initializers.GlorotUniform(seed=self.next())
        recurrent = keras.initializers.Orthogonal(seed=self.next())
        return keras.layers.LSTM(
            units, kernel_initializer=kernel, recurrent_initializer=recurrent, seed=self.next(), **options
        )

    def dense(self, units: int, **options: Any) -> Any:
        """Build a dense layer with Keras' own initializers."""
        return keras.layers.Dense(
            units, kernel_initializer=keras.initializers.GlorotUniform(seed=self.next()), **options
        )
