"""The daemon: wires sources, models, thresholds, incidents, outbox and publisher, and keeps them going."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent import __version__, bundle
from agent.digest import Held
from agent.errors import EdgewatchError
from agent.health import StepTimes, rss_mib
from agent.history import History
from agent.incidents import Incidents
from agent.monitor import Monitor
from agent.notify import Notifier
from agent.outbox import Outbox
from agent.publisher import Publisher
from agent.sampler import Sampler
from agent.sources import source_class
from agent.types import ChannelMetric, Digest, Health, Metrics, NodeState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.clock import Clock
    from agent.config import Config
    from agent.sources.base import Source
    from agent.types import Alert, Channel, Frame, HeldBack, Status, Verdict

__all__ = ["Daemon", "load_bundles", "open_sources"]

_LOG = logging.getLogger(__name__)
_STATE_INTERVAL_S = 60.0
_DIGEST_INTERVAL_S = 60.0


def load_bundles(config: Config) -> list[bundle.Bundle]:
    """Load and verify the bundles that a config names."""
    return [bundle.load_builtin() if name == "builtin" else bundle.load(Path(name)) for name in config.models]


def open_sources(config: Config) -> list[tuple[str, Source]]:
    """Open every source of a config, named by type and position where a type stands twice."""
    types = [part.type for part in config.sources]
    opened: list[tuple[str, Source]] = []
    try:
        for position, part in enumerate(config.sources):
            name = part.type if types.count(part.type) == 1 else f"{part.type}[{position}]"
            opened.append((name, source_class(part.type)(part, config.interval_s)))
    except BaseException as error:
        if isinstance(error, EdgewatchError) and error.place.startswith("$"):
            # A source knows the path of its own keys only.
            error.place = f"$.sources[{len(opened)}]{error.place[1:]}"
        for _, source in opened:
            source.close()
        raise
    return opened


class _Watch:
    """What depends on the channels: sources, sampler, monitor and incidents."""

    def __init__(self, config: Config, clock: Clock, outbox: Outbox) -> None:
        models = load_bundles(config)
        self.sampler = Sampler(open_sources(config), config.interval_s, clock)
        self.model = bundle.labels(models)
        self.monitor = Monitor(self.sampler.channels, models, config.detection, config.alerts, config.interval_s)
        self.incidents = Incidents(
            self.sampler.channels,
            config.alerts,
            config.interval_s,
            node=config.node,
            model=self.model,
            instance=outbox.instance,
            next_seq=outbox.next_seq,
            clock_synced=clock.synchronised,
        )


def _open_history(config: Config, channels: Sequence[Channel]) -> History | None:
    if config.history is None:
        return None
    directory = Path(config.history.directory or Path(config.state_dir, "history"))
    return History(directory, channels, config.interval_s, round(config.history.max_mb * 1e6))


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
        self._config = config
        self._clock = clock
        self._reload = reload
        self._reload_requested = False
        self._outbox = Outbox(Path(config.state_dir))
        self._publisher = Publisher(config.mqtt, config.node, self._outbox.instance)
        self._watch = _Watch(config, clock, self._outbox)
        self._history = _open_history(config, self._watch.sampler.channels)
        self._times = StepTimes()
        self._started_ns = clock.monotonic_ns()
        self._state: Status = "learning"
        self._since = clock.wall()
        self._said: tuple[object, ...] = ()
        self._held = Held()
        self._digested: tuple[HeldBack, ...] = ()
        self._frame: Frame | None = None
        self._notify = Notifier(clock)
        self._due = dict.fromkeys(("state", "metrics", "health", "digest"), self._started_ns)

    def request_reload(self) -> None:
        """Read the configuration again before the next tick; safe in a signal handler."""
        self._reload_requested = True

    def run(self) -> None:
        """Sample, judge and publish until told to stop; then close what is open and say `offline`."""
        self._publisher.start()
        channels = len(self._watch.sampler.channels)
        _LOG.info("watching %d channels every %g s with %s", channels, self._config.interval_s, self._watch.model)
        try:
            while self._run_watch():
                pass
        finally:
            self._notify.stopping()
            self._close_incidents()
            self._publisher.stop(self._outbox)
            self._watch.sampler.close()
            if self._history is not None:
                self._history.flush()
            self._outbox.close()
            _LOG.info("stopped after %d steps", self._times.count)

    def _run_watch(self) -> bool:
        """Run until stopped or, then True, until a reload has put another watch in place."""
        for frame in self._watch.sampler.frames():
            begin = time.perf_counter()
            self._frame = frame
            if self._history is not None:
                self._history.add(frame)
            verdict = self._watch.monitor.step(frame)
            self._times.add(time.perf_counter() - begin)
            self._raise(self._watch.incidents.step(frame, verdict))
            self._hold_back()
            self._publisher.pump(self._outbox)
            self._publish(frame, verdict)
            self._notify.status(f"{self._state}, open incidents: {len(self._watch.incidents.open)}")
            self._notify.alive(self._config.interval_s)
            if self._reload_requested:
                self._reload_requested = False
                with self._notify.reloading():
                    replaced = self._apply_reload()
                if replaced:
                    return True
        return False

    def _raise(self, alerts: list[Alert]) -> None:
        """Commit alerts to the outbox; from here on they are not lost."""
        if not alerts:
            return
        self._outbox.append(alerts)
        if not self._publisher.connected:
            self._outbox.mark_late()
        for alert in alerts:
            _LOG.info("%s %s %s: %s", alert.phase, alert.severity, alert.id, alert.summary)

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

    def _close_incidents(self) -> None:
        if self._frame is not None:
            self._raise(self._watch.incidents.stop(self._frame))
            self._hold_back()

    def _publish(self, frame: Frame, verdict: Verdict) -> None:
        """Say what is new or due: state at once when it changes, the rest at its own pace."""
        renewed = self._publisher.renewed()
        mqtt = self._config.mqtt
        open_incidents = self._watch.incidents.open
        learning = not bool((verdict.progress() >= 1.0).any())
        state: Status = "anomalous" if open_incidents else "learning" if learning else "normal"
        if state != self._state:
            self._state, self._since = state, frame.wall
        changed = (state, open_incidents) != self._said
        if self._is_due("state", _STATE_INTERVAL_S) or changed or renewed:
            self._said = (state, open_incidents)
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
            provisional=bool(verdict.provisional().any()),
            channels=verdict.value.size,
            open_incidents=self._watch.incidents.open,
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
            invalid_readings=self._watch.monitor.invalid,
            source_failures=sampler.failures,
            outbox_depth=self._outbox.depth,
            outbox_durable=self._outbox.durable,
            dropped=self._outbox.dropped,
            reconnects=self._publisher.reconnects,
            rss_mib=round(rss_mib(), 2),
            suppressed=self._held.count,
        )

    def _apply_reload(self) -> bool:
        """Take over what changed in the configuration; True when the watch was replaced."""
        if self._reload is None:
            return False
        old = self._config
        try:
            new = self._reload()
            publisher = None
            if (new.mqtt, new.node) != (old.mqtt, old.node):
                publisher = Publisher(new.mqtt, new.node, self._outbox.instance)
            watch = None
            if _watch_part(new) != _watch_part(old):
                watch = _Watch(new, self._clock, self._outbox)
        except EdgewatchError as error:
            _LOG.error("reload: %s", error)
            _LOG.error("reload: nothing was changed")
            return False
        if new.state_dir != old.state_dir:
            _LOG.warning("reload: a new state_dir takes effect at the next start")
        if watch is not None:
            self._close_incidents()
            self._frame = None
            self._watch.sampler.close()
            watch.incidents.continue_from(self._outbox.next_seq)
            self._watch = watch
        if publisher is not None:
            self._publisher.stop(self._outbox)
            self._publisher = publisher
            publisher.start()
        if watch is not None or new.history != old.history:
            if self._history is not None:
                self._history.flush()
            self._history = _open_history(new, self._watch.sampler.channels)
        self._config = new
        _LOG.info("reload: done; channels %s", "start afresh" if watch else "go on as they were")
        return watch is not None


def _watch_part(config: Config) -> tuple[object, ...]:
    """What rings, thresholds and incidents depend on."""
    return (config.node, config.interval_s, config.sources, config.models, config.detection, config.alerts)
