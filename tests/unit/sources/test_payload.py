"""Numbers in MQTT payloads, and payloads without a number."""

from __future__ import annotations

from math import inf, isfinite, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.payload import NoReading, at_path, decoded, flattened, number
from agent.sources.prometheus_text import labels_of, sample_lines


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5.0),
        (-0.5, -0.5),
        (True, 1.0),
        ("21.5", 21.5),
        (" -3 ", -3.0),
        ("+.5e2", 50.0),
        ("21.5 °C", 21.5),
        ("60%", 60.0),
        ("5.", 5.0),
        ("12 kWh", 12.0),
        ("ON", 1.0),
        ("closed", 0.0),
    ],
)
def test_what_is_a_number(value: object, expected: float) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "unavailable"),
        ("", "unavailable"),
        ("Unavailable", "unavailable"),
        ("unknown", "unavailable"),
        (nan, "not finite"),
        (inf, "not finite"),
        ("-inf", "not finite"),
        ("1e999", "not finite"),
        (10**400, "not finite"),
        ("12,5", "not a number"),
        ("1,234", "not a number"),
        ("abc", "not a number"),
        ([], "not a number"),
        ({}, "not a number"),
        ("0x10", "not a number"),
        ("1 2", "not a number"),
        ("5" * 100, "not a number"),
        ("2026-11-22", "not a number"),
        ("1.2.3", "not a number"),
        ("10:30", "not a number"),
    ],
)
def test_what_is_none_is_told_apart_by_kind(value: object, kind: str) -> None:
    with pytest.raises(NoReading) as told:
        number(value)
    assert str(told.value) == kind


@pytest.mark.parametrize(
    ("payload", "expected"), [(b"21.5", 21.5), (b'{"a": 1}', {"a": 1}), (b"on", "on"), (b'"on"', "on"), (b"", "")]
)
def test_a_payload_is_a_document_or_a_text(payload: bytes, expected: Any) -> None:
    assert decoded(payload) == expected


@pytest.mark.parametrize(
    ("payload", "kind"), [(b"\xff\xfe", "not text"), (b'{"a": ', "damaged JSON"), (b"[" * 5000, "damaged JSON")]
)
def test_a_payload_that_is_neither_is_told(payload: bytes, kind: str) -> None:
    with pytest.raises(NoReading, match=kind):
        decoded(payload)


@pytest.mark.parametrize("path", ["b", "a.x", "a.9", "a.-1", "a.0.0", "a.٣"])
def test_a_path_that_leads_nowhere_is_told(path: str) -> None:
    with pytest.raises(NoReading, match="not at its path"):
        at_path({"a": [1, 2]}, path)


def test_what_is_too_deep_is_left_out() -> None:
    document: Any = 1.0
    for _ in range(8):
        document = {"a": document}
    assert dict(flattened(document)) == {"a.a.a.a.a.a.a.a": 1.0}
    assert dict(flattened([document])) == {}


@given(st.binary(max_size=200))
def test_whatever_arrives_is_numbers_or_a_reason(payload: bytes) -> None:
    try:
        document = decoded(payload)
    except NoReading:
        return
    assert all(isfinite(value) for _, value in flattened(document))


def test_a_page_for_prometheus_is_read_line_by_line() -> None:
    page = (
        "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n"
        'http_requests_total{code="200",path="/a,b"} 7 1700000000000\nhttp_requests_total{code="500",} 2\n'
        'odd{text="a \\"quoted\\" word\\n"} NaN\nup 1\nnot a sample at all\n{code="1"} 2\nup one\n'
    )
    samples = list(sample_lines(page))
    assert [(name, value) for name, _, value in samples][:2] == [
        ("http_requests_total", 7.0),
        ("http_requests_total", 2.0),
    ]
    assert samples[0][1] == {"code": "200", "path": "/a,b"}
    assert samples[2][1] == {"text": 'a "quoted" word\n'}
    assert samples[3:] == [("up", {}, 1.0)]
    assert labels_of("") == {}
