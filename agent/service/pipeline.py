"""Puts together what depends on the channels: sources, sampler, monitor, incidents, and what is kept of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.alerting.incidents import Incidents
from agent.core.errors import EdgewatchError
from agent.detection.ensemble import Ensemble
from agent.models import bundle
from agent.sampling.channel_rules import ChannelRules
from agent.sampling.sampler import Sampler
from agent.service import legacy_identity
from agent.service.checkpoints import Checkpoints, identity
from agent.sources.registry import source_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.config.schema import Config
    from agent.core.clock import Clock
    from agent.core.frame import Frame
    from agent.delivery.worker import DeliveryWorker
    from agent.detection.verdict import Verdict
    from agent.messages.alert import Alert
    from agent.models.bundle import Bundle
    from agent.sources.base import Source

__all__ = ["Pipeline", "manifests", "open_sampler", "open_sources"]

_LOG = logging.getLogger(__name__)


def open_sources(config: Config) -> list[tuple[str, Source]]:
    """Open every source of a config, named by type and position where a type stands twice."""
    types = [part.type for part in config.sources]
    opened: list[tuple[str, Source]] = []
    try:
        for position, part in enumerate(config.sources):
            name = part.type if types.count(part.type) == 1 else f"{part.type}[{position}]"
            opened.append((name, source_class(part.type)(part, part.interval_s or config.interval_s)))
    except BaseException as error:
        if isinstance(error, EdgewatchError):  # a source knows the path of its own keys only
            error.move_below(f"$.sources[{len(opened)}]")
        for _, source in opened:
            source.close()
        raise
    return opened


def open_sampler(config: Config, clock: Clock, interval_s: float | None = None) -> Sampler:
    """Open what a config reads, with all that it says of channels.

    Parameters
    ----------
    interval_s
        Read every source at this pace, instead of the config's.
    """
    return Sampler(
        open_sources(config),
        interval_s or config.interval_s,
        clock,
        every=None if interval_s else [round(config.ticks_between(part)) for part in config.sources],
        rules=ChannelRules(config.channels),
        derived=config.derived,
    )


def manifests(models: Sequence[Bundle]) -> list[bytes]:
    """What tells bundles apart: their manifests, which name the hashes of all else."""
    return [msgspec.json.encode(model.manifest) for model in models]


class Pipeline:
    """Watches the channels of one configuration.

    Parameters
    ----------
    config
        The configuration.
    models
        Its verified bundles.
    clock
        Where time comes from.
    delivery
        Writes what is kept.
    instance
        The installation.

    Raises
    ------
    UserError, EnvironmentFault
        Sources cannot be used, or a bundle is for other channels.
    """

    def __init__(
        self, config: Config, models: Sequence[Bundle], clock: Clock, delivery: DeliveryWorker, instance: str
    ) -> None:
        self._config = config
        #: The verified bundles.
        self.bundles = models
        self._clock = clock
        self._instance = instance
        self.sampler = open_sampler(config, clock)
        #: The newest frame; None before the first.
        self.frame: Frame | None = None
        self._changed = False
        self.model = bundle.labels(models)
        #: Of the bundles, to tell whether they are others by now.
        self.models = manifests(models)
        self.monitor = self._new_monitor()
        self.incidents = self._new_incidents()
        belongs_to = identity(config, models, self.sampler.channels)
        #: What is kept for the next run.
        self.checkpoints = Checkpoints(
            Path(config.state_dir),
            belongs_to,
            instance,
            clock,
            delivery.do,
            self.sampler.open_channels,
            legacy_identity.identity(config, models, self.sampler.channels),
        )

    def _new_monitor(self) -> Ensemble:
        config, sampler = self._config, self.sampler
        return Ensemble(
            sampler.channels, self.bundles, config.detection, config.alerts, config.interval_s, sampler.every
        )

    def _new_incidents(self) -> Incidents:
        return Incidents(
            self.sampler.channels,
            self._config.alerts,
            self._config.interval_s,
            node=self._config.node,
            model=self.model,
            instance=self._instance,
            clock_synced=self._clock.synchronised,
            every=self.sampler.every,
        )

    def frames(self) -> Iterator[Frame]:
        """Read frames until the clock is stopped or a finite source ends."""
        for frame in self.sampler.frames():
            self.frame = frame
            yield frame

    def take_changed(self) -> bool:
        """Whether any channel has come or gone since the last call."""
        changed, self._changed = self._changed, False
        return changed

    def judge(self, frame: Frame) -> tuple[Verdict, list[Alert]]:
        """The step: what the models say of a frame, and the messages that it calls for.

        What was put back from disk is whole and of the right shape, but nobody can tell whether it makes sense. Where a
        step fails over it watching begins anew, once; incidents that were open are closed.
        """
        next_seq = self.incidents.next_seq
        try:
            return self._judge(frame)
        except Exception:  # noqa: BLE001 - whatever it is, it is in what was read back, or a mistake of ours
            _LOG.exception("a step failed; what was learned is forgotten, and watching begins anew after")
        former, self.monitor, self.incidents = self.incidents, self._new_monitor(), self._new_incidents()
        self.incidents.succeed(former, next_seq)
        return self._judge(frame)

    def settle(self, frame: Frame | None) -> list[Alert]:
        """Let channels of open sources come and go: they appear with nothing learned, and what is gone is forgotten.

        Returns
        -------
        Of incidents that such channels had part in, the close.
        """
        changes = self.sampler.changes()
        if not changes:
            return []
        self._changed = True
        indices, channels = np.array([index for index, _ in changes]), [channel for _, channel in changes]
        alerts = self.incidents.replace(indices, channels, frame)
        self.monitor.replace(indices, channels)
        return alerts

    def _judge(self, frame: Frame) -> tuple[Verdict, list[Alert]]:
        verdict = self.monitor.step(frame)
        return verdict, self.incidents.step(frame, verdict)

    def resume(self, next_seq: int, raised: bytes | None) -> None:
        """Go on where an earlier run, or the watch before this one, has stopped."""
        self.incidents.continue_from(next_seq)

        def restore(names: dict[int, str]) -> None:
            self.sampler.restore(names)
            self.settle(None)

        self.sampler.continue_from(self.checkpoints.resume(self.monitor, self.incidents, raised, restore))

    def succeed(self, former: Pipeline, now_ns: int) -> None:
        """Continue the numbers of alerts and the silences of another pipeline.

        Parameters
        ----------
        now_ns
            Of the clock, in nanoseconds.
        """
        self.incidents.continue_from(former.incidents.next_seq)
        self.incidents.silences.resume(former.incidents.silences.remaining(now_ns), now_ns)

    def packed(self) -> bytes:
        """The incidents' state, to be committed along with their alerts."""
        return self.incidents.packed(self.checkpoints.name)

    def keep(self, seq: int, *, hurry: bool) -> None:
        """Take a snapshot if one is due."""
        self.checkpoints.tend(self.monitor, self.incidents, seq, hurry=hurry)

    def keep_all(self, seq: int) -> None:
        """Take a whole snapshot now."""
        self.checkpoints.take(self.monitor, self.incidents, seq, whole=True)
