"""Pushed readings: slots, staleness, and lines of a stream."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.channel import NOBODY
from agent.core.errors import UserError
from agent.sources.line_formats import parsed
from agent.sources.payload import NoReading
from agent.sources.push_buffer import ArrivalsConfig, PushBuffer
from agent.sources.stream import Lines, StreamConfig, StreamSource
from tests.support.waiting import HUNG_S, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


class At:
    """A fake clock."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def arrivals(clock: At | None = None, **keys: Any) -> PushBuffer:
    return PushBuffer(ArrivalsConfig(type="x", **keys), clock=clock or At())


def names(found: PushBuffer) -> list[str]:
    return [channel.name for channel in found.channels]


class TestArrivals:
    def test_the_newest_stands_until_it_is_stale(self) -> None:
        clock = At()
        found = arrivals(clock, max_channels=2, stale_s=10)
        found.take([("a", 1.0), ("a", 2.0)])
        clock.s = 10.0
        np.testing.assert_array_equal(found.row(), [2.0, np.nan])
        clock.s = 10.1
        np.testing.assert_array_equal(found.row(), [np.nan, np.nan])

    def test_a_mean_is_of_one_tick_and_without_readings_the_newest_stands(self) -> None:
        found = arrivals(max_channels=1, how="mean")
        found.take([("a", 1.0), ("a", 3.0)])
        assert found.row().tolist() == [2.0]
        assert found.row().tolist() == [3.0]

    def test_a_count_is_of_one_tick_and_0_is_one_too(self) -> None:
        found = arrivals(max_channels=2, how="count")
        found.take([("a", 1.0), ("a", 3.0)])
        np.testing.assert_array_equal(found.row(), [2.0, np.nan])
        np.testing.assert_array_equal(found.row(), [0.0, np.nan])

    def test_names_beyond_the_limit_and_those_that_cannot_be_shown_are_counted_and_said_once(self, caplog: Any) -> None:
        found = arrivals(max_channels=1)
        found.take([("a", 1.0), ("b", 1.0), ("c", 1.0), ("", 1.0), ("x\n", 1.0), ("y" * 201, 1.0), ("\ud800", 1.0)])
        assert names(found) == ["a"]
        assert found.left_out == {"too many names": 2, "name that cannot be shown": 4}
        assert len(caplog.records) == 2

    def test_a_channel_that_is_silent_for_long_gives_its_place_to_another(self) -> None:
        clock = At()
        found = arrivals(clock, max_channels=2, forget_s=1000)
        found.take([("a", 1.0), ("b", 1.0)])
        assert [place for place, _ in found.changes()] == [0, 1]
        for clock.s in range(100, 1200, 100):
            found.take([("b", clock.s)])
            found.row()
        assert [(place, channel) for place, channel in found.changes()] == [(0, NOBODY)]
        found.take([("c", 5.0)])
        assert names(found) == ["c", "b"]
        np.testing.assert_array_equal(found.row(), [5.0, 1100.0])

    def test_after_a_restart_names_have_their_places_and_are_waited_for(self) -> None:
        clock = At()
        found = arrivals(clock, max_channels=3, forget_s=500)
        found.restore([(2, "a"), (0, "b"), (7, "no such place"), (1, "b")])
        assert names(found) == ["b", "", "a"]
        found.take([("c", 1.0), ("a", 2.0)])
        np.testing.assert_array_equal(found.row(), [np.nan, 1.0, 2.0])
        clock.s = 501.0
        found.row()
        assert ("", "b") not in enumerate(names(found))
        assert NOBODY in found.channels

    def test_many_threads_lose_nothing(self) -> None:
        found = arrivals(max_channels=50, how="count")
        writers = [
            threading.Thread(target=lambda: [found.take([(f"c{i % 50}", 1.0)]) for i in range(5000)]) for _ in range(4)
        ]
        total = 0.0
        for writer in writers:
            writer.start()
        while any(writer.is_alive() for writer in writers):
            total += float(np.nansum(found.row()))
        assert total + float(np.nansum(found.row())) == 20_000


class TestLines:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("boiler t=21.5", {"boiler.t": 21.5}),
            ('boiler,room=attic,unit=2 t=21.5,p=12i,on=true,name="a b" 1700000000000000000', {
                "boiler.attic.2.t": 21.5, "boiler.attic.2.p": 12.0, "boiler.attic.2.on": 1.0
            }),
            (r"my\ boiler,room=the\,attic te\=mp=1e3", {"my boiler.the,attic.te=mp": 1000.0}),
            ("queue.length:12|g", {"queue.length": 12.0}),
            ("requests:1|c|@0.1", {"requests": 1.0}),
            ("render:320|ms|#page:home", {"render": 320.0}),
            ('{"a": {"b": 1}, "c": "x", "d": true}', {"a.b": 1.0, "d": 1.0}),
            ("attic.temperature 21.5", {"attic.temperature": 21.5}),
            ("attic=21.5 °C", {"attic": 21.5}),
            ("door: open", {"door": 1.0}),
        ],
    )  # fmt: skip
    def test_formats_are_told_apart(self, line: str, expected: dict[str, float]) -> None:
        assert dict(parsed(line)) == expected

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("hello", "no known format"),
            ('{"a":', "damaged JSON"),
            ("a b", "without a number"),
            ("{}", "without a number"),
            ('boiler name="x"', "without a number"),
            ("a 12,5", "without a number"),
        ],
    )
    def test_a_line_without_a_number_is_told(self, line: str, why: str) -> None:
        with pytest.raises(NoReading, match=why):
            parsed(line)

    def test_a_format_that_is_named_is_the_only_one(self) -> None:
        with pytest.raises(NoReading):
            parsed("queue:12|g", "influx")
        assert parsed("a 1", "plain") == [("a", 1.0)]

    @given(st.lists(st.binary(max_size=40), max_size=6))
    def test_how_a_stream_is_cut_changes_nothing(self, pieces: list[bytes]) -> None:
        whole, cut = arrivals(max_channels=20), arrivals(max_channels=20)
        Lines(whole, "auto").feed(b"".join(pieces) + b"\nend 1\n")
        lines = Lines(cut, "auto")
        for piece in (*pieces, b"\nend 1\n"):
            lines.feed(piece)
        assert names(whole) == names(cut)
        assert whole.left_out == cut.left_out

    def test_an_endless_line_is_left_out_and_what_follows_is_not(self) -> None:
        found = arrivals(max_channels=3)
        lines = Lines(found, "auto")
        for _ in range(300):
            lines.feed(b"x" * 1000)
        lines.feed(b"end of it 5\nattic 3\n")
        assert names(found) == ["attic", "", ""]
        assert found.left_out == {"line longer than 64 KiB": 1}

    def test_gauges_of_statsd_are_changed(self) -> None:
        found = arrivals(max_channels=1)
        lines = Lines(found, "statsd")
        for line in (b"q:10|g\n", b"q:+5|g\n", b"q:-2|g\n"):
            lines.feed(line)
        assert found.row().tolist() == [13.0]


@pytest.fixture
def listen() -> Iterator[Any]:
    opened = []

    def start(place: str, **keys: Any) -> StreamSource:
        config = msgspec.convert({"type": "stream", "listen": place, "max_channels": 4, **keys}, StreamConfig)
        opened.append(StreamSource(config, 1.0))
        return opened[-1]

    yield start
    for source in opened:
        source.close()


def readings(source: StreamSource) -> dict[str, float]:
    row = source.read().tolist()
    return {c.name: v for c, v in zip(source.channels, row, strict=True) if c is not NOBODY}


class TestStream:
    def test_datagrams(self, listen: Any, tmp_path: Path) -> None:
        for place, family in (("udp://127.0.0.1:0", socket.AF_INET), (f"unixgram://{tmp_path}/in", socket.AF_UNIX)):
            source = listen(place)
            with socket.socket(family, socket.SOCK_DGRAM) as writer:
                writer.sendto(b"a:1|g\nb:2|g", source.address)
                writer.sendto(b"\xff\xfe", source.address)
            wait_for(lambda source=source: readings(source) == {"a": 1.0, "b": 2.0}, 5, place)
            wait_for(lambda source=source: source.left_out == {"not text": 1}, what="the count")

    def test_connections_come_and_go(self, listen: Any, tmp_path: Path) -> None:
        for place, family in (("tcp://127.0.0.1:0", socket.AF_INET), (f"unix://{tmp_path}/s", socket.AF_UNIX)):
            source = listen(place)
            for value in (1, 2):
                with socket.socket(family, socket.SOCK_STREAM) as writer:
                    writer.connect(source.address)
                    writer.sendall(b"a %d\nlast %d" % (value, value))  # without an end of its line
                expected = {"a": float(value), "last": float(value)}
                wait_for(lambda source=source, expected=expected: readings(source) == expected, 5, place)

    def test_a_named_pipe_outlives_its_writers(self, listen: Any, tmp_path: Path) -> None:
        source = listen(str(tmp_path / "pipe"))
        for value in (1.0, 2.0):
            (tmp_path / "pipe").write_text(f"a {value}\n")
            wait_for(lambda value=value: readings(source) == {"a": value}, what="the reading")
        source.close()
        assert not (tmp_path / "pipe").exists()

    def test_the_standard_input(self) -> None:
        script = (
            "from agent.sources.stream import *\nimport time\n"
            "source = StreamSource(StreamConfig(type='stream', listen='stdin', max_channels=1), 1.0)\n"
            "while not source.channels[0].name: time.sleep(0.01)\nprint(source.read().tolist()); source.close()"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], input="a 5\n", capture_output=True, text=True, timeout=HUNG_S, check=True
        )
        assert done.stdout == "[5.0]\n"

    def test_what_a_killed_run_left_is_no_hindrance_and_closing_leaves_nothing(
        self, listen: Any, tmp_path: Path
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
            left.bind(str(tmp_path / "s"))
        before = len(list(Path("/proc/self/fd").iterdir()))
        source = listen(f"unix://{tmp_path}/s")
        source.close()
        source.close()
        assert not (tmp_path / "s").exists()
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    @pytest.mark.parametrize(
        "place", ["udp://127.0.0.1", "ftp://x", "udp://256.1.1.1:1", "/no/such/folder/pipe", "tests"]
    )
    def test_mistakes_are_told(self, listen: Any, place: str) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(UserError, match="cannot listen on"):
            listen(place)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
