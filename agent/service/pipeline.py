"""The pipeline of one configuration: sources, sampler, detector, incidents and their checkpoints."""

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
    """Open every source of a configuration.

    Returns
    -------
    list of (str, Source)
        Name and source. The name is the type, followed by the position if several sources have this type.

    Raises
    ------
    UserError, EnvironmentFault
        A source cannot be used; those opened before are closed.
    """
    types = [part.type for part in config.sources]
    opened: list[tuple[str, Source]] = []
    try:
        for position, part in enumerate(config.sources):
            name = part.type if types.count(part.type) == 1 else f"{part.type}[{position}]"
            opened.append((name, source_class(part.type)(part, part.interval_s or config.interval_s)))
    except BaseException as error:
        if isinstance(error, EdgewatchError):  # a source knows only the path below its own section
            error.move_below(f"$.sources[{len(opened)}]")
        for _, source in opened:
            source.close()
        raise
    return opened


def open_sampler(config: Config, clock: Clock, interval_s: float | None = None) -> Sampler:
    """Open the sources of a configuration, and make a sampler with its channel rules and derived channels.

    Parameters
    ----------
    interval_s
        Sampling interval for every source, in seconds; None: those of the configuration.
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
    """Manifests as JSON, which identify bundles: they hold the hashes of all other files."""
    return [msgspec.json.encode(model.manifest) for model in models]


class Pipeline:
    """Samples and judges the channels of one configuration.

    Parameters
    ----------
    config
        The configuration.
    models
        Its verified bundles.
    clock
        Source of time.
    delivery
        The worker that writes snapshots.
    instance
        Identifier of the installation.

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
        #: Manifests of the bundles, to detect changed ones; see `manifests`.
        self.models = manifests(models)
        self.monitor = self._new_monitor()
        self.incidents = self._new_incidents()
        belongs_to = identity(config, models, self.sampler.channels)
        #: Writes and resumes snapshots.
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
        """Whether channels were added or removed since the last call."""
        changed, self._changed = self._changed, False
        return changed

    def judge(self, frame: Frame) -> tuple[Verdict, list[Alert]]:
        """Judge a frame, and return the verdict with the alerts that follow from it.

        State restored from disk has a correct checksum and shape, but its values may still be meaningless. If a step
        fails, the learned state is discarded, open incidents are closed, and the step is repeated once; an exception of
        the second attempt is raised.
        """
        next_seq = self.incidents.next_seq
        try:
            return self._judge(frame)
        except Exception:  # noqa: BLE001 - restored state or a bug of ours can raise anything
            _LOG.exception("a step failed; learned state is discarded and open incidents are closed, because of")
        former, self.monitor, self.incidents = self.incidents, self._new_monitor(), self._new_incidents()
        self.incidents.succeed(former, next_seq)
        return self._judge(frame)

    def settle(self, frame: Frame | None) -> list[Alert]:
        """Add new channels of open sources without learned state, and discard the state of removed ones.

        Parameters
        ----------
        frame
            The newest frame; None before the first.

        Returns
        -------
        list of Alert
            Those that close incidents of removed channels.
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
        """Continue from the snapshots of an earlier run.

        Parameters
        ----------
        next_seq
            Number of the next alert.
        raised
            State of the incidents as committed with the last alert; None if there is none.
        """
        self.incidents.continue_from(next_seq)

        def restore(names: dict[int, str]) -> None:
            self.sampler.restore(names)
            self.settle(None)

        self.sampler.continue_from(self.checkpoints.resume(self.monitor, self.incidents, raised, restore))

    def succeed(self, former: Pipeline, now_ns: int) -> None:
        """Continue the alert numbers and the silences of another pipeline.

        Parameters
        ----------
        now_ns
            Monotonic time in nanoseconds.
        """
        self.incidents.continue_from(former.incidents.next_seq)
        self.incidents.silences.resume(former.incidents.silences.remaining(now_ns), now_ns)

    def packed(self) -> bytes:
        """The state of the incidents, to be committed together with their alerts."""
        return self.incidents.packed(self.checkpoints.name)

    def keep(self, seq: int, *, hurry: bool) -> None:
        """Take a snapshot if one is due.

        Parameters
        ----------
        seq
            Number of the frame.
        hurry
            Take it soon, as after an incident opened or closed.
        """
        self.checkpoints.tend(self.monitor, self.incidents, seq, hurry=hurry)

    def keep_all(self, seq: int) -> None:
        """Take a snapshot now, including the large parts."""
        self.checkpoints.take(self.monitor, self.incidents, seq, whole=True)
