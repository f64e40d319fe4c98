from __future__ import annotations

import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest

from agent.sources.base import EndOfInputError
from agent.sources.simulated import PlantedAnomaly, PlantedKind, SimulatedConfig, SimulatedSource


def source(interval_s: float = 1.0, **keys: Any) -> SimulatedSource:
    return SimulatedSource(SimulatedConfig("simulated", **keys), interval_s)


def rows(of: SimulatedSource, count: int) -> np.ndarray[Any, Any]:
    return np.stack([of.read() for _ in range(count)])


def test_the_same_seed_gives_the_same_rows_and_anomalies() -> None:
    first, second = (source(seed=7, anomalies_per_hour=60.0, quiet_s=10.0) for _ in range(2))
    np.testing.assert_array_equal(rows(first, 2000), rows(second, 2000))
    assert first.labels() == second.labels() != ()


def test_another_seed_gives_others() -> None:
    assert not np.array_equal(rows(source(seed=1), 10), rows(source(seed=2), 10))


def test_labels_are_those_of_the_rows_read_so_far() -> None:
    patient, hasty = (source(anomalies_per_hour=60.0, quiet_s=10.0) for _ in range(2))
    rows(patient, 3000)
    rows(hasty, 1000)
    begun = tuple(label for label in patient.labels() if label.first_row < 1000)
    assert hasty.labels() == begun != ()


def test_labels_tell_exactly_where_the_series_is_disturbed() -> None:
    keys: dict[str, Any] = {"seed": 3, "channels": 4, "quiet_s": 50.0}
    disturbed = source(anomalies_per_hour=40.0, **keys)
    difference = rows(disturbed, 8000) != rows(source(anomalies_per_hour=0.0, **keys), 8000)
    labelled = np.zeros_like(difference)
    for label in disturbed.labels():
        labelled[label.first_row : label.last_row + 1, int(label.channel.removeprefix("simulated.")) - 1] = True
    assert labelled.any()
    np.testing.assert_array_equal(difference, labelled)


@pytest.mark.parametrize("kind", ["spike", "level_shift", "flat_line"])
def test_each_kind_looks_as_it_is_called(kind: PlantedKind) -> None:
    keys: dict[str, Any] = {"channels": 1, "quiet_s": 100.0, "kinds": (kind,)}
    disturbed = source(anomalies_per_hour=10.0, **keys)
    values, normal = rows(disturbed, 6000)[:, 0], rows(source(anomalies_per_hour=0.0, **keys), 6000)[:, 0]
    jitter = float(np.std(np.diff(normal)))
    assert disturbed.labels()
    for label in disturbed.labels():
        span = slice(label.first_row, label.last_row + 1)
        length = min(label.last_row + 1, 6000) - label.first_row
        assert label.kind == kind
        if kind == "flat_line":
            assert length >= 120 or label.last_row >= 5999
            assert (values[span] == values[label.first_row - 1]).all()
        else:
            offset = values[span] - normal[span]
            assert length <= (3 if kind == "spike" else 600)
            np.testing.assert_allclose(offset, offset[0], rtol=1e-3)
            assert abs(offset[0]) > 3 * jitter


def test_nothing_is_planted_in_the_quiet_beginning() -> None:
    busy = source(interval_s=2.0, anomalies_per_hour=1800.0, quiet_s=1000.0)
    rows(busy, 1000)
    assert min(label.first_row for label in busy.labels()) >= 500


def test_the_rate_is_about_what_was_asked_for() -> None:
    busy = source(channels=50, anomalies_per_hour=36.0, quiet_s=0.0, kinds=("spike",))
    rows(busy, 20_000)
    assert 140 < len(busy.labels()) < 260
    assert len(Counter(label.channel for label in busy.labels())) > 40


def test_a_channel_has_one_anomaly_at_a_time() -> None:
    busy = source(channels=2, anomalies_per_hour=1800.0, quiet_s=0.0, kinds=("flat_line",))
    rows(busy, 3000)
    last: dict[str, PlantedAnomaly] = {}
    for label in busy.labels():
        if label.channel in last:
            assert label.first_row > last[label.channel].last_row
        last[label.channel] = label


def test_length_rows_then_the_end_and_no_label_beyond_it() -> None:
    short = source(length=300, quiet_s=0.0, anomalies_per_hour=100.0)
    rows(short, 300)
    for _ in range(2):
        with pytest.raises(EndOfInputError):
            short.read()
    assert max(label.last_row for label in short.labels()) <= 299


def test_the_seasons_have_the_periods_of_the_config() -> None:
    quiet = source(interval_s=10.0, channels=20, day_s=1000.0, week_s=7000.0, anomalies_per_hour=0.0)
    series = rows(quiet, 7000)
    spectrum = np.abs(np.fft.rfft((series - series.mean(axis=0)) / series.std(axis=0), axis=0)).mean(axis=1)
    # 7,000 rows of 10 s hold 70 days and 10 weeks.
    for cycles in (70, 10):
        around = np.delete(spectrum[cycles - 4 : cycles + 5], 4)
        assert spectrum[cycles] > 2 * around.max()


def test_values_are_finite_float32_one_for_each_channel() -> None:
    values = source(channels=6).read()
    assert values.dtype == np.float32
    assert values.shape == (6,)
    assert np.isfinite(values).all()


def test_memory_does_not_grow_and_labels_are_bounded() -> None:
    busy = source(channels=64, anomalies_per_hour=3600.0 * 64, interval_s=1.0, quiet_s=0.0, kinds=("spike",))
    rows(busy, 12_000)
    assert len(busy.labels()) == 10_000
    tracemalloc.start()
    for _ in range(2000):
        busy.read()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The newest labels replace the oldest, which were made before tracing began.
    assert grown < 2000 * 300
    assert len(busy.labels()) == 10_000
