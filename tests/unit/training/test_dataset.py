from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.detection.scaling import compress
from training.data.recording import Recording
from training.networks import dataset as module
from training.networks.dataset import Part, Prepared, ScalingMethod, dominant_period, prepare

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array

METHODS: tuple[ScalingMethod, ...] = ("robust", "standard", "minmax")
MONDAY = 345_600.0


def recording(values: Any, *, name: str = "pump", interval_s: float = 1.0, **given: Any) -> Recording:
    table = np.asarray(values, np.float32)
    table = table[:, None] if table.ndim == 1 else table
    given.setdefault("channels", tuple(Channel(f"c{k}") for k in range(table.shape[1])))
    given.setdefault("time", MONDAY + interval_s * np.arange(len(table)))
    return Recording(name, given.pop("channels"), interval_s, given.pop("time"), table, **given)


def prepared(values: Any, method: ScalingMethod = "robust", **given: Any) -> Prepared:
    return prepare([recording(values, **given)], method=method)


def part_of(values: Any, method: ScalingMethod = "robust", **given: Any) -> Part:
    (part,) = prepared(values, method, **given).parts
    return part


def noise(rows: int, channels: int = 1, seed: int = 0) -> Float32Array:
    return np.random.default_rng(seed).normal(50, 4, (rows, channels)).astype(np.float32)


class TestScale:
    @pytest.mark.parametrize("method", METHODS)
    def test_what_is_held_back_never_changes_it(self, method: ScalingMethod) -> None:
        values = noise(1000, 2)
        split = part_of(values).split
        other = values.copy()
        other[split.train.stop :] = -1e6
        one, two = prepared(values, method), prepared(other, method)
        assert one.scaling == two.scaling
        np.testing.assert_array_equal(one.parts[0].z[split.train], two.parts[0].z[split.train])

    @pytest.mark.parametrize("method", METHODS)
    def test_what_is_labelled_wrong_never_changes_it(self, method: ScalingMethod) -> None:
        values, labels = noise(1000), np.zeros(1000, bool)
        labels[100:150] = True
        other = values.copy()
        other[100:150] = 1e6
        assert prepared(values, method, labels=labels).scaling == prepared(other, method, labels=labels).scaling
        assert prepared(other, method).scaling != prepared(other, method, labels=labels).scaling

    @pytest.mark.parametrize(("method", "spread"), [("robust", 3.0 / 1.349), ("standard", 2.0), ("minmax", 3.0)])
    def test_each_method_does_what_it_is_called(self, method: ScalingMethod, spread: float) -> None:
        values = [1, 2, 3, 4, 5, 6, 7, 100, 200, 300]  # of which 1 to 7 are learned from
        made = prepared(values, method, train_rows=10)
        assert made.scaling.method == method
        assert made.scaling.centre == [4.0]
        assert made.scaling.spread == [pytest.approx(spread)]
        np.testing.assert_allclose(made.parts[0].z[:7, 0], (np.arange(1, 8) - 4) / spread, rtol=1e-6)

    def test_a_channel_that_rests_most_of_the_time_has_a_spread_nonetheless(self) -> None:
        values = np.zeros(1000)
        values[::10] = 30.0
        made = prepared(values)
        assert made.scaling.spread == [pytest.approx(0.2 * values[:630].std(), rel=0.01)]
        assert made.notes == ()

    def test_a_constant_channel_is_said_and_its_first_change_stands_out_as_a_number(self) -> None:
        values = np.full((1000, 2), 20.0)
        values[:, 1] = noise(1000)[:, 0]
        values[700:, 0] = 20.5
        made = prepared(values)
        assert len(made.notes) == 1
        assert "c0 is constant (20)" in made.notes[0]
        z = made.parts[0].z[:, 0]
        assert (z[:700] == 0).all()
        assert 2.0 < z[700] < 16.0

    def test_nothing_far_below_the_smallest_effect_is_blown_up(self) -> None:
        made = prepared(50 + 1e-4 * noise(1000), channels=(Channel("c", effect=10.0),))
        assert made.scaling.spread == [1.0]

    def test_a_channel_without_a_reading_to_learn_from_is_refused_by_name(self) -> None:
        values = noise(1000, 3)
        values[:, 1] = np.nan
        values[:700, 2] = np.inf  # the last readings are behind the training part
        with pytest.raises(UserError, match="without a valid reading in the training part: c1, c2") as refused:
            prepared(values)
        assert refused.value.location == "pump"
        assert "--channels" in refused.value.remedy

    def test_a_rate_is_seen_on_a_logarithmic_scale(self) -> None:
        values = np.array([0, 1, 9, 99, 999, 9, 9, -5, 9, 9], np.float64)
        made = prepared(values, "minmax", train_rows=10, channels=(Channel("rate", log_reference=1.0, effect=2.0),))
        middle = np.log(1000.0) / 2
        assert made.scaling.centre == [pytest.approx(middle)]
        assert made.scaling.log_reference == [1.0]
        assert made.scaling.effect == [2.0]
        np.testing.assert_allclose(made.parts[0].z[:5, 0], (np.log1p(values[:5]) - middle) / middle, atol=1e-6)
        assert made.parts[0].z[7, 0] == made.parts[0].z[0, 0]  # below zero there is no rate

    def test_recordings_share_one_scale(self) -> None:
        low, high = recording(noise(500)), recording(noise(500) + 50, name="other")
        (centre,) = prepare([low, high], method="standard").scaling.centre
        assert centre == pytest.approx(75, abs=1)


class TestParts:
    def test_they_follow_each_other_in_time_and_leave_nothing_out(self) -> None:
        split = part_of(noise(1000)).split
        assert [(part.start, part.stop) for part in split] == [(0, 630), (630, 738), (738, 900), (900, 1000)]

    def test_where_the_data_set_says_what_is_for_training_the_rest_is_the_test(self) -> None:
        split = part_of(noise(1000), train_rows=500).split
        assert (split.train.start, split.calibration.stop, split.test) == (0, 500, slice(500, 1000))

    def test_recordings_of_different_intervals_are_refused(self) -> None:
        recordings = [recording(noise(100)), recording(noise(100), name="slow", interval_s=60.0)]
        with pytest.raises(UserError, match="pump has a row every 1 s, slow every 60 s") as refused:
            prepare(recordings, method="robust")
        assert refused.value.location == "slow"
        assert "--interval" in refused.value.remedy

    def test_an_interval_that_no_agent_samples_at_is_refused(self) -> None:
        with pytest.raises(UserError, match="the interval of 604800 s is longer than one day") as refused:
            prepared(noise(500), interval_s=604_800.0)
        assert "--interval" in refused.value.remedy


class TestWindows:
    @pytest.mark.parametrize("length", [1, 2, 17, 108])
    def test_all_that_lie_within_a_part_are_found_and_none_crosses_a_boundary(self, length: int) -> None:
        part = part_of(noise(1000))
        for rows in part.split:
            expected = np.arange(rows.start + length - 1, rows.stop)
            np.testing.assert_array_equal(part.ends(rows, length), expected)

    def test_a_part_shorter_than_a_window_has_none(self) -> None:
        part = part_of(noise(1000))
        assert part.ends(part.split.validation, 109).size == 0

    def test_none_touches_a_label(self) -> None:
        labels = np.zeros(1000, bool)
        labels[[100, 101, 400]] = True
        part = part_of(noise(1000), labels=labels)
        ends = part.ends(part.split.train, 20)
        touching = {row + later for row in (100, 101, 400) for later in range(20)}
        assert set(ends.tolist()) == set(range(19, 630)) - touching

    def test_none_crosses_a_break(self) -> None:
        time = MONDAY + np.arange(1000.0)
        time[300:] += 5000.0
        part = part_of(noise(1000), time=time)
        ends = part.ends(part.split.train, 20)
        assert not set(range(300, 319)) & set(ends.tolist())
        assert {298, 319} <= set(ends.tolist())

    def test_none_has_more_than_a_tenth_missing(self) -> None:
        values = noise(1000, 2)
        values[200:210, 0] = np.nan
        part = part_of(values)
        missing = np.isnan(values).any(axis=1)
        ends = part.ends(part.split.train, 20)
        counts = np.array([missing[end - 19 : end + 1].sum() for end in range(19, 630)])
        np.testing.assert_array_equal(ends, 19 + np.flatnonzero(counts <= 4))  # of 40 readings

    def test_they_are_cut_without_copying_the_data(self) -> None:
        part = part_of(noise(200_000, 4))
        ends = part.ends(part.split.train, 64)
        tracemalloc.start()
        try:
            points = part.points(ends[:: len(ends) // 64][:64], 64, 1)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert points.shape == (64, 64, 4)
        assert peak < 4 * points.nbytes < part.z.nbytes

    def test_many_long_ones_need_little_more_than_their_points(self) -> None:
        part = part_of(noise(20_000, 4))
        ends = part.ends(part.split.train, 4096)[:1024]
        tracemalloc.start()
        try:
            part.points(ends, 32, 128)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 0.25 * (ends.size * 4096 * 4 * 8)  # bytes, were all of them held at once

    @pytest.mark.parametrize("block", [1, 4])
    def test_a_point_is_the_mean_reading_of_its_block(self, block: int) -> None:
        values = noise(400, 2)
        values[150] = 1e4  # wild enough to be compressed
        made = prepared(values)
        centre, spread = np.array(made.scaling.centre), np.array(made.scaling.spread)
        ends = np.array([79, 160, 251])
        points = made.parts[0].points(ends, 20, block)
        assert points.dtype == np.float32
        for window, end in zip(points, ends, strict=True):
            rows = values[end + 1 - 20 * block : end + 1].astype(np.float64)
            means = rows.reshape(20, block, 2).mean(axis=1)
            np.testing.assert_allclose(window, compress((means - centre) / spread), atol=1e-4)


class TestMissingReadings:
    def test_the_last_reading_stands_in_and_the_middle_before_the_first(self) -> None:
        values = noise(1000)[:, 0]
        values[:3] = values[100:105] = np.nan
        values[105] = 1e31  # absurd
        part = part_of(values)
        assert (part.z[:3] == 0).all()
        assert (part.z[100:106] == part.z[99]).all()
        assert part.present[:, 0].tolist() == [row >= 3 and not 100 <= row <= 105 for row in range(1000)]

    def test_how_many_rows_are_worked_on_at_a_time_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = noise(1000, 2)
        values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
        whole = part_of(values)
        monkeypatch.setattr(module, "_BLOCK", 7)
        pieces = part_of(values)
        np.testing.assert_array_equal(whole.z, pieces.z)
        np.testing.assert_array_equal(whole.present, pieces.present)


@pytest.mark.parametrize(
    ("days", "interval_s", "timed", "clock", "expected"),
    [
        (3.9, 600.0, True, "auto", ()),
        (4.1, 600.0, True, "auto", ("hour_sin", "hour_cos")),
        (20.9, 7200.0, True, "auto", ("hour_sin", "hour_cos")),
        (21.1, 7200.0, True, "auto", ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")),
        (40.0, 21600.0, True, "auto", ("weekday_sin", "weekday_cos")),
        (40.0, 3600.0, False, "auto", ()),
        (40.0, 3600.0, True, "none", ()),
    ],
)
def test_hour_and_weekday_are_seen_where_the_data_can_teach_them(
    days: float, interval_s: float, timed: bool, clock: Literal["auto", "none"], expected: tuple[str, ...]
) -> None:
    values = noise(round(days * 86400 / interval_s) + 1)
    made = prepare([recording(values, interval_s=interval_s, timed=timed)], method="robust", clock=clock)
    assert made.clock == expected


def test_the_features_of_the_time_are_those_of_each_row() -> None:
    made = prepared(noise(24 * 30), interval_s=3600.0)
    six, thursday = 6, 3 * 24
    features = made.parts[0].clock(np.array([six, thursday]), made.clock)
    np.testing.assert_allclose(features[0, :2], [1, 0], atol=1e-6)
    np.testing.assert_allclose(features[1, 2:], [np.sin(6 * np.pi / 7), np.cos(6 * np.pi / 7)], atol=1e-6)


class TestRhythm:
    def of(self, values: Any) -> int | None:
        return dominant_period(prepared(values).parts)

    @pytest.mark.parametrize("period", [8, 50, 288, 512])
    def test_a_noisy_sine_has_its_period(self, period: int) -> None:
        rows = np.arange(8000)
        found = self.of(10 * np.sin(2 * np.pi * rows / period) + noise(8000, seed=2)[:, 0])
        assert found is not None
        assert abs(found - period) <= max(1, 0.02 * period)

    def test_of_its_multiples_the_shortest_is_taken(self) -> None:
        beat = np.exp(-(np.linspace(-4, 4, 100) ** 2))
        assert self.of(np.tile(beat, 60) + 0.01 * noise(6000)[:, 0]) == 100

    def test_channels_that_share_it_need_not_go_together(self) -> None:
        turn = 2 * np.pi * np.arange(6000) / 60
        both = np.stack([10 * np.sin(turn), 3 * np.cos(turn)], axis=1) + noise(6000, 2)
        assert self.of(both) == pytest.approx(60, abs=1)

    def test_noise_has_none(self) -> None:
        assert self.of(noise(8000, 2)) is None

    @pytest.mark.parametrize("seed", range(5))
    def test_a_random_walk_has_none(self, seed: int) -> None:
        assert self.of(np.cumsum(noise(8000, seed=seed) - 50)) is None

    def test_what_never_changes_has_none(self) -> None:
        assert self.of(np.full(8000, 3.0)) is None

    def test_too_short_a_recording_has_none(self) -> None:
        assert self.of(np.sin(np.arange(1000) / 5)) is None
