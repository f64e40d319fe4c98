from __future__ import annotations

import json
import logging
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.service.log_format import JsonLines, KeyValues, RateLimit


def record(text: str, *values: Any, line: int = 1, fault: Any = None) -> logging.LogRecord:
    return logging.LogRecord("agent.delivery.publisher", logging.WARNING, "publisher.py", line, text, values, fault)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_line_that_repeats_every_second_passes_once_a_minute_and_says_what_was_left_out(clock: Clock) -> None:
    limit = RateLimit(clock)
    passed = []
    for second in range(86_400):
        clock.now_s = float(second)
        one = record("mqtt: refused by %s", second)
        if limit.filter(one):
            passed.append(one)
    assert 1440 <= len(passed) <= 1440 + 10
    assert passed[-1].left_out == 59  # type: ignore[attr-defined]


def test_lines_of_another_kind_are_not_held_back_with_it(clock: Clock) -> None:
    limit = RateLimit(clock)
    for _ in range(100):
        limit.filter(record("refused"))
    assert limit.filter(record("refused", line=2))
    assert limit.filter(record("connected"))


def test_kinds_without_end_take_no_memory_without_end(clock: Clock) -> None:
    limit = RateLimit(clock)
    assert all(limit.filter(record(f"text {i}")) for i in range(5000))
    assert len(limit._kinds) == 1000


def test_a_line_is_keys_and_values() -> None:
    line = KeyValues().format(record('mqtt: %s says "no"', "broker"))
    assert line.endswith('level=warning from=delivery.publisher message="mqtt: broker says \\"no\\""')
    assert line.startswith("time=20")


def test_json_says_the_same() -> None:
    one = record("mqtt: %s", "broker\n")
    one.left_out = 7
    found = json.loads(JsonLines().format(one))
    assert (found["level"], found["from"], found["message"], found["left_out"]) == (
        "warning",
        "delivery.publisher",
        "mqtt: broker\n",
        7,
    )


def test_a_traceback_is_part_of_the_line() -> None:
    try:
        1 / 0  # noqa: B018 - to fail
    except ZeroDivisionError as error:
        line = KeyValues().format(record("failed", fault=(type(error), error, error.__traceback__)))
    assert "ZeroDivisionError" in line
    assert "\n" not in line


@given(st.text(max_size=60))
def test_no_text_from_outside_begins_a_line_or_a_key(text: str) -> None:
    for line in (KeyValues().format(record("%s", text)), JsonLines().format(record("%s", text))):
        assert len(line.splitlines()) == 1
    keys = [part.partition("=")[0] for part in shlex.split(KeyValues().format(record("%s", text)), posix=True)]
    assert keys == ["time", "level", "from", "message"]
