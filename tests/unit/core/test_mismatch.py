"""Validation errors name the location of a wrong value in our wording, for any version of msgspec."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.schema import Config
from agent.core import json_schema
from agent.core.mismatch import explained, mismatch
from agent.messages.command import Command


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: Annotated[int, msgspec.Meta(ge=1, le=9)]
    how: Literal["fast", "slow"] = "fast"
    names: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ()


class Outer(msgspec.Struct):
    """A struct.

    Parameters
    ----------
    inner
        Another.
    """

    inner: Inner | None = None
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "expected a mapping of keys (the value is 5)"),
        ({"inner": {}}, "inner: required key 'count' is missing (the value is nothing)"),
        ({"inner": {"count": 0}}, "inner.count: expected a whole number of at least 1 and at most 9 (the value is 0)"),
        (
            {"inner": {"count": 1.5}},
            "inner.count: expected a whole number of at least 1 and at most 9 (the value is 1.5)",
        ),
        ({"inner": {"count": 1, "how": "no"}}, "inner.how: expected one of fast, slow (the value is 'no')"),
        ({"inner": {"count": 1, "hwo": 1}}, "inner: unknown key 'hwo' (the value is 1)"),
        ({"inner": {"count": 1, "names": ["a", ""]}}, "inner.names[1]: expected a text of at least 1 characters"),
        ({"share": 1}, "share: expected a number above 0 and below 1 (the value is 1)"),
        ({"share": "half"}, "share: expected a number above 0 and below 1 (the value is 'half')"),
        ({"share": True}, "share: expected a number above 0 and below 1 (the value is True)"),
    ],
)
def test_the_first_place_that_does_not_fit_is_named(value: Any, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(value, Outer)
    assert str(explained(refused.value, value, Outer)).startswith(said)


def test_where_a_struct_refuses_by_itself_its_own_words_are_given() -> None:
    class Own(msgspec.Struct):
        low: int
        high: int

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low is above high")

    value = {"low": 2, "high": 1}
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(value, Own)
    assert explained(refused.value, value, Own).problem == "low is above high"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["inner", "share", "count", "how", "names", "command", "channels", "for_s", "id", "mqtt", "port"]
)
shaped = st.recursive(
    plain | st.sampled_from(["fast", "silence", "reload", 1, 0.5, ["*"]]),
    lambda inner: st.dictionaries(keys, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=8,
)


@given(shaped)
@pytest.mark.parametrize("kind", [Outer, Command])
def test_whatever_msgspec_refuses_is_explained_and_what_it_takes_is_not(kind: Any, value: Any) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        assert mismatch(value, kind) is not None
    else:
        assert mismatch(value, kind) is None


@pytest.mark.parametrize("kind", [Outer, Command, Config])
def test_descriptions_in_schemas_are_not_indented(kind: Any) -> None:
    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if isinstance(part.get("description"), str):
                assert "\n    Parameters" not in part["description"]
            for item in part.values():
                walk(item)
        elif isinstance(part, list):
            for item in part:
                walk(item)

    walk(json_schema.schema(kind))
