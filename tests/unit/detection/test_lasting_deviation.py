"""How long a deviation lasts that single readings do not show."""

from __future__ import annotations

import numpy as np

from agent.detection.lasting_deviation import LastingDeviation


def test_a_deviation_lasts_until_two_errors_are_less_than_half_of_what_it_was() -> None:
    deviation, strong, weak = LastingDeviation(3), np.array([1.0, 0.5, 0.4]), np.zeros(3)
    deviation.follow(np.array([-8.0, 4.0, 9.0]), strong)
    assert deviation.lasts.tolist() == [True, True, False]
    assert deviation.largest.tolist() == [8.0, 4.0, 0.0]
    # A missing error says nothing, a large one begins to count anew.
    for errors in ([4.0, np.nan, 9.0], [3.9, 1.9, 9.0], [-4.1, np.nan, 9.0], [3.9, 2.1, 9.0]):
        deviation.follow(np.array(errors), weak)
        assert deviation.lasts.tolist() == [True, True, False]
    deviation.follow(np.array([-3.9, 1.9, 9.0]), weak)
    assert deviation.lasts.tolist() == [False, True, False]
    deviation.follow(np.array([0.0, 1.9, 9.0]), weak)
    assert not deviation.lasts.any()


def test_an_accepted_deviation_is_forgiven_for_good() -> None:
    deviation, strong = LastingDeviation(2), np.ones(2)
    deviation.follow(np.array([8.0, 8.0]), strong)
    deviation.accept(np.array([True, False]))
    deviation.follow(np.array([8.0, 8.0]), 0.1 * strong)
    assert deviation.lasts.tolist() == [False, True]
