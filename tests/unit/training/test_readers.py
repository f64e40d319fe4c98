from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.core.errors import UserError
from agent.sources.csv_reader import CsvReader
from training.data.readers import csv as csv_reader
from training.data.readers.channels import same_channels
from training.data.readers.options import ReadOptions
from training.data.readers.registry import REGISTRY, read

if TYPE_CHECKING:
    from training.data.recording import Recording

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("EDGEWATCH_DATA") or ROOT.parent / "shared" / "data")


def one(path: Path, content: str | bytes | None = None, **options: Any) -> Recording:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (recording,) = read([path], ReadOptions(**options))
    return recording


def names(recording: Recording) -> list[str]:
    return [channel.name for channel in recording.channels]


def refused(path: Path, content: str | bytes | None = None, **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        one(path, content, **options)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pump.csv"


def shared(part: str) -> Path:
    path = DATA / part
    if not path.exists():
        pytest.skip(f"{path} is not there; EDGEWATCH_DATA names the folder of public data sets")
    return path


# CSV ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_wide_table_has_a_channel_a_column(file: Path, delimiter: str) -> None:
    recording = one(file, "when,a,b\n100,1,2\n110,3,4\n120,5,6.5\n".replace(",", delimiter))
    assert (recording.name, names(recording), recording.interval_s) == ("pump", ["a", "b"], 10.0)
    assert recording.time.tolist() == [100.0, 110.0, 120.0]
    assert recording.values.tolist() == [[1, 2], [3, 4], [5, 6.5]]
    assert recording.values.dtype == np.float32
    assert (recording.labels, recording.train_rows, recording.timed, recording.notes) == (None, None, True, ())


@pytest.mark.parametrize("order", ["by time", "by channel"])
def test_a_long_table_has_a_row_a_reading_in_any_order_of_channels(file: Path, order: str) -> None:
    lines = [(second, name, 10 * second + len(name)) for second in range(1, 5) for name in ("bb", "a")]
    lines.remove((3, "a", 31))
    if order == "by channel":
        lines.sort(key=lambda line: line[1])
    recording = one(file, "time,channel,value\n" + "".join(f"{a},{b},{c}\n" for a, b, c in lines))
    assert names(recording) == ["a", "bb"]
    assert recording.time.tolist() == [1, 2, 3, 4]
    np.testing.assert_equal(recording.values.tolist(), [[11, 12], [21, 22], [nan, 32], [41, 42]])


def test_channels_of_a_long_table_can_be_chosen(file: Path) -> None:
    text = "time,channel,value\n" + "".join(f"{second},{name},{second}\n" for second in range(3) for name in "cab")
    assert names(one(file, text, channels=("[bc]",))) == ["b", "c"]
    assert "did you mean" in refused(file, text, channels=("aa",)).remedy


def test_rows_of_a_long_table_without_a_channel_are_skipped(file: Path) -> None:
    recording = one(file, "time,channel,value\n1,a,1\n1,,7\n2,a,2\n")
    assert recording.values.tolist() == [[1], [2]]
    assert recording.notes == ("1 row was skipped because the channel name is empty (first in line 3).",)


def test_both_readers_understand_a_messy_file_alike(file: Path) -> None:
    rng = random.Random(7)
    oddities = ["", "-", "N/A", " nan", "none ", "NULL", "off", "1_0", "inf", "1e308", " 4.5 ", "+3", '"7"', "0x1F"]
    second = 1777896000
    lines = ["when;a;b;c d"]
    for _ in range(3000):
        second += rng.choice([10] * 40 + [20, 70, 130])
        cells = [rng.choice(oddities) if rng.random() < 0.1 else repr(rng.gauss(0, 100)) for _ in range(3)]
        if rng.random() < 0.02:
            cells = cells[: rng.randrange(3)] or ["1", "2", "3", "4"]
        stamp = "soon" if rng.random() < 0.01 else str(second - 3000 * (rng.random() < 0.01))
        lines.append(";".join((stamp, *cells)))
        if rng.random() < 0.01:
            lines.append("")
    file.write_text("\n".join(lines))
    recording = one(file)
    with CsvReader(file, interval_s=10.0) as agent:
        expected = np.full_like(recording.values, nan)
        for frame in agent:
            expected[frame.seq] = frame.values
        np.testing.assert_array_equal(recording.values, expected)
        assert names(recording) == [channel.name for channel in agent.channels]
        for kind, words in (("unordered", "goes back"), ("time", "unreadable"), ("fields", "fields"), ("text", "text")):
            found = agent.report.findings[kind]
            (note,) = (note for note in recording.notes if words in note)
            assert f"(first in line {found.first_line})" in note.replace(",", "")
            if kind in {"unordered", "time"}:  # the agent counts the others only in rows that it keeps
                assert note.replace(",", "").startswith(str(found.count))


def test_blocks_join_without_a_seam(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{second},{second % 97},x" if second % 50 else f"{second},1" for second in range(1, 3000)]
    whole = one(file, "t,a,b\n" + "\n".join(lines))
    monkeypatch.setattr(csv_reader, "_BLOCK_BYTES", 500)
    pieces = one(file)
    np.testing.assert_array_equal(pieces.values, whole.values)
    assert pieces.notes == whole.notes
    assert "59 rows have a wrong number of fields" in whole.notes[0]
    assert "(first in line 51)" in whole.notes[0]


def test_channels_are_chosen_by_patterns_and_a_vain_one_is_an_error_that_names_the_nearest(file: Path) -> None:
    text = "t,cpu.user,cpu.idle,memory\n1,2,3,4\n2,3,4,5\n"
    assert names(one(file, text, channels=("cpu.*",))) == ["cpu.user", "cpu.idle"]
    assert names(one(file, text, channels=("memory", "cpu.i*"))) == ["cpu.idle", "memory"]
    error = refused(file, text, channels=("cpu.*", "memori"))
    assert "'memori'" in error.message
    assert "'memory'" in error.remedy


def test_only_so_many_rows_are_read(file: Path) -> None:
    assert one(file, "t,a\n" + "".join(f"{second},1\n" for second in range(100)), rows=7).rows == 7


@pytest.mark.parametrize("column", ["anomaly", "label", "is_anomaly"])
def test_a_column_of_labels_is_known_by_its_name_and_is_no_channel(file: Path, column: str) -> None:
    recording = one(file, f"t,a,{column}\n1,5,0\n2,6,1\n3,7,1.0\n4,8,0\n")
    assert names(recording) == ["a"]
    assert recording.labels is not None
    assert recording.labels.tolist() == [False, True, True, False]
    assert recording.notes == (f"Column {column!r} holds the labels.",)


def test_a_column_of_labels_can_be_named(file: Path) -> None:
    text = "t,a,label,bad\n1,5,3,0\n2,6,4,1\n"
    recording = one(file, text, label_column="bad")
    assert names(recording) == ["a", "label"]
    assert recording.labels is not None
    assert recording.labels.tolist() == [False, True]
    assert "'bad'" in refused(file, text, label_column="bat").remedy
    error = refused(file, "t,a,bad\n1,5,0\n2,6,odd\n", label_column="bad")
    assert (error.location, "neither 0 nor 1" in error.message) == (f"{file}:3", True)


def test_a_file_of_labels_goes_before_a_column(file: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text("[[2, 2]]")
    recording = one(file, "t,a,label\n1,5,1\n2,6,0\n", labels=tmp_path / "labels.json")
    assert recording.labels is not None
    assert recording.labels.tolist() == [False, True]
    assert names(recording) == ["a"]


def test_numbers_that_are_no_readings_are_missing_and_said(file: Path) -> None:
    recording = one(file, "t,a\n1,1\n2,1e31\n3,-inf\n4,off\n5,\n6,2\n")
    np.testing.assert_equal(recording.values[:, 0].tolist(), [1, nan, nan, nan, nan, 2])
    assert recording.notes == (
        "1 value is missing (first in line 6).",
        "1 value is text instead of a number: taken as missing (first in line 5).",
        "2 values are infinite or beyond ±1e+30: taken as missing (first in line 3).",
    )


def test_constant_and_wholly_missing_channels_are_read(file: Path) -> None:
    recording = one(file, "t,a,b\n1,7,\n2,7,nan\n3,7,-\n")
    assert recording.values[:, 0].tolist() == [7, 7, 7]
    assert np.isnan(recording.values[:, 1]).all()


def test_a_single_row_is_a_recording(file: Path) -> None:
    recording = one(file, "t,a\n100,1\n")
    assert (recording.rows, recording.interval_s) == (1, 1.0)


@pytest.mark.parametrize(
    ("content", "message", "line"),
    [
        ("", "empty file", ""),
        ("t,a\n", "only a header", ":1"),
        ("t\n1\n", "no channel column", ":1"),
        ("t,label\n1,0\n", "no channel besides time and labels", ""),
        ("t,a\nsoon,1\n", "no row has a readable time stamp", ":2"),
        ("t,a\n9,1\n1,1\n2,1\n3,1\n", "goes back", ":3"),
        ("t,a\n1,1\nx,1\ny,1\nz,1\n", "cannot be read", ":3"),
        (b"\x7fELF\0\0\0", "not a text file", ":1"),
        (b"t,a\n1,2\n2,\xff\xfe\n", "not UTF-8", ":3"),
        (
            "t,a\n2026-05-04 12:00,1\n2026-05-04 12:01Z,2\n",
            "(first in line 3), others do not (first in line 2)",
            ":3",
        ),
        ("t,a\n2026-05-04 12:00+02:00,1\n2026-05-04 12:01,2\n", "(first in line 2), others do not (first", ":3"),
    ],
)
def test_bad_csv_is_refused_with_file_and_line(file: Path, content: str | bytes, message: str, line: str) -> None:
    error = refused(file, content)
    assert message in error.message
    assert error.location == f"{file}{line}"


def test_an_unclosed_quotation_mark_is_the_users_error(file: Path) -> None:
    content = "t,a\n" + "1,2\n" * 3 + '2,"' + "9\n" * 5_000_000
    assert "CSV" in refused(file, content).message


def test_a_path_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.csv").message
    (tmp_path / "notes.docx").write_bytes(b"PK")
    assert "--format" in refused(tmp_path / "notes.docx").remedy
    assert "'parquet'" in refused(tmp_path / "notes.docx", format="parket").remedy


def test_a_file_that_may_not_be_opened_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, *_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    (tmp_path / "pump.csv").touch()
    assert "Permission denied" in refused(tmp_path / "pump.csv").message


def test_any_name_can_be_read_in_a_format_that_is_named(tmp_path: Path) -> None:
    assert one(tmp_path / "pump.log", "t,a\n1,2\n2,3\n", format="csv").rows == 2


# Parquet --------------------------------------------------------------------------------------------------------------


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    table = pa.table(
        {
            "a": [1.0, None, 3.0],
            "b": pa.array(["1", "off", "3"]),
            "when": pa.array([0, 1_000_000, 2_000_000], pa.timestamp("us", "UTC")),
            "anomaly": [False, True, False],
        }
    )
    path = tmp_path / "pump.parquet"
    pq.write_table(table, path)
    recording = one(path)
    assert (recording.name, names(recording), recording.time.tolist()) == ("pump", ["a", "b"], [0, 1, 2])
    np.testing.assert_equal(recording.values.tolist(), [[1, 1], [nan, nan], [3, 3]])
    assert recording.labels is not None
    assert recording.labels.tolist() == [False, True, False]
    assert "text instead of a number: taken as missing (first in row 2)." in recording.notes[-1]


def test_parquet_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "pump.parquet"
    channel = pa.array(["a", "b", "a", "b"]).dictionary_encode()
    pq.write_table(pa.table({"t": [1, 1, 2, 2], "channel": channel, "value": [1, 2, 3, 4]}), path)
    assert one(path).values.tolist() == [[1, 2], [3, 4]]


def test_parquet_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pump.parquet"
    assert "not readable as Parquet" in refused(path, b"t,a\n1,2\n").message
    pq.write_table(pa.table({"t": [1.0], "a": [[1.0]]}), path)
    assert "has the type list" in refused(path).message
    pq.write_table(pa.table({"t": [1.0]}), path)
    assert "['t']" in refused(path).message
    pq.write_table(pa.table({"t": pa.array([], pa.float64()), "a": pa.array([], pa.float64())}), path)
    assert "no rows" in refused(path).message


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pump.parquet"
    pq.write_table(pa.table({"t": np.arange(10_000.0), "a": np.random.default_rng(1).normal(size=10_000)}), path)
    raw = bytearray(path.read_bytes())
    raw[4:600] = bytes(596)
    assert "not readable as Parquet" in refused(path, bytes(raw)).message


# Folders --------------------------------------------------------------------------------------------------------------


def test_every_table_of_a_folder_is_a_recording_read_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("t,a\n1,2\n2,3\n")
    (tmp_path / "a.csv").write_text("t,a\n1,2\n2,3\n3,4\n")
    (tmp_path / "c.csv").write_text("")
    (tmp_path / "README.md").write_text("no table")
    recordings = read([tmp_path], ReadOptions())
    assert [(next(recordings).name, next(recordings).name)] == [("a", "b")]
    with pytest.raises(UserError, match="empty file"):
        next(recordings)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    assert "no CSV" in refused(tmp_path).message


def test_differing_channels_are_an_error_that_names_both_recordings_and_what_differs(tmp_path: Path) -> None:
    for name, header in (("a", "t,x,y"), ("b", "t,x,y"), ("c", "t,x,z"), ("d", "t,y,x")):
        (tmp_path / f"{name}.csv").write_text(f"{header}\n1,2,3\n2,3,4\n")
    a, b, c, d = read([tmp_path], ReadOptions())
    same_channels([a, b])
    with pytest.raises(UserError, match="a and c differ: only a has 'y'; only c has 'z'"):
        same_channels([a, b, c])
    with pytest.raises(UserError, match="order differs"):
        same_channels([a, d])


# Public data sets -----------------------------------------------------------------------------------------------------


def nab_folder(tmp_path: Path) -> Path:
    root = tmp_path / "nab"
    (root / "data" / "real").mkdir(parents=True)
    (root / "labels").mkdir()
    rows = "".join(f"2014-04-01 {hour:02}:{minute:02}:00,{hour}\n" for hour in range(10) for minute in range(0, 60, 5))
    (root / "data" / "real" / "x.csv").write_text("timestamp,value\n" + rows)
    windows = {"real/x.csv": [["2014-04-01 08:00:00.000000", "2014-04-01 08:55:00.000000"]]}
    (root / "labels" / "combined_windows.json").write_text(json.dumps(windows))
    return root


def test_a_file_beside_nabs_data_is_a_csv_like_any_other(tmp_path: Path) -> None:
    path = nab_folder(tmp_path) / "labels" / "notes.csv"
    assert one(path, "t,a\n1,2\n").name == "notes"


@pytest.mark.parametrize("name", ["nab", "ucr", "smd", "skab", "directory"])
def test_a_format_that_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    assert str(tmp_path) in refused(tmp_path, format=name).location
    assert refused(tmp_path / "pump.txt", "1,2\n", format=name).location


@pytest.mark.parametrize("part", ["", "data", "data/real", "data/real/x.csv"])
def test_nab_takes_its_windows_wherever_one_enters(tmp_path: Path, part: str) -> None:
    recording = one(nab_folder(tmp_path) / part)
    assert (recording.name, names(recording), recording.train_rows) == ("real/x", ["value"], 18)
    assert recording.labels is not None
    assert np.flatnonzero(recording.labels).tolist() == list(range(96, 108))


def test_ucr_reads_its_published_text_and_npz_alike_by_their_name(tmp_path: Path) -> None:
    values = np.arange(100, dtype=np.float32)
    stem = "007_UCR_Anomaly_pump_a_40_61_70"
    found = []
    for suffix, separator in ((".txt", "\n"), (".txt", "   "), (".npz", "")):
        path = tmp_path / f"{stem}{suffix}"
        if separator:
            path.write_text(separator.join(f"{value:e}" for value in values))
        else:
            np.savez(path, x=values, train_end=40, begin=61, end=70)
        recording = one(path)
        assert recording.labels is not None
        found.append((recording.values.tolist(), recording.labels.tolist(), recording.train_rows))
        assert (recording.name, recording.timed, recording.interval_s) == ("007_UCR_Anomaly_pump_a", False, 10.0)
    assert found[0] == found[1] == found[2]
    assert np.flatnonzero(found[0][1]).tolist() == list(range(60, 70))
    assert found[0][2] == 40


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("1_UCR_Anomaly_pump_40_61.txt", "1\n2\n", "does not hold the end"),
        ("1_UCR_Anomaly_pump_40_61_170.txt", "1\n" * 100, "anomaly in rows 61 – 170; the file has 100 rows"),
        ("1_UCR_Anomaly_pump_40_61_70.txt", "1\n" * 99 + "off\n", "'off' in line 100"),
        ("1_UCR_Anomaly_pump_40_61_70.txt", "1 2\n3 4\n5\n", "1 instead of 2 fields in line 3"),
        ("1_UCR_Anomaly_pump_40_61_70.txt", "", "file is empty"),
        ("1_UCR_Anomaly_pump_40_61_70.npz", b"PK\3\4nothing", "not readable as .npz"),
    ],
)
def test_bad_ucr_is_refused(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    error = refused(tmp_path / name, content)
    assert message in error.message
    assert error.location == str(tmp_path / name)


def test_npz_with_missing_arrays_or_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "machine-1-1.npz"
    np.savez(path, train=np.zeros((3, 2)), test=np.zeros((3, 2)))
    assert "no array 'test_label'" in refused(path).message
    np.savez(path, train=np.array([{}], object), test=np.zeros((3, 2)), test_label=np.zeros(3))
    assert "not readable as .npz" in refused(path).message
    np.savez(path, train=np.array(["a"]), test=np.zeros((3, 2)), test_label=np.zeros(3))
    assert "has the type <U1" in refused(path).message
    np.savez(path, train=np.zeros((3, 2)), test=np.zeros((3, 2)), test_label=np.zeros(2))
    assert "labels of shape (5,)" in refused(path).message
    np.savez(path, train=np.zeros((3, 2)), test=np.zeros((3, 4)), test_label=np.zeros(3))
    assert "test has the shape (3, 4)" in refused(path).message


def test_smd_reads_its_published_texts_and_npz_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    train, test, label = rng.random((5, 3)), rng.random((4, 3)), np.array([0, 1, 1, 0])
    for part, array in (("train", train), ("test", test), ("test_label", label)):
        (tmp_path / part).mkdir()
        np.savetxt(tmp_path / part / "machine-1-1.txt", array, delimiter=",")
    np.savez(tmp_path / "machine-1-1.npz", train=train, test=test, test_label=label)
    texts = one(tmp_path)
    arrays = one(tmp_path / "machine-1-1.npz")
    for recording in (texts, arrays):
        assert (recording.name, recording.rows, recording.train_rows) == ("machine-1-1", 9, 5)
        assert (names(recording)[0], recording.interval_s, recording.timed) == ("metric.1", 60.0, False)
        assert recording.labels is not None
        assert np.flatnonzero(recording.labels).tolist() == [6, 7]
    np.testing.assert_array_equal(texts.values, arrays.values)
    assert names(one(tmp_path / "machine-1-1.npz", channels=("metric.[23]",))) == ["metric.2", "metric.3"]


def test_skab_has_labels_but_no_channel_of_changepoints(tmp_path: Path) -> None:
    (tmp_path / "valve1").mkdir()
    (tmp_path / "anomaly-free").mkdir()
    rows = "".join(
        f"2020-03-09 10:{n // 60:02}:{n % 60:02};{n};{n}.5;{float(n > 450)};0.0\n" for n in range(500) if n != 9
    )
    (tmp_path / "valve1" / "0.csv").write_text("datetime;A;B;anomaly;changepoint\n" + rows)
    (tmp_path / "anomaly-free" / "anomaly-free.csv").write_text("datetime;A;B\n2020-03-09 10:00:00;1;2\n")
    free, valve = read([tmp_path], ReadOptions())
    assert (free.name, valve.name) == ("anomaly-free/anomaly-free", "valve1/0")
    assert names(free) == names(valve) == ["A", "B"]
    assert valve.labels is not None
    assert (int(valve.labels.sum()), valve.train_rows) == (49, 401)
    assert free.labels is not None
    assert not free.labels.any()


@pytest.mark.parametrize(
    ("part", "count", "rows", "labelled"),
    [
        ("nab", 58, 400_000, 0.08),
        ("ucr", 129, 5_600_000, 0.005),
        ("smd", 13, 616_000, 0.02),
        ("skab", 21, 33_000, 0.25),
    ],
)
def test_the_public_sets_are_read_whole(part: str, count: int, rows: int, labelled: float) -> None:
    found = [
        (recording.rows, int(recording.labels.sum()))
        for recording in read([shared(part)], ReadOptions())
        if recording.labels is not None
    ]
    assert len(found) == count
    assert sum(n for n, _ in found) == pytest.approx(rows, rel=0.2)
    assert sum(marked for _, marked in found) / sum(n for n, _ in found) == pytest.approx(labelled, rel=0.5)


def test_every_format_is_recognised_in_its_own_data(tmp_path: Path) -> None:
    assert set(REGISTRY) == {"ucr", "smd", "nab", "skab", "history", "csv", "parquet", "directory"}
    for part, known in (("nab", "nab"), ("ucr", "ucr"), ("smd", "smd"), ("skab", "skab"), ("host_live", "directory")):
        path = shared(part)
        assert next(name for name, reader in REGISTRY.items() if reader.recognises(path)) == known


# Size -----------------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from training.data.readers.registry import *\n"
        "for part in sys.argv[1:]:\n"
        "    (recording,) = read([Path(part)], ReadOptions())\n"
        "    print(recording.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    rows = [f"{second},1.25,{second % 7},3.5,-4.25,5\n" for second in range(1_000_000)]
    for path, lines in ((small, rows[:100_000]), (large, rows)):
        path.write_text("t,a,b,c,d,e\n" + "".join(lines))
    command = [sys.executable, "-c", program, str(small), str(large)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert said[::2] == ["100000", "1000000"]
    grown_mb = (int(said[3]) - int(said[1])) / 1000
    assert grown_mb < 200, f"{grown_mb} MB for a file of {large.stat().st_size / 1e6:.0f} MB"
