"""The configuration as a whole, composed of the sections that the packages own."""

from __future__ import annotations

import math
import os
import re
import socket
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
)

import msgspec

from agent.alerting.settings import AlertsConfig
from agent.core.section import Section
from agent.delivery.settings import OutboxConfig
from agent.detection.settings import DetectionConfig
from agent.integrations.settings import PrometheusConfig  # noqa: TC001 - msgspec resolves the hint at run time
from agent.models.signature import read_key
from agent.mqtt.settings import MqttConfig
from agent.sampling.settings import ChannelConfig, DerivedConfig, HistoryConfig  # noqa: TC001 - msgspec resolves the hint at run time
from agent.sources.registry import source_class

if TYPE_CHECKING:
    from agent.sources.base import SourceConfig


__all__ = ["Config"]

# Levels of topics: no wildcards, no control characters, and not the broker's own, which begin with a dollar sign.
_Name = Annotated[str, msgspec.Meta(pattern=r"^[^/+#\s\x00-\x1f\x7f-\x9f]{1,64}$")]
# Readings that are kept of each channel to confirm an anomaly.
_MOST_CONFIRMING = 100_000


def _default_node() -> str:
    name = re.sub(r"[/+#\s\x00]", "-", socket.gethostname().split(".")[0])
    return name[:64] or "node"


def _default_state_dir() -> str:
    given = os.environ.get("STATE_DIRECTORY")  # systemd; a list when the unit asks for several
    if given:
        return given.split(":")[0]
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return str(Path(home) / "edgewatch")


class Config(Section, frozen=True):
    """The whole configuration; an empty file is a valid one.

    Parameters
    ----------
    node
        Name of this machine in topics and alerts; its host name by default.
    interval_s
        Sampling interval in seconds.
    state_dir
        Where alerts wait until they are delivered; by default what systemd gives, or ``~/.local/state/edgewatch``.
    sources
        What is read, by default this host; each entry has a ``type`` and that source's keys.
    channels
        What is so of some channels, whichever source they come from; the last entry that says something of one counts.
    derived
        Channels worked out from others.
    models
        Bundles, ``builtin`` or a folder; several run side by side.
    trusted_keys
        Ed25519 public keys in base64. Where there are any, bundles other than ``builtin`` must be signed by one.
    detection
        How errors are judged.
    alerts
        When an anomaly becomes an incident, and when it ends.
    mqtt
        The broker and what is published there.
    outbox
        How much waits for a broker that is away.
    history
        Present: all readings are recorded.
    prometheus
        Present: a page for Prometheus is served.
    """

    node: _Name = msgspec.field(default_factory=_default_node)
    interval_s: Annotated[float, msgspec.Meta(ge=1e-4, le=86400)] = 1.0
    state_dir: str = msgspec.field(default_factory=_default_state_dir)
    sources: tuple[Any, ...] = msgspec.field(default_factory=lambda: (source_class("host").Config(type="host"),))
    channels: Annotated[tuple[ChannelConfig, ...], msgspec.Meta(max_length=1000)] = ()
    derived: Annotated[tuple[DerivedConfig, ...], msgspec.Meta(max_length=1000)] = ()
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=4)] = ("builtin",)
    trusted_keys: tuple[str, ...] = ()
    detection: DetectionConfig = msgspec.field(default_factory=DetectionConfig)
    alerts: AlertsConfig = msgspec.field(default_factory=AlertsConfig)
    mqtt: MqttConfig = msgspec.field(default_factory=MqttConfig)
    outbox: OutboxConfig = msgspec.field(default_factory=OutboxConfig)
    history: HistoryConfig | None = None
    prometheus: PrometheusConfig | None = None

    def __post_init__(self) -> None:
        for key in self.trusted_keys:
            read_key(key)
        if self.alerts.confirm_s > _MOST_CONFIRMING * self.interval_s:
            raise ValueError(f"alerts.confirm_s is longer than {_MOST_CONFIRMING:,} times interval_s")
        for index, source in enumerate(self.sources):
            turns = self.ticks_between(source)
            if turns < 1 or not math.isclose(turns, round(turns), rel_tol=1e-6):
                raise ValueError(
                    f"sources[{index}].interval_s {source.interval_s:g} is no whole multiple of interval_s, which is "
                    f"{self.interval_s:g}"
                )

    def ticks_between(self, source: SourceConfig) -> float:
        """How many times as long as the node's interval a source's is."""
        return 1.0 if source.interval_s is None else source.interval_s / self.interval_s
