"""Input from outside is used or refused as documented: all inputs that once failed, and some new ones."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from agent.core.errors import EnvironmentFault
from tools.fuzzing.examiner import LONGEST_S, Examiner
from tools.fuzzing.mutations import variations
from tools.fuzzing.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIXTURES = Path(__file__).parents[2] / "fixtures" / "fuzz"
FAILED = sorted(path for path in FIXTURES.glob("*/*") if path.is_file())

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Examiner]]:
    """Make a new examiner of a target; the target is opened once."""
    checks: dict[str, Any] = {}

    def of(name: str) -> Examiner:
        if name not in checks:
            try:
                checks[name] = TARGETS[name].open(tmp_path_factory.mktemp(name))
            except EnvironmentFault as fault:
                pytest.skip(str(fault))
        return Examiner(checks[name], tmp_path_factory.mktemp("failed"))

    with pytest.MonkeyPatch.context() as patch:
        if sys.gettrace() is not None:  # measuring coverage takes four times as long
            patch.setattr("tools.fuzzing.examiner.LONGEST_S", 10 * LONGEST_S)
        logging.disable(logging.CRITICAL)
        yield of
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("path", FAILED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_failed_is_refused_as_documented(path: Path, examined: Callable[[str], Examiner]) -> None:
    examiner = examined(path.parent.name)
    examiner.examine(path.read_bytes())
    assert examiner.failures == {}


@pytest.mark.parametrize("name", TARGETS)
def test_sound_inputs_and_variations_of_them_are_used_or_refused_as_documented(
    name: str, examined: Callable[[str], Examiner]
) -> None:
    examiner = examined(name)
    seeds = TARGETS[name].seeds()
    for seed in seeds:
        examiner.examine(seed)

    @settings(max_examples=30, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(variations(TARGETS[name], seeds))
    def vary(data: bytes) -> None:
        examiner.examine(data)

    vary()
    assert examiner.failures == {}


def test_every_folder_of_failures_belongs_to_something_that_is_examined() -> None:
    assert {path.parent.name for path in FAILED} <= set(TARGETS)
    assert len(FAILED) > 30
