"""Each streaming part of detection gives the same output as its plain twin in `tests/support/naive.py`.

Readings are random: noise, steps, counts, spikes, values that stick. Some are missing, and channels change hands on the
way. Tolerances are relative to the largest number that the twin says.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from agent.core.persistent_state import capture
from agent.detection.cross_channel import CrossChannelForecast
from agent.detection.excursion import LEVEL, PATTERN, READINGS, Excursions
from tests.support import naive
from tests.support.detection_parts import CHANNELS, KINDS, PARTS, draw


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if part.twin])
def test_a_part_says_what_its_plain_twin_says(name: str, kind: str) -> None:
    part = PARTS[name]
    rows = draw(kind, part.rows)
    assert part.twin
    one = part.make(range(CHANNELS))
    twins = [part.twin(channel) for channel in range(CHANNELS)]
    # Two slots are reassigned to other channels, at different rows.
    renewed = {part.rows * 2 // 5: 1, part.rows * 3 // 5 + 7: 0}
    for row, values in enumerate(rows):
        if row in renewed:
            channel = renewed[row]
            part.reset(one, np.array([channel]), [channel])
            twins[channel] = part.twin(channel)
        valid = ~np.isnan(values)
        said = part.step(one, np.where(valid, values, part.missing), valid)
        for twin, value in zip(twins, values.tolist(), strict=True):
            twin.take(row, None if math.isnan(value) else value)
        if row % part.every and row + 1 < part.rows:
            continue
        expected = np.array([twin.said() for twin in twins]).T
        finite = np.abs(expected[np.isfinite(expected)])
        margin = part.tolerance * (1.0 + finite.max(initial=0.0))
        np.testing.assert_allclose(said, expected, rtol=part.tolerance, atol=margin, err_msg=f"row {row}")


@pytest.mark.parametrize("seed", range(4))
def test_the_other_channels_say_what_a_regression_on_them_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 2 + seed
    common = rng.normal(size=(400, 2)) @ rng.normal(size=(2, n))
    rows = common + rng.normal(scale=0.4, size=common.shape)
    which = rng.random(rows.shape) > 0.05
    relation = CrossChannelForecast(n)
    solved, due = 0, 100
    for row, (values, there) in enumerate(zip(rows, which, strict=True), 1):
        relation.learn(values, there)
        if row >= due:
            solved, due = row, round(1.25 * row) + 1
        if not solved or row % 17:
            continue
        moments, weight = naive.cross_channel_moments((rows * which)[:solved])
        usual = rng.normal(scale=0.3, size=n)
        expected, size = naive.unexpected_by_regression(moments, weight, usual)
        if (np.abs(expected) <= 3.0 * size).all():
            np.testing.assert_allclose(relation.unexpected(usual), expected, rtol=1e-4, atol=1e-4)
        # One that is far off is left out: the others are what a regression without it makes of them, but for a factor.
        far = usual.copy()
        far[0] = 6.0
        expected, size = naive.unexpected_by_regression(moments, weight, far)
        without, size_without = naive.unexpected_by_regression(moments[1:, 1:], weight, far[1:])
        shrunk = without * (size[1:] / size_without) ** 2
        if (np.abs(expected / size).argmax() == 0) and (np.abs(shrunk) <= 3.0 * size[1:]).all():
            np.testing.assert_allclose(relation.unexpected(far), [expected[0], *shrunk], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noticed", [READINGS, PATTERN, LEVEL])
def test_the_band_of_an_excursion_holds_the_middle_of_64_blocks_before_the_deviation(noticed: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    half_effect = np.array([0.0, 0.7])
    excursions = Excursions(half_effect, 1.0, block_rows=1, confirm_s=5.0, accept_after_s=600.0)
    blocks = rng.standard_t(3.0, (112 + 40 * seed, 2))
    for row in blocks:
        excursions.push(row)
    evidence = np.full((3, 2), 1.0)
    evidence[noticed] = 2.0
    excursions.begin(np.full(2, 2.0), evidence, blocks[-1])
    band = capture(excursions)[""]["band"]
    for channel, half in enumerate(half_effect):
        expected = naive.excursion_band(blocks[:, channel].tolist(), half, gradual=noticed == LEVEL)
        assert band[:, channel] == pytest.approx(expected, rel=1e-6, abs=1e-6)
