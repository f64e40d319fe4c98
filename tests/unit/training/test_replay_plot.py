"""The plot of a replay."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.cli.replay_plot import Replayed, plotter
from agent.core.channel import Channel
from agent.core.errors import EnvironmentFault, UserError
from agent.messages.alert import Contributor
from tests.support.alerts import alert
from training.reports.replay import plot

BEGIN = 1_750_000_000.0


def replayed(rows: int = 300, channels: int = 2, name: str = "c") -> Replayed:
    rng = np.random.default_rng(0)
    said = np.zeros((rows, 6, channels), np.float32)
    said[:, 0] = rng.normal(50, 1, (rows, channels))
    said[:, 1:4] = np.array([50.0, 47.0, 53.0])[None, :, None]
    said[:, 4] = 0.1 + np.arange(channels) / 100
    if rows > 220:
        said[200:220, 0, 0], said[200:220, 4, 0], said[200:220, 5, 0] = 90.0, 0.999, 1.0
        said[50:60, 0, 1] = np.nan
    names = tuple(Channel(f"{name}{i}", "%") for i in range(channels))
    wall = BEGIN + np.arange(rows, dtype=np.float64)
    part = Contributor(f"{name}0", 1.0, 90.0, 50.0, 47.0, 53.0, 0.999, "%")
    opened = msgspec.structs.replace(
        alert(1),
        incident="i",
        phase="open",
        ts=BEGIN + 204,
        started=BEGIN + 200,
        contributors=(part,),
        summary=f"{name}0 high",
    )
    closed = msgspec.structs.replace(opened, phase="close", ts=BEGIN + 230)
    return Replayed("file.csv", names, 1.0, "default@1.0.0", wall, said, 0.995, [opened, closed] if rows > 220 else [])


def figure_of(page: str) -> Any:
    (text,) = re.findall(r"<script type=application/json>(.*?)</script>", page, re.DOTALL)
    return json.loads(text)


def test_a_page_shows_all_of_it_and_plays_by_itself(tmp_path: Path) -> None:
    assert plot(replayed(), tmp_path / "out.html") == f"drawn to {tmp_path / 'out.html'}"
    page = (tmp_path / "out.html").read_text()
    figure = figure_of(page)
    names = [trace.get("name") for trace in figure["data"]]
    assert {"reading", "normal range", "expected", "anomalous", "score", "incident"} <= set(names)
    assert 'data-begin="1750000000000" data-end="1750000299000"' in page
    assert re.findall(r'<li data-at="(\d+)">', page) == ["1750000204000", "1750000230000"]
    assert "default-src 'none'" in page


def test_names_from_the_file_do_no_harm(tmp_path: Path) -> None:
    plot(replayed(name="</script><img src=x onerror=alert(1)>"), tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text()
    assert "<img" not in page
    assert figure_of(page)


@pytest.mark.parametrize(("name", "magic"), [("out.png", b"\x89PNG"), ("out.gif", b"GIF89a")])
def test_pictures(tmp_path: Path, name: str, magic: bytes) -> None:
    plot(replayed(rows=240), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_of_many_channels_those_that_stand_out_are_drawn(tmp_path: Path) -> None:
    said = plot(replayed(channels=20), tmp_path / "out.html")
    assert said.endswith("without the 8 channels with the lowest scores")
    titles = [
        axis["title"]["text"]
        for key, axis in figure_of((tmp_path / "out.html").read_text())["layout"].items()
        if key.startswith("yaxis")
    ]
    assert "c0 (%)" in titles
    assert "c1 (%)" not in titles
    assert len(titles) == 13


@pytest.mark.parametrize(
    ("name", "why"), [("out.pdf", r"end its name in \.html"), ("none/out.png", "cannot be written")]
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        plot(replayed(rows=240), tmp_path / name)


def test_nothing_is_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        plot(replayed(rows=0), tmp_path / "out.html")


def test_the_agent_finds_who_draws_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plotter() is plot
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    with pytest.raises(EnvironmentFault, match=r"edgewatch\[evaluation\]"):
        plotter()
