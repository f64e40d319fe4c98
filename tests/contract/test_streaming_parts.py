"""Promises of every streaming part of detection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.core.persistent_state import capture
from tests.support.detection_parts import CHANNELS, PARTS, StreamingPart, draw, fed
from tests.support.restart import carry_over

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array

ALL = range(CHANNELS)
ROWS = 300
KINDS = ("walk", "stuck")
# A row after which all periodic work has just been done.
AT = 160


@pytest.fixture(params=PARTS)
def part(request: pytest.FixtureRequest) -> StreamingPart:
    return PARTS[request.param]


def same(said: Float64Array, expected: Float64Array, part: StreamingPart) -> None:
    """Assert that two results agree up to the rounding of parts that combine channels."""
    if part.alone:
        np.testing.assert_array_equal(said, expected)
    else:
        np.testing.assert_allclose(said, expected, rtol=part.tolerance, atol=part.tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_changes_nothing_that_was_said(part: StreamingPart, kind: str) -> None:
    rows = draw(kind, ROWS)
    other = rows.copy()
    other[AT:] = np.nan_to_num(other[AT:]) * -3.0 + 17.0
    np.testing.assert_array_equal(fed(part, part.make(ALL), other)[:AT], fed(part, part.make(ALL), rows)[:AT])


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_channels_does_not_matter(part: StreamingPart, kind: str) -> None:
    rows, order = draw(kind, ROWS), [2, 0, 1]
    said, turned = fed(part, part.make(ALL), rows), fed(part, part.make(order), rows[:, order])
    same(turned, said[:, :, order], part)


def test_a_channel_is_the_same_alone_and_among_others(part: StreamingPart) -> None:
    if not part.alone:
        pytest.skip("its channels know of each other")
    rows = draw("walk", ROWS)
    said = fed(part, part.make(ALL), rows)
    for channel in ALL:
        same(fed(part, part.make([channel]), rows[:, [channel]]), said[:, :, [channel]], part)


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_that_was_reset_is_as_if_new_and_its_neighbours_do_not_notice(part: StreamingPart, kind: str) -> None:
    if not part.alone:
        pytest.skip("its channels know of each other")
    rows, channel, others = draw(kind, ROWS), 1, [0, 2]
    undisturbed = fed(part, part.make(ALL), rows)
    one = part.make(ALL)
    fed(part, one, rows[:AT])
    part.reset(one, np.array([channel]), [channel])
    said = fed(part, one, rows[AT:])
    same(said[:, :, others], undisturbed[AT:, :, others], part)
    same(said[:, :, [channel]], fed(part, part.make([channel]), rows[AT:, [channel]]), part)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_was_restored_goes_on_as_one_that_never_stopped(part: StreamingPart, kind: str) -> None:
    rows = draw(kind, ROWS)
    uninterrupted = fed(part, part.make(ALL), rows)
    before, after = part.make(ALL), part.make(ALL)
    fed(part, before, rows[: AT + 13])
    carry_over(before, after)
    np.testing.assert_array_equal(fed(part, after, rows[AT + 13 :]), uninterrupted[AT + 13 :])


@pytest.mark.parametrize("value", [0.0, -7.0, 1e6, 1e-30])
def test_a_constant_channel_leaves_finite_numbers(part: StreamingPart, value: float) -> None:
    one = part.make(ALL)
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        said = fed(part, one, np.full((ROWS, CHANNELS), value))
    assert_finite(said)
    assert_finite(one)


def test_channels_that_were_never_read_are_like_new_ones(part: StreamingPart) -> None:
    if not part.alone:
        pytest.skip("its rows count without a reading")
    one, rows = part.make(ALL), draw("noise", ROWS)
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        fed(part, one, np.full((AT, CHANNELS), np.nan))
    same(fed(part, one, rows), fed(part, part.make(ALL), rows), part)


@pytest.mark.parametrize("size", [1e12, 1e29])
def test_huge_values_leave_finite_numbers(part: StreamingPart, size: float) -> None:
    # Readings beyond 1e30 are invalid and are removed earlier.
    rows = np.random.default_rng(0).normal(0.0, size / 5.0, (ROWS, CHANNELS)).clip(-size, size)
    one = part.make(ALL)
    calm = np.random.default_rng(1).normal(0.0, 1.0, (ROWS, CHANNELS))
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        said = fed(part, one, np.concatenate((rows, calm)))
    assert_finite(said)
    assert_finite(one)


def assert_finite(one: Any) -> None:
    """Assert that results and state contain no infinite number, and no unexpected NaN."""
    if isinstance(one, np.ndarray):
        never = np.isnan(one).all(axis=0)
        assert (np.isfinite(one[-1]) | never).all()
        return
    for path, record in capture(one).items():
        for name, value in record.items():
            if value is not None:
                assert not np.isinf(value).any(), f"{path}.{name}"
