"""Initial weights follow from the seed alone, whatever else draws random numbers in the process."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the extra `training`")

from training.networks.architectures import AutoencoderShape, ForecasterShape, autoencoder, forecaster
from training.networks.seeding import Seeds

SHAPES = [
    (forecaster, ForecasterShape(units=4, layers=2, dropout=0.1)),
    (autoencoder, AutoencoderShape(window=8, units=4, latent=2, placed=True)),
]


def weights(build: Any, shape: Any, seed: int) -> list[Any]:
    seeds = Seeds(seed)
    random.random()  # as another thread may, at any time
    return build(shape, seeds).get_weights()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("build", "shape"), SHAPES, ids=["forecaster", "autoencoder"])
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(build: Any, shape: Any) -> None:
    one, same, other = weights(build, shape, 1), weights(build, shape, 1), weights(build, shape, 2)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("build", "shape"), SHAPES, ids=["forecaster", "autoencoder"])
def test_no_two_layers_share_their_weights(build: Any, shape: Any) -> None:
    found = [w for w in weights(build, shape, 1) if w.ndim > 1]
    for index, one in enumerate(found):
        assert not any(one.shape == two.shape and np.array_equal(one, two) for two in found[index + 1 :])
