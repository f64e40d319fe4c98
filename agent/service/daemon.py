"""The daemon: wires sources, models, thresholds, incidents, outbox and publisher, and keeps them going."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent import __version__
from agent.alerting.silences import matching
from agent.alerting.suppressed import SuppressedIncidents
from agent.core.channel import NOBODY
from agent.core.errors import EdgewatchError, EnvironmentFault
from agent.delivery.outbox import Outbox
from agent.delivery.publisher import Publisher
from agent.delivery.worker import DeliveryWorker
from agent.integrations.inbox import Inbox
from agent.integrations.systemd import Notifier
from agent.messages.alert import Digest
from agent.messages.command import Acknowledge, Relearn, Silence, Unsilence
from agent.messages.status import ChannelMetric, Health, Metrics, NodeState
from agent.models.last_good import load_bundles, load_or_last_good
from agent.sampling.recorder import Recorder
from agent.service.pipeline import Pipeline, manifests
from agent.service.process_memory import confine_memory, give_back_memory, rss_mib, settle_memory
from agent.service.step_times import StepTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.config.schema import Config
    from agent.core.channel import Channel
    from agent.core.clock import Clock
    from agent.core.frame import Frame
    from agent.detection.verdict import Verdict
    from agent.integrations.prometheus import Page
    from agent.messages.alert import Alert, HeldBack
    from agent.messages.command import Command
    from agent.messages.status import Status

__all__ = ["Daemon"]

_LOG = logging.getLogger(__name__)
_STATE_INTERVAL_S = 60.0
_DIGEST_INTERVAL_S = 60.0
_PAGE_INTERVAL_S = 5.0


def _open_history(config: Config, channels: Sequence[Channel]) -> Recorder | None:
    if config.history is None:
        return None
    directory = Path(config.history.directory or Path(config.state_dir, "history"))
    return Recorder(directory, channels, config.interval_s, round(config.history.max_mb * 1e6))


def _open_page(config: Config) -> Page | None:
    if config.prometheus is None:
        return None
    from agent.integrations.prometheus import Page  # noqa: PLC0415 - with a web server, for those who ask for it

    return Page(config.prometheus)


class Daemon:
    """Runs until its clock is stopped.

    Parameters
    ----------
    config
        The configuration.
    clock
        Where time comes from; `Clock.stop` ends the daemon.
    reload
        Gives a new configuration after `request_reload`; raises `EdgewatchError` for one that cannot be used, which
        leaves everything as it was.

    Raises
    ------
    UserError, EnvironmentFault
        Bundle, sources or broker settings cannot be used.
    """

    def __init__(self, config: Config, clock: Clock, reload: Callable[[], Config] | None = None) -> None:
        confine_memory()
        self._config = config
        self._clock = clock
        self._reload = reload
        self._reload_requested = False
        self._commanded = False
        outbox = config.outbox
        self._outbox = Outbox(Path(config.state_dir), round(outbox.max_mb * 1e6), outbox.max_age_s)
        self._remote, self._publisher = self._link(config)
        self._delivery = DeliveryWorker(self._outbox, self._publisher)
        models = load_or_last_good(config)
        self._watch = Pipeline(config, models, clock, self._delivery, self._outbox.instance)
        self._watch.resume(self._outbox.next_seq, self._outbox.incidents)
        self._history = _open_history(config, self._watch.sampler.channels)
        self._times = StepTimes()
        self._started_ns = clock.monotonic_ns()
        self._state: Status = "learning"
        self._since = clock.wall()
        self._said: tuple[object, ...] = ()
        self._held = SuppressedIncidents()
        self._digested: tuple[HeldBack, ...] = ()
        self._frame: Frame | None = None
        self._notify = Notifier(clock)
        self._due = dict.fromkeys(("state", "metrics", "health", "digest", "page"), self._started_ns)
        self._page = _open_page(config)

    def request_reload(self) -> None:
        """Read the configuration again before the next tick; safe in a signal handler."""
        self._reload_requested = True

    def run(self) -> None:
        """Sample, judge and publish until told to stop; then keep what was learned and say `offline`."""
        self._delivery.start()
        settle_memory()
        channels = len(self._watch.sampler.channels)
        _LOG.info("watching %d channels every %g s with %s", channels, self._config.interval_s, self._watch.model)
        try:
            while self._run_watch():
                pass
            self._keep_or_close()
        except Exception:
            self._watch.continuity.doubt(self._times.count)
            raise
        finally:
            self._notify.stopping()
            self._watch.sampler.close()
            if self._page is not None:
                self._page.close()
            if self._history is not None:
                self._history.flush()
            self._delivery.stop()
            _LOG.info("stopped after %d steps", self._times.count)

    def _run_watch(self) -> bool:
        """Run until stopped or, then True, until a reload has put another watch in place."""
        for frame in self._watch.sampler.frames():
            begin = time.perf_counter()
            self._frame = frame
            self._remote.hear(self._publisher, self._now_s())
            self._raise(self._watch.settle(frame))
            if self._history is not None:
                if self._watch.changed:
                    self._history.change(self._watch.sampler.channels)
                self._history.add(frame)
            hurry = self._watch.changed
            self._watch.changed = False
            verdict, alerts = self._watch.judge(frame)
            self._times.add(time.perf_counter() - begin)
            self._raise(alerts)
            self._hold_back()
            hurry |= self._commanded or any(alert.phase != "update" for alert in alerts)
            self._watch.keep(frame.seq, hurry=hurry)
            self._commanded = False
            self._publish(frame, verdict)
            self._notify.status(f"{self._state}, open incidents: {len(self._watch.incidents.open)}")
            self._notify.alive(self._config.interval_s)
            if self._reload_requested:
                self._reload_requested = False
                with self._notify.reloading():
                    replaced = self._apply_reload()
                    give_back_memory()  # what read the file, and what it has replaced
                if replaced:
                    return True
        return False

    def _raise(self, alerts: list[Alert]) -> None:
        """Hand alerts over; once they are in the outbox they are not lost."""
        if not alerts:
            return
        self._delivery.put(alerts, self._watch.packed())
        for alert in alerts:
            _LOG.info("%s %s %s: %s", alert.phase, alert.severity, alert.id, alert.summary)

    def _carry_out(self, command: Command) -> str:
        """Do what a remote command says; gives a line about it."""
        incidents, frame = self._watch.incidents, self._frame
        if frame is None:
            raise EnvironmentFault("nothing was read yet", remedy="say it again in a moment")
        self._commanded = True
        if isinstance(command, Silence):
            add, limits = incidents.silences.add, command.include_limits
            count = add(command.channels, command.for_s, frame.mono_ns, include_limits=limits)
            return f"silenced for {command.for_s:g} s{', hard limits too' if limits else ''}: {_of_channels(count)}"
        if isinstance(command, Unsilence):
            return f"silences by command ended: {_of_channels(incidents.silences.lift(command.channels))}"
        if isinstance(command, Acknowledge):
            self._raise(incidents.acknowledge(command.incident, frame))
            return "no more updates of this incident, only its close"
        if isinstance(command, Relearn):
            which = matching(command.channels, self._watch.sampler.channels)
            self._watch.monitor.relearn(which)
            self._raise(incidents.relearn(frame, which))
            self._hold_back()
            self._watch.keep_all(frame.seq)  # an older whole snapshot would bring back what is to be forgotten
            return f"learned anew: {_of_channels(int(which.sum()))}"
        self.request_reload()
        return "the configuration is read again; the log says what came of it"

    def _hold_back(self) -> None:
        """Remember what the alert budget did not let pass."""
        held = self._watch.incidents.take_held()
        if held:
            self._held.add(held, self._now_s())
        for incident in held:
            text = "held back, strength %.3g of %.3g: %s"
            _LOG.info(text, incident.strength, incident.needed, incident.summary)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _keep_or_close(self) -> None:
        """Before the end: the next run goes on with what is open, unless nothing survives this one."""
        if self._frame is not None and self._outbox.durable:
            self._watch.keep_all(self._frame.seq)
        else:
            self._close_incidents()

    def _close_incidents(self) -> None:
        if self._frame is not None:
            self._raise(self._watch.incidents.stop(self._frame))
            self._hold_back()

    def _publish(self, frame: Frame, verdict: Verdict) -> None:
        """Say what is new or due: state at once when it changes, the rest at its own pace."""
        renewed = self._remote.announce(self._publisher, self._now_s())
        mqtt = self._config.mqtt
        open_incidents = self._watch.incidents.open
        learning = not bool((verdict.progress() >= 1.0).any())
        state: Status = "anomalous" if open_incidents else "learning" if learning else "normal"
        if state != self._state:
            self._state, self._since = state, frame.wall
        saying = (state, open_incidents, self._watch.incidents.silenced)
        changed = saying != self._said
        if self._is_due("state", _STATE_INTERVAL_S) or changed or renewed:
            self._said = saying
            self._publisher.publish("state", self._node_state(frame, verdict), qos=1, retain=True)
        if mqtt.metrics_interval_s and self._is_due("metrics", mqtt.metrics_interval_s):
            self._publisher.publish("metrics", self._metrics(frame, verdict), qos=0, retain=False)
        if self._is_due("health", mqtt.health_interval_s) or renewed:
            self._publisher.publish("health", self._health(frame), qos=0, retain=True)
        if self._is_due("digest", _DIGEST_INTERVAL_S) or renewed:
            held = self._held.strongest(self._now_s())
            if held != self._digested or renewed:
                self._digested = held
                self._publisher.publish("digest", self._digest(frame), qos=0, retain=True)
        if self._page is not None and self._is_due("page", _PAGE_INTERVAL_S):
            self._page.show(self._health(frame), self._node_state(frame, verdict), self._metrics(frame, verdict))

    def _is_due(self, what: str, interval_s: float) -> bool:
        now = self._clock.monotonic_ns()
        if now < self._due[what]:
            return False
        # From the last due time, not from now: a pace of 1 s at an interval of 1 s must not lose every other turn.
        self._due[what] = max(self._due[what] + round(interval_s * 1e9), now - round(interval_s * 5e8))
        return True

    def _node_state(self, frame: Frame, verdict: Verdict) -> NodeState:
        return NodeState(
            v=1,
            node=self._config.node,
            state=self._state,
            ts=frame.wall,
            since=self._since,
            score=round(float(verdict.score().max()), 6),
            state_score=round(verdict.state_score, 6),
            threshold=verdict.threshold,
            learning_progress=round(float(verdict.progress().max()), 3),
            provisional=bool(verdict.provisional()[self._watch.sampler.places].any()),
            channels=len(self._watch.sampler.places),
            open_incidents=self._watch.incidents.open,
            silenced=self._watch.incidents.silenced,
            commands=self._config.mqtt.commands,
        )

    def _digest(self, frame: Frame) -> Digest:
        needed = self._watch.incidents.budget.needed(frame.seq * self._config.interval_s)
        return Digest(
            v=1,
            node=self._config.node,
            ts=frame.wall,
            budget_per_day=self._config.alerts.budget_per_day,
            needed=round(needed, 3),
            suppressed=self._held.count,
            incidents=self._digested,
        )

    def _metrics(self, frame: Frame, verdict: Verdict) -> Metrics:
        columns = zip(
            self._watch.sampler.channels,
            verdict.value.tolist(),
            *verdict.bounds().tolist(),
            verdict.score().tolist(),
            verdict.anomalous.tolist(),
            verdict.progress().tolist(),
            verdict.provisional().tolist(),
            strict=True,
        )
        channels = {
            channel.name: ChannelMetric(
                value, expected, lower, upper, score, verdict.threshold, anomalous, progress, provisional, channel.unit
            )
            for channel, value, expected, lower, upper, score, anomalous, progress, provisional in columns
            if channel is not NOBODY
        }
        score = float(verdict.score().max())
        return Metrics(1, self._config.node, frame.wall, frame.seq, score, verdict.state_score, channels)

    def _health(self, frame: Frame) -> Health:
        median_ms, high_ms = self._times.quantiles_ms()
        sampler = self._watch.sampler
        return Health(
            v=1,
            node=self._config.node,
            ts=frame.wall,
            version=__version__,
            model=self._watch.model,
            uptime_s=round((self._clock.monotonic_ns() - self._started_ns) / 1e9, 3),
            clock_synced=self._clock.synchronised(),
            interval_s=self._config.interval_s,
            steps=self._times.count,
            missed_ticks=sampler.missed,
            step_ms_p50=median_ms,
            step_ms_p99=high_ms,
            invalid_readings=self._watch.monitor.invalid + sampler.invalid,
            source_failures=sampler.failures,
            left_out=sampler.left_out,
            outbox_depth=self._delivery.depth,
            outbox_durable=self._outbox.durable,
            dropped=self._outbox.dropped,
            reconnects=self._publisher.reconnects,
            rss_mib=round(rss_mib(), 2),
            suppressed=self._held.count,
            refused=self._publisher.refused,
            discarded=self._publisher.discarded,
            snapshot_bytes=self._watch.continuity.written,
            snapshot_failures=self._watch.continuity.failures,
        )

    def _apply_reload(self) -> bool:
        """Take over what changed in the configuration; True when the watch was replaced."""
        if self._reload is None:
            return False
        old = self._config
        try:
            new = self._reload()
            link, watch = self._made_for(new)
        except EdgewatchError as error:
            _LOG.error("reload: %s", error)
            _LOG.error("reload: nothing was changed")
            return False
        if new.state_dir != old.state_dir:
            _LOG.warning("reload: a new state_dir takes effect at the next start")
        if watch is not None:
            self._change_watch(watch)
        else:
            self._watch.incidents.silences.configure(new.alerts)
            if self._frame is not None:
                self._watch.keep_all(self._frame.seq)
        if link is not None:
            self._remote, self._publisher = link
            self._delivery.change_publisher(self._publisher)
        self._replace_page(old, new)
        if watch is not None or new.history != old.history:
            if self._history is not None:
                self._history.flush()
            self._history = _open_history(new, self._watch.sampler.channels)
        self._config = new
        _LOG.info("reload: done; channels %s", "start afresh" if watch else "go on as they were")
        return watch is not None

    def _made_for(self, new: Config) -> tuple[tuple[Inbox, Publisher] | None, Pipeline | None]:
        """What another configuration needs anew."""
        old, link, watch = self._config, None, None
        if (new.mqtt, new.node) != (old.mqtt, old.node):
            link = self._link(new)
        # Also where only the files of a bundle have changed, or those of a source.
        models = load_bundles(new, self._watch.bundles)
        if _watch_part(new) != _watch_part(old) or self._watch.models != manifests(models):
            watch = Pipeline(new, load_or_last_good(new, models), self._clock, self._delivery, self._outbox.instance)
        return link, watch

    def _link(self, config: Config) -> tuple[Inbox, Publisher]:
        """What goes with the section mqtt."""
        remote = Inbox(config.mqtt, config.node, self._carry_out)
        return remote, Publisher(config.mqtt, config.node, self._outbox.instance, remote.filters)

    def _change_watch(self, watch: Pipeline) -> None:
        """Go on with other channels or another way to watch them."""
        self._close_incidents()
        watch.incidents.continue_from(self._watch.incidents.next_seq)
        now_ns = self._clock.monotonic_ns()
        watch.incidents.silences.resume(self._watch.incidents.silences.remaining(now_ns), now_ns)
        self._frame = None
        self._watch.sampler.close()
        self._watch = watch

    def _replace_page(self, old: Config, new: Config) -> None:
        """Serve the page for Prometheus as it is configured now."""
        if new.prometheus == old.prometheus:
            return
        if self._page is not None:
            self._page.close()
            self._page = None
        try:
            self._page = _open_page(new)
        except EdgewatchError as error:
            _LOG.error("reload: %s", error)


def _of_channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"


def _watch_part(config: Config) -> tuple[object, ...]:
    """What rings, thresholds and incidents depend on; silences do not disturb them."""
    alerts = msgspec.structs.replace(config.alerts, silences=(), maintenance=())
    what = (config.sources, config.channels, config.derived)
    return (config.node, config.interval_s, what, config.models, config.detection, alerts)
