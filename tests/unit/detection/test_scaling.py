from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.channel import Channel
from agent.detection.normaliser import Normaliser
from agent.detection.scaling import Scale, squash, unsquash


@given(st.floats(0, 2.0**40, width=32), st.floats(1e-3, 1e6))
def test_the_logarithmic_scale_can_be_undone(value: float, reference: float) -> None:
    scale = Scale([Channel("rate", log_reference=reference, effect=2.0)])
    scaled, valid = scale.apply(np.array([value], np.float32))
    assert valid.all()
    assert np.allclose(scale.invert(scaled), value, rtol=1e-6, atol=1e-6 * reference)


def test_an_effect_is_a_difference_on_a_linear_scale_and_a_factor_on_a_logarithmic_one() -> None:
    scale = Scale([Channel("cpu", effect=10.0), Channel("rate", effect=2.0, log_reference=1.0), Channel("plain")])
    assert np.allclose(scale.effect, [10.0, np.log(2.0), 0.0])


def test_missing_infinite_and_absurd_readings_are_invalid_and_harmless() -> None:
    scale = Scale([Channel(name, log_reference=float(i % 2)) for i, name in enumerate("abcdef")])
    values = np.array([np.nan, np.inf, -np.inf, 3e38, 1.0, -1.0], np.float32)
    scaled, valid = scale.apply(values)
    assert valid.tolist() == [False, False, False, False, True, True]
    assert np.isfinite(scaled).all()


@given(st.floats(-1e5, 1e5))
def test_squashing_can_be_undone(value: float) -> None:
    assert np.allclose(unsquash(squash(np.array([value]))), np.clip(value, -81377.4, 81377.4), rtol=1e-6)


def test_a_channel_that_does_not_learn_keeps_its_statistics() -> None:
    normaliser = Normaliser(2, np.zeros(2))
    rng = np.random.default_rng(0)
    for row in rng.normal(5, 1, (50, 2)):
        normaliser.update(row, np.array([True, True]))
    before = [array.copy() for array in (normaliser.centre, normaliser.deviation, normaliser.change)]
    normaliser.update(np.array([1e6, 1e6]), np.array([True, False]))
    after = (normaliser.centre, normaliser.deviation, normaliser.change)
    assert all(old[1] == new[1] and old[0] != new[0] for old, new in zip(before, after, strict=True))


def test_a_channel_is_the_same_alone_and_among_others() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 1, (300, 3)).cumsum(axis=0)
    alone, among = Normaliser(1, np.zeros(1)), Normaliser(3, np.zeros(3))
    for row in rows:
        a = alone.update(row[1:2], np.array([True]))
        b = among.update(row, np.array([True, True, True]))
        assert np.array_equal(a[0], b[1])
