from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent.alerting.settings import AlertsConfig, SilenceConfig
from agent.core.errors import UserError
from agent.integrations.settings import PrometheusConfig
from agent.mqtt.settings import MqttConfig
from agent.sampling.settings import HistoryConfig
from agent.service import reload as reload_module
from agent.service.parts import Parts, PartsFactory, open_recorder
from agent.service.reload import Reload
from agent.sources.simulated import SimulatedConfig

if TYPE_CHECKING:
    from pathlib import Path

    from agent.config.schema import Config
    from tests.unit.service.conftest import Node


class Reloaded:
    """A node with a configuration that can be reloaded."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.text: Config | UserError = node.config
        self.factory = PartsFactory(node.clock, node.delivery, "7f3a", lambda _: "")  # type: ignore[arg-type]
        link = self.factory.link(node.config)
        self.parts = Parts(node.config, link, node.pipeline, None, None)
        self.reload = Reload(self.read, self.factory, node.delivery, node.dispatch, node.clock)  # type: ignore[arg-type]

    def read(self) -> Config:
        if isinstance(self.text, UserError):
            raise self.text
        return self.text

    def apply(self, **changes: Any) -> bool:
        """Reload a changed configuration; whether the pipeline was replaced."""
        self.text = msgspec.structs.replace(self.node.config, **changes)
        former, self.parts = self.parts, self.reload.apply(self.parts)
        return self.parts.pipeline is not former.pipeline


@pytest.fixture
def reloaded(node: Node) -> Reloaded:
    node.steps(200)
    return Reloaded(node)


def test_the_same_configuration_replaces_nothing_and_keeps_what_was_learned(reloaded: Reloaded) -> None:
    before = (reloaded.parts.link, reloaded.parts.pipeline)
    assert not reloaded.apply()
    assert (reloaded.parts.link, reloaded.parts.pipeline) == before
    assert reloaded.node.pipeline.checkpoints.written > 0
    assert reloaded.node.delivery.publishers == []


def test_another_broker_gets_a_new_connection_and_no_new_pipeline(reloaded: Reloaded) -> None:
    assert not reloaded.apply(mqtt=MqttConfig(port=1884))
    assert reloaded.node.delivery.publishers == [reloaded.parts.link.publisher]
    assert reloaded.parts.link.publisher.config.port == 1884
    assert reloaded.parts.pipeline is reloaded.node.pipeline


def test_silences_are_taken_over_without_a_new_pipeline(reloaded: Reloaded) -> None:
    silence = SilenceConfig(channels=("simulated.1",), until="2099-01-01")
    alerts = msgspec.structs.replace(reloaded.node.config.alerts, silences=(silence,))
    assert not reloaded.apply(alerts=alerts)
    reloaded.node.step()
    assert reloaded.node.pipeline.incidents.silenced == 1


def test_other_channels_get_a_new_pipeline_with_the_numbers_and_silences_of_the_former(reloaded: Reloaded) -> None:
    node = reloaded.node
    node.steps(20, fault=True)
    node.pipeline.incidents.silences.add(["simulated.2"], 3600.0, node.clock.monotonic_ns())
    assert reloaded.apply(sources=(SimulatedConfig("simulated", channels=3),))
    new = reloaded.parts.pipeline
    assert new is not node.pipeline
    assert new.frame is None
    assert [alert.phase for alert in node.delivery.alerts][-1] == "close"
    assert new.incidents.next_seq == node.delivery.alerts[-1].seq + 1
    assert list(new.incidents.silences.remaining(node.clock.monotonic_ns())) == ["simulated.2"]
    assert reloaded.parts.config is reloaded.text


def test_a_configuration_that_cannot_be_used_changes_nothing(reloaded: Reloaded, caplog: Any, tmp_path: Path) -> None:
    before = msgspec.structs.asdict(reloaded.parts.config)
    reloaded.text = UserError("no such key", location="$.x")
    assert reloaded.reload.apply(reloaded.parts) is reloaded.parts
    assert not reloaded.apply(models=(str(tmp_path / "none"),), mqtt=MqttConfig(port=1884))
    assert caplog.text.count("nothing was changed") == 2
    assert msgspec.structs.asdict(reloaded.parts.config) == before
    assert reloaded.node.delivery.publishers == []


def test_without_a_way_to_read_nothing_is_done(reloaded: Reloaded) -> None:
    node = reloaded.node
    none = Reload(None, reloaded.factory, node.delivery, node.dispatch, node.clock)  # type: ignore[arg-type]
    assert none.apply(reloaded.parts) is reloaded.parts


def test_the_history_begins_anew_where_its_section_changed(reloaded: Reloaded, tmp_path: Path) -> None:
    assert open_recorder(reloaded.node.config, ()) is None
    assert not reloaded.apply(history=HistoryConfig(directory=str(tmp_path / "history")))
    first = reloaded.parts.recorder
    assert first is not None
    assert not reloaded.apply()
    assert reloaded.parts.recorder is None


def test_a_page_that_cannot_be_served_leaves_none(
    reloaded: Reloaded, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def taken(config: Config) -> None:
        raise UserError("the address is taken", location=f"$.prometheus: {config.prometheus}")

    monkeypatch.setattr(reload_module, "open_page", taken)
    assert not reloaded.apply(prometheus=PrometheusConfig())
    assert reloaded.parts.page is None
    assert "the address is taken" in caplog.text
    assert isinstance(reloaded.parts.config.alerts, AlertsConfig)


def test_a_new_state_directory_is_announced_for_the_next_start(reloaded: Reloaded, caplog: Any, tmp_path: Path) -> None:
    assert not reloaded.apply(state_dir=str(tmp_path / "other"))
    assert "takes effect at the next start" in caplog.text
