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
from msgspec import Meta

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
_Name = Annotated[str, Meta(pattern=r"^[^/+#\s\x00-\x1f\x7f-\x9f]{1,64}$")]
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
    """The whole configuration; an empty file is a valid one."""

    node: Annotated[_Name, Meta(description="Name of this machine in topics and alerts. Default: its host name.")] = (
        msgspec.field(default_factory=_default_node)
    )
    interval_s: Annotated[float, Meta(ge=1e-4, le=86400, description="Sampling interval in seconds.")] = 1.0
    state_dir: Annotated[
        str,
        Meta(
            description=(
                "Folder for waiting alerts and learned state. Default: the StateDirectory of systemd, or "
                "`~/.local/state/edgewatch`."
            )
        ),
    ] = msgspec.field(default_factory=_default_state_dir)
    sources: Annotated[
        tuple[Any, ...], Meta(description="Sources of readings: each has a `type` and the keys of that source.")
    ] = msgspec.field(default_factory=lambda: (source_class("host").Config(type="host"),))
    channels: Annotated[
        tuple[ChannelConfig, ...],
        Meta(
            max_length=1000,
            description=(
                "Overrides for matching channels of any source: hard limits, valid range, unit, sensitivity. The "
                "last entry that sets a key wins."
            ),
        ),
    ] = ()
    derived: Annotated[
        tuple[DerivedConfig, ...],
        Meta(max_length=1000, description="Channels computed from others: rate, difference, ratio, sum."),
    ] = ()
    models: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            max_length=4,
            description=(
                "Models: `builtin` (any channel, no training), or folders written by `python -m training fit`. "
                "Several run side by side."
            ),
        ),
    ] = ("builtin",)
    trusted_keys: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Ed25519 public keys in base64. If there are any, folders of models must be signed by one of them "
                "(`python -m training sign`); this needs the extra `signed`."
            )
        ),
    ] = ()
    detection: Annotated[
        DetectionConfig, Meta(description="Judging of prediction errors: threshold, memory and time scales.")
    ] = msgspec.field(default_factory=DetectionConfig)
    alerts: Annotated[AlertsConfig, Meta(description="Rules by which incidents open, close and are sent.")] = (
        msgspec.field(default_factory=AlertsConfig)
    )
    mqtt: Annotated[MqttConfig, Meta(description="Connection to the broker, and the messages published there.")] = (
        msgspec.field(default_factory=MqttConfig)
    )
    outbox: Annotated[OutboxConfig, Meta(description="Storage for alerts while the broker is unreachable.")] = (
        msgspec.field(default_factory=OutboxConfig)
    )
    history: Annotated[
        HistoryConfig | None,
        Meta(
            description=(
                "Recording of all readings, for training. It is written only if this section is present, once a minute."
            )
        ),
    ] = None
    prometheus: Annotated[
        PrometheusConfig | None,
        Meta(
            description=(
                "Metrics page for Prometheus. It is served only if this section is present, and needs the extra "
                "`prometheus`."
            )
        ),
    ] = None

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
