from __future__ import annotations

import tracemalloc
from math import isnan, nan
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import UserError
from agent.sources.base import EndOfInputError
from agent.sources.csv import CsvConfig, CsvSource
from agent.sources.csv_reader import CsvReader, parse_time

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.frame import Frame

NOON = 1777896000.0  # 2026-05-04 12:00:00 UTC


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "readings.csv"


def read(path: Path, text: str | bytes, interval_s: float | None = None) -> tuple[CsvReader, list[Frame]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with CsvReader(path, interval_s) as reader:
        return reader, list(reader)


def columns(frames: list[Frame]) -> list[list[float]]:
    return [[float(value) for value in frame.values] for frame in frames]


def refused(path: Path, text: str | bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        read(path, text)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    return caught.value


def test_rows_become_frames_in_order(file: Path) -> None:
    reader, frames = read(file, "when,a,b\n100,1,2\n110,3,4\n120,5,6.5\n")
    assert [channel.name for channel in reader.channels] == ["a", "b"]
    assert reader.interval_s == 10.0
    assert [frame.seq for frame in frames] == [0, 1, 2]
    assert [frame.wall for frame in frames] == [100.0, 110.0, 120.0]
    assert [frame.mono_ns for frame in frames] == [0, 10_000_000_000, 20_000_000_000]
    assert columns(frames) == [[1, 2], [3, 4], [5, 6.5]]
    assert all(frame.values.dtype == np.float32 for frame in frames)
    assert reader.report.summary() == "3 rows"


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-04 12:00:00",
        "2026-05-04T12:00:00",
        "2026-05-04T12:00",
        "2026-05-04T12:00:00Z",
        "2026-05-04 12:00:00.000 z",
        "2026-05-04 14:00:00+02:00",
        "2026-05-04T14:00:00+0200",
        "2026-05-04T14:00:00,0+02",
        "2026-05-04T09:30:00-02:30",
        " 1777896000 ",
        "1.777896e9",
    ],
)
def test_time_stamps_are_read_alike(text: str) -> None:
    assert parse_time(text) == NOON


def test_fractions_of_a_second_are_kept() -> None:
    assert parse_time("2026-05-04T12:00:00.123456789Z") == pytest.approx(NOON + 0.123456789, abs=1e-6)
    assert parse_time("1777896000.25") == NOON + 0.25


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noon",
        "nan",
        "inf",
        "2026-13-01",
        "2026-02-30 00:00:00",
        "2026-05-04 24:00:00",
        "2026-05-04 12:60",
        "04.05.2026",
        "1777896000000",
        "1_777_896_000",
        "2026-05-04T12:00:00+25:00",
    ],
)
def test_what_is_no_time_stamp_is_not_guessed(text: str) -> None:
    assert isnan(parse_time(text))


@pytest.mark.parametrize("text", ["t;a;b\n1;2;3\n2;4;5\n", "t,a,b\n1,2,3\n2,4,5\n", '"t";"a";"b"\r\n1;2;3\r\n2;4;5'])
def test_the_delimiter_is_seen_from_the_header(file: Path, text: str) -> None:
    reader, frames = read(file, text)
    assert [channel.name for channel in reader.channels] == ["a", "b"]
    assert columns(frames) == [[2, 3], [4, 5]]


def test_a_name_may_hold_the_other_delimiter(file: Path) -> None:
    reader, _ = read(file, 't,"a;b;c",d,e\n1,2,3,4\n')
    assert [channel.name for channel in reader.channels] == ["a;b;c", "d", "e"]


def test_a_byte_order_mark_is_no_part_of_the_header(file: Path) -> None:
    reader, frames = read(file, b"\xef\xbb\xbft,a\n1,2\n")
    assert [channel.name for channel in reader.channels] == ["a"]
    assert frames[0].wall == 1.0


def test_the_first_column_may_have_any_name_even_none(file: Path) -> None:
    reader, _ = read(file, ",a\n1,2\n")
    assert [channel.name for channel in reader.channels] == ["a"]


def test_values_that_cannot_be_used_are_missing_and_counted_with_their_first_line(file: Path) -> None:
    rows = ["1,1", "2,", "3,NaN", "4,broken", "5,1e308", "6,-inf", "7,1_000", "8,null", "9,2"]
    reader, frames = read(file, "t,a\n" + "\n".join(rows))
    np.testing.assert_equal(columns(frames), [[1], [nan], [nan], [nan], [nan], [nan], [nan], [nan], [2]])
    found = {kind: (finding.count, finding.first_line) for kind, finding in reader.report.findings.items()}
    assert found == {"missing": (3, 3), "text": (2, 5), "too_large": (2, 6)}
    assert "3 empty values (first in line 3)" in reader.report.summary()


def test_a_gap_lets_seq_jump_and_is_counted(file: Path) -> None:
    reader, frames = read(file, "t,a\n0,1\n10,1\n20,1\n61,1\n70,1\n")
    assert [frame.seq for frame in frames] == [0, 1, 2, 6, 7]
    assert reader.report.count("gaps") == 1
    assert reader.report.findings["gaps"].first_line == 5
    assert reader.report.missed_ticks == 3


def test_jitter_is_no_gap_and_each_row_is_a_tick_of_its_own(file: Path) -> None:
    reader, frames = read(file, "t,a\n0,1\n10.4,1\n20,1\n20.1,1\n30,1\n")
    assert [frame.seq for frame in frames] == [0, 1, 2, 3, 4]
    assert reader.report.count("gaps") == 0


def test_the_interval_is_the_median_of_the_first_ten_differences(file: Path) -> None:
    times = [0, 5, 10, 15, 100, 105, 110, 115, 120, 125, 130, *range(1130, 90_000, 1000)]
    reader, _ = read(file, "t,a\n" + "".join(f"{time},1\n" for time in times))
    assert reader.interval_s == 5.0


def test_the_caller_may_know_the_interval(file: Path) -> None:
    reader, frames = read(file, "t,a\n0,1\n10,1\n", interval_s=2.0)
    assert reader.interval_s == 2.0
    assert [frame.seq for frame in frames] == [0, 5]


def test_a_single_row_is_enough(file: Path) -> None:
    reader, frames = read(file, "t,a\n0,1")
    assert (reader.interval_s, len(frames)) == (1.0, 1)


def test_rows_whose_time_does_not_go_forward_are_skipped_and_counted(file: Path) -> None:
    reader, frames = read(file, "t,a\n1,1\n2,2\n2,3\n1,4\n3,5\n")
    assert columns(frames) == [[1], [2], [5]]
    assert reader.report.findings["repeated"].first_line == 4
    assert reader.report.findings["unordered"].first_line == 5
    assert reader.report.rows == 3


def test_rows_without_a_readable_time_are_skipped_and_counted(file: Path) -> None:
    reader, frames = read(file, "t,a\n1,1\n,2\nsoon,3\n\n4,4\n")
    assert columns(frames) == [[1], [4]]
    assert (reader.report.count("time"), reader.report.findings["time"].first_line) == (2, 3)


def test_short_rows_are_filled_and_long_ones_cut_both_counted(file: Path) -> None:
    reader, frames = read(file, "t,a,b\n1,1\n2,2,3,4,5\n3,4,5\n4\n")
    np.testing.assert_equal(columns(frames), [[1, nan], [2, 3], [4, 5], [nan, nan]])
    assert (reader.report.count("fields"), reader.report.findings["fields"].first_line) == (3, 2)


def test_lines_are_numbered_as_in_an_editor_behind_a_quoted_line_break(file: Path) -> None:
    reader, _ = read(file, 't,a\n1,"x\ny"\n2,oops\n1,0\n')
    assert reader.report.findings["unordered"].first_line == 5


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        CsvReader(tmp_path / "none.csv")


def test_a_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a directory"):
        CsvReader(tmp_path)


@pytest.mark.parametrize("text", ["", "\n", "\ufeff"])
def test_an_empty_file_is_said(file: Path, text: str) -> None:
    assert "empty file" in refused(file, text).message


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("t,a,b\n", "only a header", 1),
        ("t\n1\n2\n", "no channel column", 1),
        ("t,a,b,a\n1,2,3,4\n", "two columns are called 'a'", 1),
        ("t,a,,b\n1,2,3,4\n", "column 3 has no name", 1),
        ("1,2.5,3\n2,2.5,3\n", "no names", 1),
        ("t,a\n\nsoon,1\nlater,2\n", "no row has a readable time stamp", 3),
        ("t,a\n1777896000000,1\n1777896001000,2\n", "no row has a readable time stamp", 2),
        (b"t,a\n1,2\n2,\xff\xfe\n", "not UTF-8", 3),
        ("t,a\n1,2\n".encode("utf-16"), "not a text file", 1),
        (b"\x7fELF\0\0\0", "not a text file", 1),
        ("t,a\n1,2\n2," + "9" * (1 << 20) + "\n", "more than 1 MiB", 3),
        ('t,a\n1,2\n2,"' + "9\n" * 100_000, "not readable as CSV", 65539),
    ],
)
def test_what_is_no_table_is_refused_with_file_and_line(file: Path, text: str | bytes, message: str, line: int) -> None:
    error = refused(file, text)
    assert message in error.message
    assert error.location == f"{file}:{line}"


def test_bad_bytes_far_into_the_file_are_found_when_they_are_reached(file: Path) -> None:
    file.write_bytes(b"t,a\n" + b"".join(b"%d,1\n" % second for second in range(50)) + b"50,\xff\n")
    with CsvReader(file) as reader:
        frames = iter(reader)
        for _ in range(50):
            next(frames)
        with pytest.raises(UserError) as caught:
            next(frames)
    assert caught.value.location == f"{file}:52"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_float32_numbers_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    written = np.array(numbers, np.float32)
    names = ",".join(f"c{index}" for index in range(len(numbers)))
    cells = ",".join(str(value) for value in written)
    _, frames = read(tmp_path_factory.getbasetemp() / "round-trip.csv", f"t,{names}\n0,{cells}\n")
    np.testing.assert_array_equal(frames[0].values, written)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_cause_anything_but_an_error_for_the_user(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.csv"
    path.write_bytes(junk)
    try:
        with CsvReader(path) as reader:
            for frame in reader:
                assert len(frame.values) == len(reader.channels)
    except UserError:
        pass


def test_memory_does_not_grow_with_the_file(file: Path) -> None:
    file.write_text("t,a,b\n" + "".join(f"{second},1.5,2.5\n" for second in range(30_000)))
    with CsvReader(file) as reader:
        frames = iter(reader)
        next(frames)
        tracemalloc.start()
        for _ in frames:
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 200_000


def test_the_source_plays_one_row_a_read_and_then_ends(file: Path) -> None:
    file.write_text("t,a,b\n1,2,3\n100,4,\n")
    source = CsvSource(CsvConfig("csv", path=str(file)), 1.0)
    assert [channel.name for channel in source.channels] == ["a", "b"]
    assert list(source.read()) == [2.0, 3.0]
    np.testing.assert_equal(list(source.read()), [4.0, nan])
    for _ in range(2):
        with pytest.raises(EndOfInputError):
            source.read()
    source.close()
    source.close()
