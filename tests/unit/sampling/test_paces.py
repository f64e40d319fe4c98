"""Channels with a longer sampling interval beside faster ones."""

from __future__ import annotations

import itertools
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.clock import ManualClock, SystemClock
from agent.core.frame import Frame
from agent.detection.ensemble import Ensemble
from agent.detection.partitioned import PartitionedDetector
from agent.detection.settings import DetectionConfig
from agent.detection.universal import UniversalDetector
from agent.models.interpreter_pool import InterpreterPool
from agent.sampling.sampler import Sampler
from agent.sampling.settings import DerivedConfig
from tests.support.restart import carry_over
from tests.support.sampling import Counting, Fake
from tests.support.verdicts import verdict

if TYPE_CHECKING:
    from agent.messages.alert import Alert
    from agent.models.bundle import Bundle

SLOW = 5


def sampled(sampler: Sampler, count: int) -> list[Frame]:
    frames = list(itertools.islice(sampler.frames(), count))
    sampler.close()
    return frames


class TestSampler:
    def test_a_source_has_its_turns_and_between_them_nothing_is_missing(self) -> None:
        sampler = Sampler([("a", Counting("a")), ("b", Counting("b"))], 20.0, ManualClock(), every=[1, SLOW])
        assert sampler.every.tolist() == [1, SLOW]
        frames = sampled(sampler, 11)
        # Asked a tick before its turn, since that is more than ten seconds.
        turns = [f.seq for f in frames if f.due is None]
        assert turns == [1, 6]
        assert [f.values.tolist()[1] for f in frames if f.due is None] == [1.0, 2.0]
        assert all(f.due.tolist() == [True, False] and math.isnan(f.values[1]) for f in frames if f.due is not None)

    def test_one_that_takes_its_time_is_asked_before_its_turn(self) -> None:
        asked = threading.Event()

        class Slow(Counting):
            def read(self) -> list[float]:
                asked.wait(5)
                return super().read()

        sampler = Sampler([("a", Counting("a")), ("b", Slow("b", inline=False))], 0.05, SystemClock(), every=[1, 6])
        frames = []
        for frame in itertools.islice(sampler.frames(), 7):
            frames.append(frame)
            if frame.seq == 2:
                asked.set()
        sampler.close()
        assert [f.seq for f in frames if f.due is None] == [5]
        assert frames[5].values[1] == 1.0
        assert sampler.failures == {"a": 0, "b": 0}

    def test_turns_are_those_of_the_node_and_go_on_after_a_restart(self) -> None:
        sampler = Sampler([("a", Counting("a")), ("b", Counting("b"))], 20.0, ManualClock(), every=[1, SLOW])
        sampler.continue_from(1003)
        assert [f.seq for f in sampled(sampler, 10) if f.due is None] == [1006, 1011]

    def test_a_turn_that_was_missed_is_taken_with_the_next_tick(self) -> None:
        clock = ManualClock()

        class Late(Counting):
            def read(self) -> list[float]:
                if self.reads == 4:
                    clock.now_ns += 70 * 10**9
                return super().read()

        sampler = Sampler([("a", Late("a")), ("b", Counting("b"))], 20.0, clock, every=[1, SLOW])
        frames = sampled(sampler, 8)
        assert [f.seq for f in frames] == [0, 1, 2, 3, 4, 7, 8, 9]
        assert [f.seq for f in frames if f.due is None] == [1, 7]

    def test_a_derived_channel_has_the_turns_of_its_slowest_input(self) -> None:
        sampler = Sampler(
            [("a", Counting("a")), ("b", Counting("b"))],
            20.0,
            ManualClock(),
            every=[1, SLOW],
            derived=[DerivedConfig(name="d", how="difference", of=("a", "b"))],
        )
        assert sampler.every.tolist() == [1, SLOW, SLOW]
        frames = sampled(sampler, 8)
        assert [(f.seq, f.values[2]) for f in frames if f.due is None] == [(1, 1.0), (6, 5.0)]
        assert all(f.due.tolist() == [True, False, False] for f in frames if f.due is not None)

    def test_all_of_one_pace_are_everybody(self) -> None:
        frames = sampled(Sampler([("a", Fake([1, 2], [3, 4]))], 1.0, ManualClock()), 5)
        assert [f.due for f in frames] == [None, None]


DETECTION, ALERTS = DetectionConfig(block_s=3.0), AlertsConfig(learning_s=60, confirm_s=3)
EVERY = np.array([1, SLOW, 1, SLOW])
ROWS = 1600


def frames_of(values: Any, first: int = 0) -> list[Frame]:
    frames = []
    for seq, row in enumerate(values, start=first):
        due = (EVERY == 1) | (seq % SLOW == 0)
        frames.append(
            Frame(seq, 0, float(seq), np.where(due, row, np.nan).astype(np.float32), None if due.all() else due)
        )
    return frames


def readings() -> Any:
    rng = np.random.default_rng(3)
    values = 50.0 + rng.normal(0, 1, (ROWS, 4))
    values[1200:1300, 1] += 60.0
    return values.astype(np.float32)


class TestWatch:
    def test_a_slow_channel_is_judged_as_on_a_node_of_its_own_pace(self, default_bundle: Bundle) -> None:
        names = [Channel(name, "%", effect=1.0) for name in "abcd"]
        values = readings()
        together = PartitionedDetector(names, InterpreterPool(default_bundle), DETECTION, ALERTS, 1.0, EVERY)
        alone = UniversalDetector(
            [names[1], names[3]],
            InterpreterPool(default_bundle),
            DETECTION,
            ALERTS,
            float(SLOW),
            phase=2,  # of two groups the second, whose cycle is four blocks of one row
            among=len(names),
        )
        found = 0
        for frame in frames_of(values):
            whole = together.step(frame)
            if frame.due is not None:
                assert not whole.strength[[1, 3]].any()
                assert np.isnan(whole.errors[:, [1, 3]]).all()
                continue
            part = alone.step(Frame(frame.seq // SLOW, 0, frame.wall, frame.values[[1, 3]]))
            for name in ("strength", "peak", "anomalous", "state"):
                np.testing.assert_array_equal(getattr(whole, name)[[1, 3]], getattr(part, name), name)
            np.testing.assert_array_equal(whole.bounds()[:, [1, 3]], part.bounds())
            np.testing.assert_array_equal(whole.progress()[[1, 3]], part.progress())
            found += int(part.anomalous[0])
        assert found

    def test_what_it_has_learned_is_kept_and_gone_on_from(self, default_bundle: Bundle) -> None:
        names = [Channel(name, "%", effect=1.0) for name in "abcd"]
        frames = frames_of(readings())

        def made() -> Ensemble:
            return Ensemble(names, default_bundle, DETECTION, ALERTS, 1.0, EVERY)

        whole = made()
        expected = [whole.step(frame) for frame in frames]
        first = made()
        for frame in frames[:803]:
            first.step(frame)
        second = made()
        carry_over(first, second)
        for frame, verdict_ in zip(frames[803:], expected[803:], strict=True):
            now = second.step(frame)
            np.testing.assert_array_equal(now.strength, verdict_.strength)
            np.testing.assert_array_equal(now.anomalous, verdict_.anomalous)


def told(strengths: dict[int, float], rows: int, **alerts: Any) -> list[Alert]:
    """Messages about a channel read every tick and one read every fifth, which is anomalous at some of its turns."""
    config = AlertsConfig(
        **{"confirm_s": 5, "clear_s": 10, "merge_s": 10, "cooldown_s": 20, "budget_per_day": 1e9, **alerts}
    )
    channels = (Channel("fast"), Channel("slow"))
    every = np.array([1, SLOW])
    incidents = Incidents(channels, config, 1.0, node="n", model="m", instance="i", every=every)
    found = []
    strength = 0.0
    for seq in range(rows):
        due = seq % SLOW == 0
        if due:
            strength = strengths.get(seq, 0.0)
        judged = verdict([0.0, strength], value=[6.0, 88.0 if due else np.nan])
        frame = Frame(seq, 0, float(seq), judged.value, None if due else np.array([True, False]))
        found += incidents.step(frame, judged)
    return found


class TestIncidents:
    def test_one_reading_of_a_slow_channel_confirms_and_quiet_ones_end(self) -> None:
        alerts = told({50: 9.0, 55: 9.0}, 120)
        assert [(alert.phase, alert.ts) for alert in alerts] == [("open", 50.0), ("close", 65.0)]
        assert alerts[-1].reason == "recovered"

    def test_what_comes_more_slowly_than_the_time_to_clear_needs_three(self) -> None:
        alerts = told({50: 9.0}, 120, clear_s=3)
        assert [(alert.phase, alert.ts) for alert in alerts] == [("open", 50.0), ("close", 65.0)]

    def test_a_slow_channel_is_confirmed_by_as_many_readings_as_come_in_the_time(self) -> None:
        assert not told({50: 9.0, 60: 9.0, 70: 9.0}, 120, confirm_s=15)  # of three readings in a row never three
        alerts = told({50: 9.0, 55: 9.0, 60: 9.0}, 120, confirm_s=15)
        assert alerts[0].ts == 60.0

    def test_between_its_turns_it_is_not_missing(self) -> None:
        alerts = told(dict.fromkeys(range(50, 400, 5), 9.0), 400)
        assert [alert.phase for alert in alerts if alert.phase != "update"] == ["open"]
