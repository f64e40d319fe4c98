"""The daemon: wires sampling, detection, alerting, delivery and status, and runs them until it is stopped."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.alerting.suppressed import SuppressedIncidents
from agent.delivery.outbox import Outbox
from agent.delivery.worker import DeliveryWorker
from agent.integrations.systemd import Notifier
from agent.models.last_good import load_or_last_good
from agent.service.alert_dispatch import AlertDispatch
from agent.service.command_handler import CommandHandler
from agent.service.parts import Parts, PartsFactory, open_page, open_recorder
from agent.service.process_memory import confine_memory, give_back_memory, settle_memory
from agent.service.reload import Reload
from agent.service.status import StatusReports
from agent.service.status_messages import AgentHealth, Observation
from agent.service.step_times import StepTimes

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config.schema import Config
    from agent.core.clock import Clock
    from agent.core.frame import Frame

__all__ = ["Daemon"]

_LOG = logging.getLogger(__name__)


class Daemon:
    """Samples, judges and publishes until its clock is stopped.

    Parameters
    ----------
    config
        The configuration.
    clock
        Source of time; `Clock.stop` ends the daemon.
    reload
        Reads the configuration again after `request_reload`. If it raises `EdgewatchError`, the daemon continues with
        the present configuration. None: reloading is not possible.

    Raises
    ------
    UserError, EnvironmentFault
        Bundle, sources or broker settings cannot be used.
    """

    def __init__(self, config: Config, clock: Clock, reload: Callable[[], Config] | None = None) -> None:
        confine_memory()
        self._clock = clock
        self._outbox = Outbox(Path(config.state_dir), round(config.outbox.max_mb * 1e6), config.outbox.max_age_s)
        self._delivery = DeliveryWorker(self._outbox)
        suppressed = SuppressedIncidents()
        self._dispatch = AlertDispatch(self._delivery, suppressed, clock)
        self._commands = CommandHandler(self._dispatch, self.request_reload)
        factory = PartsFactory(clock, self._delivery, self._outbox.instance, self._commands.carry_out)
        self._reload = Reload(reload, factory, self._delivery, self._dispatch, clock)
        self._reload_requested = False
        link = factory.link(config)
        pipeline = factory.pipeline(config, load_or_last_good(config))
        pipeline.resume(self._outbox.next_seq, self._outbox.incidents)
        recorder = open_recorder(config, pipeline.sampler.channels)
        self._times = StepTimes()
        self._status = StatusReports(clock, AgentHealth(clock, self._times, self._outbox, self._delivery), suppressed)
        self._systemd = Notifier(clock)
        self._parts = Parts(config, link, pipeline, recorder, open_page(config))
        self._commands.attach(pipeline)

    @property
    def parts(self) -> Parts:
        """The running parts."""
        return self._parts

    @property
    def delivery(self) -> DeliveryWorker:
        """The worker that sends alerts and writes to disk."""
        return self._delivery

    def request_reload(self) -> None:
        """Read the configuration again before the next tick; safe in a signal handler."""
        self._reload_requested = True

    def run(self) -> None:
        """Sample, judge and publish until the clock stops; then save the learned state and publish `offline`."""
        self._delivery.start(self._parts.link.publisher)
        settle_memory()
        config, pipeline = self._parts.config, self._parts.pipeline
        channels = len(pipeline.sampler.channels)
        _LOG.info("watching %d channels every %g s with %s", channels, config.interval_s, pipeline.model)
        del pipeline  # a reload may replace it
        try:
            while self._run_pipeline():
                self._commands.attach(self._parts.pipeline)
                give_back_memory()  # of the YAML parser, and of replaced parts
            self._keep_or_close()
        except Exception:
            self._parts.pipeline.checkpoints.doubt(self._times.count)
            raise
        finally:
            self._systemd.stopping()
            self._parts.close()
            self._delivery.stop()
            _LOG.info("stopped after %d steps", self._times.count)

    def _run_pipeline(self) -> bool:
        """Run until the pipeline ends (False), or a reload has replaced it (True)."""
        for frame in self._parts.pipeline.frames():
            self._step(frame)
            if self._reload_requested:
                self._reload_requested = False
                with self._systemd.reloading():
                    former, self._parts = self._parts.pipeline, self._reload.apply(self._parts)
                if self._parts.pipeline is not former:
                    return True
                give_back_memory()  # of the YAML parser, and of replaced parts
        return False

    def _step(self, frame: Frame) -> None:
        """Judge a frame, and send and publish the results."""
        parts, begin = self._parts, time.perf_counter()
        pipeline, link = parts.pipeline, parts.link
        link.inbox.hear(link.publisher, self._now_s())
        self._dispatch.send(pipeline.settle(frame), pipeline)
        hurry = pipeline.take_changed()
        if parts.recorder is not None:
            if hurry:
                parts.recorder.change(pipeline.sampler.channels)
            parts.recorder.add(frame)
        verdict, alerts = pipeline.judge(frame)
        self._times.add(time.perf_counter() - begin)
        self._dispatch.send(alerts, pipeline)
        self._dispatch.collect_suppressed(pipeline)
        hurry |= self._commands.take_carried_out() or any(alert.phase != "update" for alert in alerts)
        pipeline.keep(frame.seq, hurry=hurry)
        observed = Observation(parts.config, pipeline, frame, verdict)
        renewed = link.inbox.announce(link.publisher, self._now_s())
        self._status.publish(observed, link.publisher, parts.page, renewed=renewed)
        self._systemd.status(self._status.summary(observed))
        self._systemd.alive(parts.config.interval_s)

    def _keep_or_close(self) -> None:
        """Save state and open incidents for the next run, or close the incidents if nothing can be saved."""
        pipeline = self._parts.pipeline
        if pipeline.frame is not None and self._outbox.durable:
            pipeline.keep_all(pipeline.frame.seq)
        else:
            self._dispatch.close_incidents(pipeline)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9
