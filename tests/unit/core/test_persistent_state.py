"""Persistent state is declared: parts that fit are restored, the others start afresh."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

# Imported because they declare states.
from agent.alerting import incidents  # noqa: F401
from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.frame import Frame
from agent.core.persistent_state import (
    CHANNEL,
    Part,
    State,
    Unusable,
    array,
    below,
    capture,
    lanes,
    number,
    pack,
    restore,
    unpack,
)
from agent.detection import fitted, partitioned, universal  # noqa: F401 - the same
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig
from tests.support.thresholds import THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.models.bundle import Bundle

SCHEMA = Path(__file__).parents[2] / "fixtures" / "state" / "schema.json"


class Example(State):
    VERSION = 2

    seen = array("readings", CHANNEL)
    band = array("limits", 2, CHANNEL, initial=-1.0)
    kept = array("anything", "memory", dtype=np.float32)
    later = array("anything", CHANNEL, optional=True)
    rows = number("rows", initial=0)
    level = number("limits", initial=0.5)
    settled = number("flag", initial=False, after_reset=False)

    @classmethod
    def migrated(cls, version: int, record: dict[str, Any]) -> dict[str, Any]:
        record = super().migrated(version, record)
        if version == 1:
            record["seen"] = record.pop("counted")
        return record


def example() -> Example:
    return Example(channel=3, memory=4)


def other() -> Example:
    state = example()
    state.seen += 1.0
    state.kept += 2.0
    state.later = np.ones(3)
    state.rows, state.level, state.settled = 7, 0.25, True
    return state


def same(one: State, two: State) -> bool:
    a, b = one.record(), two.record()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=False) for name in a)


def test_what_was_written_is_read_back() -> None:
    state = example()
    state.take(unpack(pack(other().record())))
    assert same(state, other())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seen": np.zeros(4)}, r"seen is float64\[4\], not float64\[3\]"),
        ({"seen": np.zeros(3, np.float32)}, r"seen is float32\[3\], not float64\[3\]"),
        ({"seen": 1.0}, "seen is float, not an array"),
        ({"seen": None}, "seen is NoneType, not an array"),
        ({"later": np.zeros((2, 2))}, "later is float64"),
        ({"rows": 1.5}, "rows is 1.5, not a number of type int"),
        ({"rows": True}, "rows is True"),
        ({"rows": 2**60}, "rows is 1152921504606846976, out of range"),
        ({"level": "high"}, "level is 'high'"),
        ({"settled": 1}, "settled is 1, not true or false"),
        ({"unknown": 1}, "has an unknown field 'unknown'"),
        ({"version": 3}, "is of version 3, this agent knows 2"),
        ({"version": "2"}, "is of version '2'"),
        ({5: 1}, "has an unknown field 5"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_with_the_reason_and_changes_nothing(
    changes: dict[Any, Any], reason: str
) -> None:
    state = example()
    with pytest.raises(Unusable, match=reason):
        state.take(other().record() | changes)
    assert same(state, example())


@pytest.mark.parametrize("record", [None, [], "text", 5])
def test_what_is_no_record_is_refused(record: Any) -> None:
    with pytest.raises(Unusable, match="not a record"):
        example().take(record)


def test_a_record_of_an_older_version_is_migrated() -> None:
    record = other().record()
    record["counted"] = record.pop("seen")
    state = example()
    state.take(record | {"version": 1})
    assert same(state, other())


def test_of_attributes_only_the_declared_fields_are_taken() -> None:
    record = other().record()
    del record["version"]
    state = example()
    state.take(record | {"half_effect": np.zeros(3), "node": "pi4"})
    assert same(state, other())


def test_a_missing_field_is_named() -> None:
    record = other().record()
    del record["level"]
    with pytest.raises(Unusable, match="has no level"):
        example().take(record)


def test_a_reset_forgets_the_chosen_channels_and_leaves_views_of_others_alone() -> None:
    state = other()
    state.band += 5.0
    view = state.band
    state.reset(np.array([0, 2]))
    assert state.seen.tolist() == [0.0, 1.0, 0.0]
    assert state.band.tolist() == [[-1.0, 4.0, -1.0]] * 2
    assert state.later.tolist() == [0.0, 1.0, 0.0]
    assert state.kept.tolist() == [2.0] * 4
    assert (state.rows, state.settled) == (7, False)
    assert view.tolist() == [[4.0] * 3] * 2


def test_lanes_of_a_channel_are_those_of_all_its_kinds() -> None:
    assert lanes(np.array([0, 2]), n_channels=3, n_kinds=2).tolist() == [0, 2, 3, 5]


class Whole:
    """Two parts, one of them large, and attributes that are no state."""

    def __init__(self) -> None:
        self._anything = {"not": "written"}
        self.small, self.large = example(), example()

    def states(self) -> Iterator[Part]:
        yield Part("small", self.small)
        yield from below("deep", self._Deep(self.large), large=True)

    class _Deep:
        def __init__(self, state: State) -> None:
            self._state = state

        def states(self) -> Iterator[Part]:
            yield Part("", self._state)


def test_parts_are_restored_one_by_one_from_the_newest_that_fits() -> None:
    newest, older, whole = Whole(), Whole(), Whole()
    newest.small.rows, older.small.rows, older.large.rows = 9, 4, 5
    recent, hourly = capture(newest, large=False), capture(older)
    assert list(recent) == ["small"]
    assert list(hourly) == ["small", "deep"]
    assert restore(whole, [recent, hourly]) == {}
    assert (whole.small.rows, whole.large.rows) == (9, 5)
    whole = Whole()
    recent["small"]["version"] = 9
    assert restore(whole, [recent, hourly]) == {}
    assert whole.small.rows == 4
    hourly["small"]["seen"] = np.zeros(1)
    whole = Whole()
    assert restore(whole, [recent, hourly]).keys() == {"small"}
    assert (whole.small.rows, whole.large.rows) == (0, 5)
    assert restore(Whole(), [{}]) == dict.fromkeys(("small", "deep"), "is not in the snapshot")


def declared() -> dict[str, Any]:
    """All states that the agent declares."""
    found, waiting = {}, [*State.__subclasses__()]
    while waiting:
        state = waiting.pop()
        waiting += state.__subclasses__()
        if state.__module__.startswith("agent."):
            fields = {
                name: f"{field.dtype} {list(field.shape)}" if field.shape is not None else type(field.initial).__name__
                for name, field in state._fields.items()
            }
            found[state.__name__.lstrip("_")] = {"version": state.VERSION} | fields
    return dict(sorted(found.items()))


def test_no_state_changes_its_fields_without_a_new_version_and_a_migration() -> None:
    now = declared()
    if os.environ.get("UPDATE_STATE_SCHEMA"):
        SCHEMA.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    before = json.loads(SCHEMA.read_text(encoding="utf-8"))
    changed = [name for name in before if now.get(name) != before[name]]
    same_version = [name for name in changed if name in now and now[name]["version"] == before[name]["version"]]
    assert not same_version, "raise VERSION, extend `migrated` with a test, then run with UPDATE_STATE_SCHEMA=1"
    assert now == before, "run once with UPDATE_STATE_SCHEMA=1 and commit the new schema with its migration"


CHANNELS = [Channel("a", "%", effect=1.0), Channel("b", "B/s", log_reference=100.0, effect=1.5), Channel("c")]


def readings(n: int) -> Any:
    values = np.random.default_rng(4).normal((50.0, 500.0, 3.0), (1.0, 30.0, 0.2), (n, 3)).astype(np.float32)
    values[250:270, 0] += 40.0
    return values


def monitor(bundle: Bundle, threshold: Any) -> Ensemble:
    return Ensemble(
        CHANNELS, bundle, DetectionConfig(block_s=1.0, threshold=threshold), AlertsConfig(learning_s=0), 1.0
    )


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: type(threshold).__name__)
def test_every_part_holds_just_the_types_and_shapes_it_declares(default_bundle: Bundle, threshold: Any) -> None:
    one = monitor(default_bundle, threshold)
    for row, values in enumerate(readings(400)):
        one.step(Frame(row, 0, float(row), values))
    assert restore(monitor(default_bundle, threshold), [unpack(pack(capture(one)))]) == {}


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: type(threshold).__name__)
def test_a_channel_that_was_reset_is_as_if_it_had_never_been(default_bundle: Bundle, threshold: Any) -> None:
    """The other channels keep their state, and its own arrays equal those of a new part."""
    one, fresh = monitor(default_bundle, threshold), capture(monitor(default_bundle, threshold))
    for row, values in enumerate(readings(300)):
        one.step(Frame(row, 0, float(row), values))
    before = capture(one)
    one.replace(np.array([1]), [CHANNELS[1]])
    after = capture(one)
    for part in one.states():
        for name, field in part.state._fields.items():
            if field.shape is None or CHANNEL not in field.shape or after[part.path][name] is None:
                continue
            if part.path.endswith("cross_channel"):
                continue  # of pairs: see the tests of relations
            axis = field.shape.index(CHANNEL)
            size = after[part.path][name].shape[axis]
            mine = np.arange(size) % 3 == 1

            def of(record: Any, which: Any, part: Part = part, name: str = name, axis: int = axis) -> Any:
                return np.compress(which, record[part.path][name], axis)

            np.testing.assert_array_equal(of(after, ~mine), of(before, ~mine), err_msg=f"{part.path}.{name}")
            if fresh[part.path][name] is not None:
                np.testing.assert_array_equal(of(after, mine), of(fresh, mine), err_msg=f"{part.path}.{name}")
