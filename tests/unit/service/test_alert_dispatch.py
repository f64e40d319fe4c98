from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.service.conftest import Node


def test_nothing_is_handed_over_without_alerts(node: Node) -> None:
    node.dispatch.send([], node.pipeline)
    assert node.delivery.alerts == []


def test_closing_before_the_first_frame_does_nothing(node: Node) -> None:
    node.dispatch.close_incidents(node.pipeline)
    assert node.delivery.alerts == []


def test_open_incidents_are_closed_at_the_end(node: Node) -> None:
    node.steps(200)
    node.steps(20, fault=True)
    node.dispatch.close_incidents(node.pipeline)
    phases = [alert.phase for alert in node.delivery.alerts]
    assert (phases[0], phases[-1]) == ("open", "close")


def test_suppressed_incidents_are_remembered_once(node: Node) -> None:
    node.steps(200)
    node.pipeline.incidents.silences.add(["*"], 3600.0, node.clock.monotonic_ns())
    node.steps(20, fault=True)
    node.steps(100)
    node.dispatch.collect_suppressed(node.pipeline)
    assert node.delivery.alerts == []
    remembered = node.suppressed.count
    assert remembered > 0
    node.dispatch.collect_suppressed(node.pipeline)
    assert node.suppressed.count == remembered
