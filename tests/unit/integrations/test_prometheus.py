from __future__ import annotations

import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import loader
from agent.core.errors import EnvironmentFault, UserError
from agent.integrations.prometheus import Page
from agent.integrations.settings import PrometheusConfig
from agent.messages.status import ChannelMetric, Metrics
from tests.support.messages import HEALTH, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

METRICS = Metrics(
    1,
    "pi4",
    1.0,
    7,
    0.9991,
    0.25,
    {
        "disk.read": ChannelMetric(5.0, 6.0, 2.0, 14.0, 0.5, 0.995, False, 1.0, False, "B/s"),
        'odd"name\n': ChannelMetric(None, None, None, None, 0.0, 0.995, True, 0.5, True, ""),
    },
)


@pytest.fixture
def page() -> Iterator[Page]:
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (`make test` installs it)")
    one = Page(PrometheusConfig(port=0))
    yield one
    one.close()


def read(page: Page) -> str:
    host, port = page.address
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def values(text: str) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_before_the_first_tick_the_page_is_there_and_empty(page: Page) -> None:
    assert values(read(page)) == {}


def test_the_page_says_what_the_messages_say(page: Page) -> None:
    page.show(HEALTH, STATE, METRICS)
    found = values(read(page))
    assert found["edgewatch_missed_ticks_total"] == HEALTH.missed_ticks
    assert found["edgewatch_outbox_depth"] == HEALTH.outbox_depth
    assert found["edgewatch_outbox_durable"] == 1.0
    assert found["edgewatch_reconnects_total"] == HEALTH.reconnects
    assert found["edgewatch_dropped_total"] == HEALTH.dropped
    assert found['edgewatch_source_failures_total{source="latency"}'] == 4.0
    assert found['edgewatch_step_ms{quantile="0.99"}'] == HEALTH.step_ms_p99
    assert found["edgewatch_open_incidents"] == 1.0
    assert found["edgewatch_learning_progress"] == 0.5
    assert found['edgewatch_channel_upper{channel="disk.read"}'] == 14.0
    assert found['edgewatch_channel_anomalous{channel="odd\\"name\\n"}'] == 1.0
    assert 'edgewatch_channel_upper{channel="odd\\"name\\n"}' not in found
    assert found['edgewatch_info{model="default@1.0.0",version="0.1.0"}'] == 1.0


def test_what_prometheus_reads_is_well_formed(page: Page) -> None:
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - an extra

    page.show(HEALTH, STATE, METRICS)
    families = {family.name for family in text_string_to_metric_families(read(page))}
    assert {"edgewatch_steps", "edgewatch_channel_lower", "edgewatch_score"} <= families


def test_a_reader_that_says_nothing_neither_stops_the_agent_nor_keeps_it_from_ending(page: Page) -> None:
    with socket.create_connection(page.address) as silent:
        silent.sendall(b"GET /met")
        time.sleep(0.1)  # until the server has taken it
        page.show(HEALTH, STATE, METRICS)
        begin = time.monotonic()
        page.close()
        assert time.monotonic() - begin < 1.5


def test_no_reader_leaves_a_thread_behind(page: Page) -> None:
    before = set(threading.enumerate())  # one that another test left may end meanwhile
    for _ in range(20):
        read(page)
        with socket.create_connection(page.address) as rude:
            rude.sendall(b"\x00\xff" * 100 + b"\r\n\r\n")
    read(page)
    assert set(threading.enumerate()) <= before


def test_a_port_that_is_taken_is_named(page: Page) -> None:
    with pytest.raises(
        EnvironmentFault, match=rf"127\.0\.0\.1:{page.address[1]}: cannot listen there: Address already"
    ):
        Page(PrometheusConfig(port=page.address[1]))


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(EnvironmentFault, match=r"prometheus-client is not installed.*edgewatch\[prometheus\]"):
        Page(PrometheusConfig(port=0))


def settings(text: str) -> Any:
    return loader.parse(f"prometheus: {text}".encode()).prometheus


def test_the_page_is_off_unless_asked_for_and_then_on_loopback() -> None:
    assert loader.parse(b"").prometheus is None
    assert settings("{port: 9469}").address == "127.0.0.1"
    assert settings("{address: '::1'}").address == "::1"
    assert settings("{address: 0.0.0.0, allow_remote: true}").allow_remote


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{address: 0.0.0.0}", "address 0.0.0.0 is not loopback; if it is meant, say allow_remote: true"),
        ("{address: 192.168.1.4}", "is not loopback"),
        ("{address: example.org, allow_remote: true}", "does not appear to be an IPv4 or IPv6 address"),
        ("{port: 70000}", "at most 65,535"),
    ],
)
def test_the_page_is_not_shown_to_others_by_mistake(text: str, told: str) -> None:
    with pytest.raises(UserError, match=r"\$\.prometheus") as caught:
        settings(text)
    assert told in str(caught.value)
