"""Composes the messages ``state``, ``metrics``, ``digest`` and ``health`` from a judged frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent import __version__
from agent.core.channel import NOBODY
from agent.messages.alert import Digest
from agent.messages.status import ChannelMetric, Health, Metrics, NodeState
from agent.service.process_memory import rss_mib

if TYPE_CHECKING:
    from agent.config.schema import Config
    from agent.core.clock import Clock
    from agent.core.frame import Frame
    from agent.delivery.outbox import Outbox
    from agent.delivery.publisher import Publisher
    from agent.delivery.worker import DeliveryWorker
    from agent.detection.verdict import Verdict
    from agent.messages.alert import HeldBack
    from agent.messages.status import Status
    from agent.service.pipeline import Pipeline
    from agent.service.step_times import StepTimes

__all__ = ["AgentHealth", "Observation", "digest", "metrics", "node_state", "status_of"]


class Observation(NamedTuple):
    """A judged frame, with the configuration and the pipeline that judged it.

    Parameters
    ----------
    config
        The configuration in force.
    pipeline
        The pipeline that read and judged the frame.
    frame
        The readings of one tick.
    verdict
        The detector's verdict on them.
    """

    config: Config
    pipeline: Pipeline
    frame: Frame
    verdict: Verdict


def status_of(observed: Observation) -> Status:
    """``anomalous`` with an open incident; otherwise ``normal`` once any channel has finished learning."""
    if observed.pipeline.incidents.open:
        return "anomalous"
    return "normal" if bool((observed.verdict.progress() >= 1.0).any()) else "learning"


def node_state(observed: Observation, status: Status, since: float) -> NodeState:
    """Compose the message ``state``.

    Parameters
    ----------
    observed
        The newest frame and its verdict.
    status
        See `status_of`.
    since
        Wall time at which this status began, in seconds since 1970.
    """
    config, pipeline, frame, verdict = observed
    occupied = pipeline.sampler.occupied
    return NodeState(
        v=1,
        node=config.node,
        state=status,
        ts=frame.wall,
        since=since,
        score=round(float(verdict.score().max()), 6),
        state_score=round(verdict.state_score, 6),
        threshold=verdict.threshold,
        learning_progress=round(float(verdict.progress().max()), 3),
        provisional=bool(verdict.provisional()[occupied].any()),
        channels=len(occupied),
        open_incidents=pipeline.incidents.open,
        silenced=pipeline.incidents.silenced,
        commands=config.mqtt.commands,
    )


def metrics(observed: Observation) -> Metrics:
    """Compose the message ``metrics``: value, normal range and score of every channel."""
    config, pipeline, frame, verdict = observed
    columns = zip(
        pipeline.sampler.channels,
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
    return Metrics(1, config.node, frame.wall, frame.seq, score, verdict.state_score, channels)


def digest(observed: Observation, suppressed: int, strongest: tuple[HeldBack, ...]) -> Digest:
    """Compose the message ``digest``.

    Parameters
    ----------
    observed
        The newest frame and its verdict.
    suppressed
        Number of incidents suppressed since the start of the agent.
    strongest
        The strongest suppressed incidents of the last 24 hours, strongest first.
    """
    config, pipeline, frame, _ = observed
    needed = pipeline.incidents.budget.needed(frame.seq * config.interval_s)
    return Digest(
        v=1,
        node=config.node,
        ts=frame.wall,
        budget_per_day=config.alerts.budget_per_day,
        needed=round(needed, 3),
        suppressed=suppressed,
        incidents=strongest,
    )


class AgentHealth:
    """Composes the message ``health``: step times, memory, deliveries and failures of the agent itself.

    Parameters
    ----------
    clock
        Source of time; ``uptime_s`` counts from the construction of this object.
    times
        Durations of the steps.
    outbox
        Queue of alerts.
    delivery
        The worker that empties the outbox.
    """

    def __init__(self, clock: Clock, times: StepTimes, outbox: Outbox, delivery: DeliveryWorker) -> None:
        self._clock = clock
        self._started_ns = clock.monotonic_ns()
        self._times = times
        self._outbox = outbox
        self._delivery = delivery

    def message(self, observed: Observation, publisher: Publisher, suppressed: int) -> Health:
        """Compose the message ``health``.

        Parameters
        ----------
        observed
            The newest frame and its verdict.
        publisher
            The present connection to the broker.
        suppressed
            Number of incidents suppressed since the start of the agent.
        """
        config, pipeline, frame, _ = observed
        median_ms, high_ms = self._times.quantiles_ms()
        sampler = pipeline.sampler
        return Health(
            v=1,
            node=config.node,
            ts=frame.wall,
            version=__version__,
            model=pipeline.model,
            uptime_s=round((self._clock.monotonic_ns() - self._started_ns) / 1e9, 3),
            clock_synced=self._clock.synchronised(),
            interval_s=config.interval_s,
            steps=self._times.count,
            missed_ticks=sampler.missed,
            step_ms_p50=median_ms,
            step_ms_p99=high_ms,
            invalid_readings=pipeline.monitor.invalid + sampler.invalid,
            source_failures=sampler.failures,
            left_out=sampler.left_out,
            outbox_depth=self._delivery.depth,
            outbox_durable=self._outbox.durable,
            dropped=self._outbox.dropped,
            reconnects=publisher.reconnects,
            rss_mib=round(rss_mib(), 2),
            suppressed=suppressed,
            refused=publisher.refused,
            discarded=publisher.discarded,
            snapshot_bytes=pipeline.checkpoints.written,
            snapshot_failures=pipeline.checkpoints.failures,
        )
