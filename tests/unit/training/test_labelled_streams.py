from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sources.csv_reader import CsvReader
from training.commands.main import main
from training.data.readers.options import ReadOptions
from training.data.readers.registry import read
from training.synthetic.disturbances import typical_change
from training.synthetic.labelled_streams import Anomaly, LabelledKind, Stream, StreamSpec, simulate_stream

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.arrays import Float64Array

QUIET: dict[str, Any] = {"start": "2026-01-05", "end": "2026-01-09", "interval_s": 300.0, "channels": 4, "noise": 0.1}


def planted(kind: LabelledKind, **changes: Any) -> tuple[Stream, Stream, list[Anomaly]]:
    """A stream with three anomalies of a kind, and the same without."""
    config = StreamSpec(**{**QUIET, "anomalies": (kind,), "count": 3, "quiet_until": 0.1, **changes})
    stream = simulate_stream(config)
    undisturbed = simulate_stream(msgspec.structs.replace(config, count=0))
    assert len(stream.anomalies) == 3
    return stream, undisturbed, list(stream.anomalies)


def stretches(stream: Stream, undisturbed: Stream, anomaly: Anomaly) -> list[tuple[Float64Array, Float64Array, float]]:
    """Each affected channel: its course, its course without the anomaly, and its standard deviation."""
    rows = slice(anomaly.begin, anomaly.end)
    return [
        (
            stream.values[rows, channel],
            undisturbed.values[rows, channel],
            typical_change(undisturbed.values[:, channel]),
        )
        for channel in anomaly.channels
    ]


@pytest.mark.parametrize("kind", get_args(LabelledKind))
def test_an_anomaly_changes_its_rows_of_its_channels_and_nothing_else(kind: LabelledKind) -> None:
    stream, undisturbed, anomalies = planted(kind)
    changed = stream.values != undisturbed.values
    expected = np.zeros_like(changed)
    for anomaly in anomalies:
        expected[anomaly.begin : anomaly.end, anomaly.channels] = True
        for channel in anomaly.channels:
            assert changed[anomaly.begin : anomaly.end, channel].any()
    assert not changed[~expected].any()


@pytest.mark.parametrize(("kind", "sign"), [("spike", 1), ("dip", -1)])
def test_spikes_go_up_and_dips_down_for_a_few_rows(kind: LabelledKind, sign: int) -> None:
    stream, undisturbed, anomalies = planted(kind)
    for anomaly in anomalies:
        assert 1 <= anomaly.end - anomaly.begin <= 3
        for values, usual, deviation in stretches(stream, undisturbed, anomaly):
            assert (sign * (values - usual) > 4 * deviation).all()


def test_a_level_shift_moves_all_of_its_rows_by_the_same_and_then_returns() -> None:
    stream, undisturbed, anomalies = planted("level_shift")
    for anomaly in anomalies:
        assert anomaly.end < len(stream.time)
        for values, usual, deviation in stretches(stream, undisturbed, anomaly):
            shift = values - usual
            assert np.abs(shift).min() > 2.5 * deviation
            assert np.ptp(shift) < 0.1 * deviation


def test_a_trend_grows_steadily() -> None:
    stream, undisturbed, anomalies = planted("trend")
    for anomaly in anomalies:
        for values, usual, deviation in stretches(stream, undisturbed, anomaly):
            grown = np.abs(values - usual)
            assert grown[0] < 0.1 * deviation
            assert grown[-1] > 3.5 * deviation
            assert np.corrcoef(grown, np.arange(grown.size))[0, 1] > 0.999


def test_a_changed_variance_shows_from_row_to_row() -> None:
    stream, undisturbed, anomalies = planted("variance_change")
    for anomaly in anomalies:
        for values, usual, _ in stretches(stream, undisturbed, anomaly):
            assert np.diff(values).std() > 3 * np.diff(usual).std()


def test_a_flat_line_is_constant_where_it_would_not_be() -> None:
    stream, undisturbed, anomalies = planted("flat_line")
    for anomaly in anomalies:
        for values, usual, _ in stretches(stream, undisturbed, anomaly):
            assert np.ptp(values) == 0.0
            assert np.ptp(usual) > 0.0


def test_a_missing_season_takes_the_daily_swing_away_for_a_day() -> None:
    stream, undisturbed, anomalies = planted("missing_season", end="2026-01-19", season=("daily",))
    for anomaly in anomalies:
        assert anomaly.end - anomaly.begin == 288
        for channel in anomaly.channels:
            by_day = undisturbed.values[:, channel].reshape(14, 288)
            swing = np.tile(by_day.mean(axis=0) - by_day.mean(), 14)[anomaly.begin : anomaly.end]
            usual, missing = (
                float(values[anomaly.begin : anomaly.end, channel] @ swing / (swing @ swing))
                for values in (undisturbed.values, stream.values)
            )
            assert usual > 0.4
            assert usual - missing == pytest.approx(1.0, abs=0.15)


def test_a_broken_correlation_is_seen_beside_the_other_channels_only() -> None:
    stream, undisturbed, anomalies = planted("correlation_break", end="2026-01-15")
    for anomaly in anomalies:
        (channel,) = anomaly.channels
        rows = slice(anomaly.begin, anomaly.end)
        for other in set(range(4)) - {channel}:
            usual = np.corrcoef(undisturbed.values[rows, channel], undisturbed.values[rows, other])[0, 1]
            broken = np.corrcoef(stream.values[rows, channel], stream.values[rows, other])[0, 1]
            assert usual > 0.5
            assert broken < -0.5
        (values, normal, deviation), *_ = stretches(stream, undisturbed, anomaly)
        assert values.max() < normal.max() + deviation
        assert values.min() > normal.min() - deviation


def test_channels_correlate_and_noise_takes_that_away() -> None:
    correlations = [
        np.corrcoef(simulate_stream(StreamSpec(**{**QUIET, "noise": noise, "anomalies": ()})).values[:500].T)[0, 1]
        for noise in (0.1, 3.0)
    ]
    assert correlations[0] > 0.8 > correlations[1]


def test_drift_leads_away_from_where_a_channel_began() -> None:
    still, drifting = (
        simulate_stream(StreamSpec(**{**QUIET, "drift": drift, "count": 0})).values for drift in (0.0, 10.0)
    )
    moved = np.abs(drifting - still)
    for channel in range(4):
        assert moved[-1, channel] == pytest.approx(10.0 * typical_change(still[:, channel]), rel=0.05)


@pytest.mark.parametrize(("season", "rows"), [("hourly", 12), ("daily", 288), ("weekly", 2016)])
def test_a_season_recurs_with_its_period(season: str, rows: int) -> None:
    config = StreamSpec(**{**QUIET, "end": "2026-02-02", "season": (season,), "anomalies": ()})
    for values in simulate_stream(config).values.T:
        centred = values - values.mean()
        assert np.corrcoef(centred[:-rows], centred[rows:])[0, 1] > 0.35
    if season != "hourly":  # within an hour the load is much as it was
        without = simulate_stream(msgspec.structs.replace(config, season=())).values[:, 0]
        assert abs(np.corrcoef(without[:-rows], without[rows:])[0, 1]) < 0.35


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 40), st.sampled_from([0.0, 0.3, 0.8]), st.integers(2, 6))
def test_anomalies_never_overlap_and_none_is_in_the_quiet_part(
    seed: int, count: int, quiet_until: float, channels: int
) -> None:
    config = StreamSpec(
        **{
            **QUIET,
            "end": "2026-03-01",
            "seed": seed,
            "count": count,
            "quiet_until": quiet_until,
            "channels": channels,
        },
        anomalies=("spike", "dip", "level_shift", "flat_line"),
    )
    stream = simulate_stream(config)
    bounds = [0.0, *(bound for anomaly in stream.anomalies for bound in (anomaly.begin, anomaly.end)), len(stream.time)]
    assert len(stream.anomalies) == count
    assert (np.diff(bounds) > 0).all()
    assert all(anomaly.begin >= quiet_until * len(stream.time) for anomaly in stream.anomalies)
    assert all(anomaly.channels and max(anomaly.channels) < channels for anomaly in stream.anomalies)


def test_as_many_a_day_as_asked_for() -> None:
    config = StreamSpec(end="2026-01-31", rate_per_day=3.0, anomalies=("spike", "flat_line"), quiet_until=0.5)
    assert len(simulate_stream(config).anomalies) == 45


# The command ----------------------------------------------------------------------------------------------------------


def simulate(*arguments: object) -> int:
    return main(["simulate", *map(str, arguments)])


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert simulate("--output", tmp_path / f"{name}.csv", "--end", "2026-01-06", "--seed", seed) == 0
    a, b, c = (
        (tmp_path / f"{name}.csv").read_bytes() + (tmp_path / f"{name}.labels.json").read_bytes() for name in "abc"
    )
    assert a == b
    assert a != c


def test_what_is_written_reads_back_with_its_labels(tmp_path: Path) -> None:
    assert simulate("--output", tmp_path, "--end", "2026-01-11", "--interval", 300, "--channels", 12) == 0
    path, labels = tmp_path / "stream.csv", tmp_path / "stream.labels.json"
    assert sorted(tmp_path.iterdir()) == [path, labels]
    (recording,) = read([path], ReadOptions(labels=labels))
    stream = simulate_stream(StreamSpec(end="2026-01-11", interval_s=300.0, channels=12))
    np.testing.assert_array_equal(recording.time, stream.time)
    np.testing.assert_array_equal(recording.values, stream.values.astype(np.float32))
    assert [channel.name for channel in recording.channels] == list(stream.channels)
    expected = np.zeros(len(stream.time), bool)
    for anomaly in stream.anomalies:
        expected[anomaly.begin : anomaly.end] = True
    assert recording.labels is not None
    np.testing.assert_array_equal(recording.labels, expected)
    written = json.loads(labels.read_text())["intervals"]
    assert [item["kind"] for item in written] == [anomaly.kind for anomaly in stream.anomalies]
    assert set(written[0]["channels"]) <= set(stream.channels)


def test_the_agent_reads_a_stream_of_several_rows_a_second(tmp_path: Path) -> None:
    path = tmp_path / "fast.csv"
    span = ("--start", "2026-01-01T00:00:00Z", "--end", "2026-01-01T00:10:00Z", "--interval", "0.25")
    assert simulate("--output", path, *span, "--anomalies", "spike") == 0
    with CsvReader(path) as reader:
        frames = list(reader)
        assert (len(frames), reader.interval_s, reader.report.findings) == (2400, 0.25, {})


def test_options_can_stand_in_a_file_and_the_command_line_wins(tmp_path: Path) -> None:
    config = tmp_path / "stream.yaml"
    config.write_text("end: 2026-01-03\nchannels: 2\nseason: [daily]\nanomalies: [spike]\ncount: 2\n")
    assert simulate("--output", tmp_path / "a.csv", "--config", config, "--count", 1) == 0
    labels = json.loads((tmp_path / "a.labels.json").read_text())
    assert len(labels["intervals"]) == 1
    assert labels["stream"]["channels"] == 2


def test_every_mistake_in_the_file_is_said_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "stream.yaml"
    config.write_text("end: 2026-01-03\nchanels: 2\nnoise: loud\nseason: [dayly]\n")
    assert simulate("--output", tmp_path / "a.csv", "--config", config) == 2
    said = capsys.readouterr().err
    assert f"{config}:2: $.chanels: unknown key; did you mean 'channels'?" in said
    assert f"{config}:3: $.noise" in said
    assert f"{config}:4: $.season[0]" in said
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--noise", "loud"), "--noise: expected a number"),
        (("--channels", "0"), "--channels: expected a whole number of at least 1"),
        (("--anomalies", "spike,dipp"), "--anomalies: expected one of "),
        (("--end", "2025-01-01"), "the end two intervals later"),
        (("--start", "soon"), "must be times"),
        (("--count", "3", "--rate", "1"), "not both"),
        (("--season", "none"), "missing_season needs a season"),
        (("--channels", "1"), "correlation_break needs two channels"),
        (("--interval", "0.0001"), "more than 100,000,000 values"),
        (("--count", "5000"), "do not fit into the 10,080 rows"),
        (("--config", "/nowhere/stream.yaml"), "cannot read the configuration"),
    ],
)
def test_a_mistake_on_the_command_line_is_said_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert simulate("--output", tmp_path / "a.csv", *arguments) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert simulate("--output", tmp_path / "file" / "a.csv", "--end", "2026-01-06") == 2
    assert "cannot be written" in capsys.readouterr().err
