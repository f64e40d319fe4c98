from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.errors import EdgewatchError, EnvironmentFault
from agent.messages.command import Acknowledge, Relearn, Reload, Silence, Unsilence
from agent.service.command_handler import CommandHandler

if TYPE_CHECKING:
    from tests.unit.service.conftest import Node


@pytest.fixture
def requests() -> list[bool]:
    return []


@pytest.fixture
def handler(node: Node, requests: list[bool]) -> CommandHandler:
    made = CommandHandler(node.dispatch, lambda: requests.append(True))
    made.attach(node.pipeline)
    return made


def test_a_command_before_the_first_reading_is_refused(node: Node, handler: CommandHandler) -> None:
    for unready in (handler, CommandHandler(node.dispatch, lambda: None)):
        with pytest.raises(EnvironmentFault, match="no frame has been read yet"):
            unready.carry_out(Reload())
        assert not unready.take_carried_out()


def test_silences_are_set_and_ended(node: Node, handler: CommandHandler) -> None:
    node.step()
    answer = handler.carry_out(Silence(channels=("simulated.*",), for_s=60.0, include_limits=True))
    assert answer == "silenced for 60 s, hard limits too: 2 channels"
    node.step()
    assert node.pipeline.incidents.silenced == 2
    assert handler.carry_out(Unsilence(channels=("simulated.1",))) == "silences by command ended: 1 channel"
    node.step()
    assert node.pipeline.incidents.silenced == 1


def test_an_acknowledged_incident_is_answered_and_an_unknown_one_refused(node: Node, handler: CommandHandler) -> None:
    node.steps(200)
    node.steps(20, fault=True)
    assert handler.carry_out(Acknowledge(incident=node.delivery.alerts[0].incident)).startswith("no more updates")
    with pytest.raises(EdgewatchError):
        handler.carry_out(Acknowledge(incident="pi4-7f3a-999999"))


def test_relearning_closes_the_incident_and_keeps_a_whole_snapshot(node: Node, handler: CommandHandler) -> None:
    node.steps(200)
    node.steps(20, fault=True)
    assert handler.carry_out(Relearn(channels=("simulated.1",))) == "learned anew: 1 channel"
    assert [alert.phase for alert in node.delivery.alerts][-1] == "close"
    assert (node.pipeline.bundles, node.pipeline.incidents.open) == ([node.bundle], ())
    assert node.pipeline.checkpoints.written > 0
    assert node.step().verdict.progress().min() < 0.1


def test_a_reload_is_requested_and_every_command_is_noted_once(
    node: Node, handler: CommandHandler, requests: list[bool]
) -> None:
    node.step()
    assert "read again" in handler.carry_out(Reload())
    assert requests == [True]
    assert [handler.take_carried_out(), handler.take_carried_out()] == [True, False]
