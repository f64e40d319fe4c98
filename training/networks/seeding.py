"""Initial weights that depend on a seed alone.

Keras draws them from the numbers that all threads of a process share, so that any other thread that draws one, to wait
for a random time say, changes what comes out.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import keras
from keras.src.random import seed_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Build models in this: Keras draws what it would from `seed` if it were alone in the process."""
    keras.utils.set_random_seed(seed)
    shared = seed_generator.python_random
    seed_generator.python_random = random.Random(seed)  # noqa: S311 - weights, no secrets
    try:
        yield
    finally:
        seed_generator.python_random = shared
