from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.watch import NodeView
from agent.messages.alert import Contributor
from agent.messages.status import Metrics, NodeState
from tests.support.alerts import alert
from tests.support.metrics import metric

if TYPE_CHECKING:
    from typing import Any

    from agent.messages.status import ChannelMetric


def view(**channels: ChannelMetric) -> NodeView:
    shown = NodeView("pi4")
    state = NodeState(1, "pi4", "normal", 0.0, 0.0, 0.1, 0.1, 0.995, 1.0, False, 1, ())
    shown.take("status", b"online")
    shown.take("state", msgspec.json.encode(state))
    shown.take("metrics", msgspec.json.encode(Metrics(1, "pi4", 0.0, 7, 0.1, 0.1, channels)))
    return shown


def test_a_line_names_the_channel_that_stands_out_with_value_and_expectation() -> None:
    line = view(a=metric(), b=metric(0.9999, value=97.5)).line()
    assert "pi4 normal, 2/2 channels learned, highest score 1.000 b 97.5 % (expected 2 – 14 %)" in line
    # During a lasting anomaly the score returns to 0, since the alert head reports onsets.
    line = view(a=metric(0.5), b=metric(0.0, anomalous=True, value=97.5)).line()
    assert "2/2 channels learned, anomalous b 97.5 % (expected 2 – 14 %)" in line


def test_the_picture_shows_everything_and_needs_nothing_from_elsewhere() -> None:
    shown = view(a=metric(), b=metric(0.9999, anomalous=True, value=97.5), c=metric(value=None))
    shown.take("alert", msgspec.json.encode(alert(1, summary="b 97.5 % (expected 2 – 14 %)")))
    picture = shown.picture()
    text = picture.replace("&#160;", " ")
    for expected in ("ANOMALOUS", "no reading", "watching, provisional", "1 open incident", "97.5 %"):
        assert expected in text
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")


def test_an_incident_is_open_until_its_close_and_a_repeated_message_counts_once() -> None:
    shown = NodeView("pi4")
    opened = msgspec.structs.replace(alert(1), incident="i")
    assert shown.take("alert", msgspec.json.encode(opened))
    assert shown.take("alert", msgspec.json.encode(opened)) is None
    assert list(shown.open) == ["i"]
    closed = msgspec.structs.replace(alert(2), incident="i", phase="close")
    shown.take("alert", msgspec.json.encode(closed))
    assert not shown.open


@pytest.mark.parametrize("leaf", ["state", "metrics", "health", "alert"])
@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b'{"v":1}', b"\xff", b"9" * 10_000])
def test_what_is_no_message_of_ours_is_counted_and_passed_over(leaf: str, payload: bytes) -> None:
    shown = NodeView("pi4")
    assert shown.take(leaf, payload) is None
    assert shown.refused == 1


@given(st.text(), st.text(max_size=40))
def test_foreign_text_never_moves_the_cursor_or_breaks_the_table(summary: str, name: Any) -> None:
    shown = view(**{name: metric()})
    contributor = Contributor(name, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    foreign = msgspec.structs.replace(alert(1, summary=summary + "\x1b[2J[bold]"), contributors=(contributor,))
    shown.take("alert", msgspec.json.encode(foreign))
    assert "\x1b[2J" not in shown.picture()
    assert "\x1b" not in shown.line()
