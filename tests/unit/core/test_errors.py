from __future__ import annotations

import pytest

from agent.core.errors import UserError


@pytest.mark.parametrize(
    ("place", "moved"), [("$.port", "$.sources[1].port"), ("$", "$.sources[1]"), ("config.yaml:3", "config.yaml:3")]
)
def test_the_path_of_a_part_is_moved_below_the_path_of_the_whole(place: str, moved: str) -> None:
    error = UserError("too large", location=place, remedy="make it smaller")
    error.move_below("$.sources[1]")
    assert str(error) == f"{moved}: too large – make it smaller"
