from __future__ import annotations

import numpy as np
import pytest

from training.export.gptq_rounding import settle

RNG = np.random.default_rng(3)


def correlated(n: int, width: int) -> np.ndarray:  # type: ignore[type-arg]
    return (RNG.normal(size=(n, 4)) @ RNG.normal(size=(4, width)) + 0.05 * RNG.normal(size=(n, width))).astype("f4")


def nearest(weights: np.ndarray, gates: int) -> np.ndarray:  # type: ignore[type-arg]
    blocks = np.split(weights, gates, axis=1)
    steps = [np.abs(block).max() / 127 for block in blocks]
    return np.concatenate([np.round(b / s) * s for b, s in zip(blocks, steps, strict=True)], axis=1)


@pytest.mark.parametrize("gates", [1, 4])
def test_settled_weights_lie_on_the_grid_that_the_converter_finds(gates: int) -> None:
    weights = RNG.normal(size=(32, 128)).astype("f4")
    settled = settle(weights, correlated(500, 32), gates)
    for exact, block in zip(np.split(weights, gates, axis=1), np.split(settled, gates, axis=1), strict=True):
        step = np.abs(exact).max() / 127
        assert np.abs(block).max() == pytest.approx(127 * step, rel=1e-6)
        np.testing.assert_allclose(block / step, np.round(block / step), atol=1e-3)


def test_errors_cancel_on_states_that_go_together() -> None:
    weights = RNG.normal(size=(32, 128)).astype("f4")
    inputs = correlated(2000, 32)
    unseen = inputs[1000:]
    ours = np.abs(unseen @ (settle(weights, inputs[:1000]) - weights)).mean()
    theirs = np.abs(unseen @ (nearest(weights, 4) - weights)).mean()
    assert ours < theirs / 2


def test_states_that_never_vary_and_gates_without_weights_are_no_obstacle() -> None:
    weights = RNG.normal(size=(8, 32)).astype("f4")
    weights[:, 8:16] = 0.0
    settled = settle(weights, np.zeros((10, 8), np.float32))
    assert np.isfinite(settled).all()
    assert not settled[:, 8:16].any()
