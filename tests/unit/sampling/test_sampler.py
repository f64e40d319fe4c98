from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.core.clock import ManualClock, SystemClock
from agent.core.errors import UserError
from agent.sampling.sampler import Sampler
from tests.support.sampling import Fake, values

if TYPE_CHECKING:
    from typing import Any


def boom() -> Any:
    raise RuntimeError("the sensor fell off")


def test_ticks_lie_on_absolute_deadlines() -> None:
    clock = ManualClock()
    frames = list(Sampler([("fake", Fake([1, 2], [3, 4], [5, 6]))], 0.5, clock).frames())
    assert [f.seq for f in frames] == [0, 1, 2]
    assert [f.mono_ns for f in frames] == [0, 500_000_000, 1_000_000_000]
    assert [f.values.tolist() for f in frames] == [[1, 2], [3, 4], [5, 6]]


def test_missed_ticks_are_counted_and_jumped_over() -> None:
    clock = ManualClock()

    def slow() -> Any:
        clock.now_ns += 2_200_000_000
        return [1, 1]

    sampler = Sampler([("fake", Fake([0, 0], slow, [2, 2], [3, 3]))], 0.5, clock)
    assert [f.seq for f in sampler.frames()] == [0, 1, 5, 6]
    assert sampler.missed == 3


@pytest.mark.parametrize("inline", [True, False])
def test_a_source_that_raises_is_counted_said_once_and_given_as_missing(inline: bool, caplog: Any) -> None:
    source = Fake([1, 1], boom, boom, [2, 2], inline=inline)
    sampler = Sampler([("fake", source)], 0.4, ManualClock() if inline else SystemClock())
    assert np.array_equal(values(sampler), [[1, 1], [np.nan] * 2, [np.nan] * 2, [2, 2]], equal_nan=True)
    assert sampler.failures == {"fake": 2}
    assert caplog.text.count("the sensor fell off") == 1
    sampler.close()
    assert source.closed


def test_a_source_that_hangs_makes_no_tick_late_and_delivers_late() -> None:
    release = threading.Event()

    def hang() -> Any:
        release.wait(30)
        return [7, 7]

    hanging = Fake([1, 1], hang, [8, 8], [9, 9], [9, 9], [9, 9], [9, 9], inline=False)
    quick = Fake(*([i, i] for i in range(50)), inline=False, names="cd")
    sampler = Sampler([("hanging", hanging), ("quick", quick)], 0.4, SystemClock())
    begin = time.monotonic()
    seen = []
    for frame in itertools.islice(sampler.frames(), 6):
        seen.append(frame.values.tolist())
        if frame.seq == 3:
            release.set()
    assert time.monotonic() - begin < 4.0
    assert [row[2] for row in seen] == [0, 1, 2, 3, 4, 5]
    assert seen[0][0] == 1
    assert all(np.isnan(row[0]) for row in seen[1:4])
    assert seen[4][0] == 7
    assert seen[5][0] == 8
    assert sampler.failures == {"hanging": 3, "quick": 0}
    sampler.close()


def test_a_row_of_the_wrong_length_is_a_failure_not_a_crash() -> None:
    sampler = Sampler([("fake", Fake([1], [1, 2, 3], "xy", [1, 2]))], 1.0, ManualClock())
    assert np.array_equal(values(sampler), [[np.nan] * 2] * 3 + [[1, 2]], equal_nan=True)
    assert sampler.failures == {"fake": 3}


def test_nan_infinity_and_1e308_pass_as_what_they_are_for_the_detector_to_count() -> None:
    sampler = Sampler([("fake", Fake([float("nan"), 1e308], [float("-inf"), 0.0]))], 1.0, ManualClock())
    assert np.array_equal(values(sampler), [[np.nan, np.inf], [-np.inf, 0.0]], equal_nan=True)


def test_a_channel_may_come_from_one_source_only() -> None:
    with pytest.raises(UserError, match="channel 'b' comes from two sources"):
        Sampler([("x", Fake(names="ab")), ("y", Fake(names="bc"))], 1.0, ManualClock())
    with pytest.raises(UserError, match="no channels"):
        Sampler([], 1.0, ManualClock())


def test_a_stopped_clock_ends_the_frames_at_once() -> None:
    clock = SystemClock()
    sampler = Sampler([("fake", Fake([1, 1], [2, 2], [3, 3]))], 10.0, clock)
    threading.Timer(0.1, clock.stop).start()
    begin = time.monotonic()
    assert len(list(sampler.frames())) == 1
    assert time.monotonic() - begin < 5
