from __future__ import annotations

from math import isnan, nan
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import UserError
from training.data import disk_array
from training.data.read_report import ReadReport
from training.data.resampling import Forward, Grid, Rows, resample

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array


def gridded(
    time: list[float] | Float64Array,
    values: list[float] | None = None,
    *,
    labels: list[int] | None = None,
    interval_s: float | None = None,
    findings: ReadReport | None = None,
) -> Grid:
    """Bring one channel to a grid; line 2 is its first."""
    stamps = np.asarray(time, np.float64)
    rows = Rows(1, long=False, labelled=labels is not None)
    forward, steps = Forward().step(stamps)
    assert forward.all()
    readings = np.arange(stamps.size) if values is None else np.asarray(values)
    rows.append(
        stamps,
        steps,
        np.arange(stamps.size) + 2,
        readings[:, None].astype(np.float32),
        labels=None if labels is None else np.array(labels, bool),
    )
    return resample(rows, 1, interval_s, findings or ReadReport("line"), "data.csv")


def column(grid: Grid) -> list[float]:
    return [float(value) for value in grid.values[:, 0]]


def test_regular_rows_stay_as_they_are() -> None:
    findings = ReadReport("line")
    grid = gridded([100, 110, 120, 130], [4, 5, 6, 7], findings=findings)
    assert (grid.interval_s, grid.time.tolist(), column(grid)) == (10.0, [100, 110, 120, 130], [4, 5, 6, 7])
    assert findings.sentences() == ()


def test_the_interval_is_the_median_difference_without_rounding_errors() -> None:
    assert gridded(1.7e9 + 0.1 * np.arange(1000)).interval_s == 0.1
    assert gridded([0, 5, 10, 15, 1000]).interval_s == 5.0
    assert gridded([7]).interval_s == 1.0
    assert gridded([0, 0, 0, 0, 60, 60, 60, 60]).interval_s == 60.0


def test_a_tick_without_a_row_is_missing_and_counted_with_the_line_behind_it() -> None:
    findings = ReadReport("line")
    np.testing.assert_equal(column(gridded([0, 10, 20, 50, 60], findings=findings)), [0, 1, 2, nan, nan, 3, 4])
    assert (findings.count("filled"), findings.first("filled")) == (2, 5)


def test_each_row_goes_to_its_nearest_tick() -> None:
    findings = ReadReport("line")
    grid = gridded([0, 10.4, 19.7, 30.1, 39.9, 50], findings=findings, interval_s=10.0)
    assert grid.time.tolist() == [0, 10, 20, 30, 40, 50]
    assert column(grid) == [0, 1, 2, 3, 4, 5]
    assert findings.sentences() == ()


def test_a_first_row_that_is_half_a_tick_late_spoils_nothing() -> None:
    rng = np.random.default_rng(1)
    stamps = np.concatenate(([0.5], np.arange(1.0, 500.0) + rng.normal(scale=0.01, size=499)))
    findings = ReadReport("line")
    gridded(stamps, findings=findings)
    assert findings.count("merged") + findings.count("filled") <= 1


def test_of_several_rows_on_a_tick_the_last_valid_value_counts() -> None:
    findings = ReadReport("line")
    grid = gridded([0, 10, 10, 10, 20], [1, 2, 3, nan, 4], findings=findings)
    assert column(grid) == [1, 3, 4]
    assert (findings.count("merged"), findings.first("merged")) == (2, 4)


def test_a_longer_interval_thins_the_rows() -> None:
    grid = gridded(np.arange(100.0), interval_s=10.0)
    assert grid.interval_s == 10.0
    assert len(grid.time) == 11


def test_of_a_long_gap_a_thousand_empty_rows_stay_and_then_time_jumps() -> None:
    findings = ReadReport("line")
    grid = gridded([0, 1, 2, 5000, 5001, 9000, 9001], findings=findings)
    jumps = np.flatnonzero(np.diff(grid.time) != 1.0)
    assert len(grid.time) == 7 + 2 * 1000
    assert grid.time[jumps].tolist() == [1002.0, 6001.0]
    assert grid.time[jumps + 1].tolist() == [5000.0, 9000.0]
    assert np.flatnonzero(~np.isnan(grid.values[:, 0])).tolist() == [0, 1, 2, 1003, 1004, 2005, 2006]
    assert (findings.count("breaks"), findings.first("breaks"), findings.count("filled")) == (2, 5, 2000)


def test_a_gap_of_exactly_a_thousand_ticks_is_no_break() -> None:
    grid = gridded([0, 1, 2, 1003])
    assert (np.diff(grid.time) == 1.0).all()


def test_an_interval_that_leaves_nearly_all_empty_is_refused() -> None:
    with pytest.raises(UserError, match="nearly all empty") as caught:
        gridded(np.arange(0.0, 2_000_000.0, 100.0), interval_s=0.1)
    assert "--interval" in caught.value.remedy


def test_a_tick_has_the_label_of_any_of_its_rows_and_gaps_within_an_event_belong_to_it() -> None:
    grid = gridded([0, 1, 2, 2, 5, 6, 9, 10], labels=[0, 0, 1, 0, 0, 1, 1, 0])
    assert grid.labels is not None
    assert np.flatnonzero(grid.labels).tolist() == [2, 6, 7, 8, 9]


def test_rows_on_disk_give_the_same_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    stamps = np.cumsum(rng.choice([0.0, 1.0, 1.0, 1.0, 3.0, 5000.0], size=3000, p=[0.1, 0.4, 0.3, 0.1, 0.09, 0.01]))
    values = np.where(rng.random(3000) < 0.1, nan, rng.normal(size=3000))
    marks = (rng.random(3000) < 0.3).tolist()
    found = []
    for limit, piece in ((64 << 20, 1 << 19), (0, 17)):
        monkeypatch.setattr(disk_array, "_IN_MEMORY_BYTES", limit)
        monkeypatch.setattr(disk_array, "_PIECE_ROWS", piece)
        findings = ReadReport("line")
        grid = gridded(stamps, values, labels=marks, findings=findings)
        found.append((grid.time, np.asarray(grid.values), grid.labels, findings.sentences()))
    for first, second in zip(*found, strict=True):
        np.testing.assert_equal(first, second)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.sampled_from([1.0, 0.25, 7.0]))
def test_every_valid_reading_that_is_the_last_of_its_tick_is_on_the_grid(steps: list[int], unit: float) -> None:
    ticks = np.cumsum(steps)
    grid = gridded(1.7e9 + unit * ticks, interval_s=unit)
    last = {int(tick): number for number, tick in enumerate(ticks - ticks[0])}
    assert {row: int(value) for row, value in enumerate(column(grid)) if not isnan(value)} == last
    np.testing.assert_allclose(np.diff(grid.time), unit)


def test_what_goes_back_or_cannot_be_read_is_told_block_after_block() -> None:
    order = Forward()
    forward, steps = order.step(np.array([3.0, nan, 5.0, 4.0, 5.0]))
    assert forward.tolist() == [True, False, True, False, True]
    assert steps.tolist() == [np.inf, 2.0, 0.0]
    forward, steps = order.step(np.array([4.5, 6.0]))
    assert (forward.tolist(), steps.tolist()) == ([False, True], [1.0])
