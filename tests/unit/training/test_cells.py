from __future__ import annotations

from math import isnan

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.detection.scaling import ABSURD
from agent.sources.csv_reader import parse_time, parse_value
from training.data.readers.cells import LOCAL, PROBLEMS, ZONED, marks, numbers, times

CELLS = st.one_of(
    st.floats().map(str),
    st.floats(width=32).map(lambda value: f" {value} "),
    st.sampled_from(
        ["", "-", "n/a", "NaN", " none ", "NULL", "1_0", "+1", "0x10", "1,5", "1e400", "9" * 400, "٣", "1."]
    ),
    st.text("0123456789.+-eE_ nafiul/", max_size=8),
)
TIMES = st.one_of(
    st.datetimes().map(str),
    st.datetimes().map(lambda stamp: stamp.isoformat() + "Z"),
    st.datetimes().map(lambda stamp: stamp.isoformat(timespec="minutes") + "+02:00"),
    st.floats(0, 1e13).map(str),
    st.sampled_from(
        ["", "soon", "2026-02-30", "2026-05-04 12", "2026-05-04T12:30:00,5", "2026-05-04t12:30z", "2026-05-04 12+02:00"]
    ),
    st.text("0123456789:-T Z+.", max_size=20),
)


@settings(deadline=None)  # the first call imports
@given(st.lists(CELLS, min_size=1, max_size=8))
def test_values_mean_what_they_mean_to_the_agent(cells: list[str]) -> None:
    values, problems = numbers(pa.array(cells, pa.string()))
    for cell, value, problem in zip(cells, values, problems, strict=True):
        expected, said = parse_value(cell)
        if abs(expected) >= ABSURD:
            expected, said = float("nan"), "too_large"
        np.testing.assert_equal((value, PROBLEMS[problem]), (expected, said))


@settings(deadline=None)  # the first call imports
@given(st.lists(TIMES, min_size=1, max_size=8))
def test_times_mean_what_they_mean_to_the_agent(cells: list[str]) -> None:
    seconds, _ = times(pa.array(cells, pa.string()))
    np.testing.assert_array_equal(seconds, [parse_time(cell) for cell in cells])


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-05-04T12:30:00Z", ZONED),
        ("2026-05-04 12:30 +02:00", ZONED),
        ("2026-05-04t12:30z", ZONED),
        ("2026-05-04 12:30:00", LOCAL),
        ("2026-05-04 12:30:00,5", LOCAL),
        ("2026-05-04", LOCAL),
        ("1777897800", 0),
        (" 1e9", 0),
        ("soon", 0),
    ],
)
def test_a_time_stamp_tells_whether_it_has_an_offset(text: str, zone: int) -> None:
    for cells in ([text], [text, "odd", "1777897800"]):
        assert times(pa.array(cells))[1][0] == zone


def test_typed_columns_need_no_text() -> None:
    stamps = pa.array([0, 1_500, None], pa.timestamp("ms", "Europe/Berlin"))
    np.testing.assert_array_equal(times(stamps)[0], [0.0, 1.5, np.nan])
    np.testing.assert_array_equal(times(pa.array([1, 2], pa.date32()))[0], [86400.0, 172800.0])
    np.testing.assert_array_equal(times(pa.array([1.7e9, 1.7e12]))[0], [1.7e9, np.nan])
    np.testing.assert_array_equal(numbers(pa.array([True, None]))[0], [1.0, np.nan])
    np.testing.assert_array_equal(numbers(pa.array(["1", "x"]).dictionary_encode())[0], [1.0, np.nan])
    with pytest.raises(TypeError, match="list"):
        numbers(pa.array([[1]]))


def test_labels_are_numbers_or_words() -> None:
    labels, problems = marks(pa.array(["1", "0", "True", " no", "0.0", "1.0", None, "maybe"]))
    assert labels.tolist() == [True, False, True, False, False, True, False, False]
    assert [PROBLEMS[problem] for problem in problems] == [""] * 6 + ["missing", "text"]
    assert not any(isnan(label) for label in labels)
