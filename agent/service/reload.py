"""Reads the configuration again and replaces the parts for which it has changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from agent.core.errors import EdgewatchError
from agent.models.last_good import load_bundles, load_or_last_good
from agent.service.parts import open_page, open_recorder
from agent.service.pipeline import manifests

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config.schema import Config
    from agent.core.clock import Clock
    from agent.delivery.worker import DeliveryWorker
    from agent.service.alert_dispatch import AlertDispatch
    from agent.service.parts import Link, Parts, PartsFactory
    from agent.service.pipeline import Pipeline

__all__ = ["Reload"]

_LOG = logging.getLogger(__name__)


class Reload:
    """Takes over a new configuration; one that cannot be used changes nothing.

    Parameters
    ----------
    read
        Reads the configuration; raises `EdgewatchError` for one that cannot be used. None: there is nothing to read.
    factory
        Makes new parts.
    delivery
        Has to use a new connection.
    dispatch
        Passes on the close of incidents whose pipeline ends.
    clock
        Source of time.
    """

    def __init__(
        self,
        read: Callable[[], Config] | None,
        factory: PartsFactory,
        delivery: DeliveryWorker,
        dispatch: AlertDispatch,
        clock: Clock,
    ) -> None:
        self._read = read
        self._factory = factory
        self._delivery = delivery
        self._dispatch = dispatch
        self._clock = clock

    def apply(self, parts: Parts) -> bool:
        """Take over what changed in the configuration.

        Returns
        -------
        Whether the pipeline was replaced.
        """
        if self._read is None:
            return False
        try:
            new = self._read()
            link, pipeline = self._made_for(new, parts)
        except EdgewatchError as error:
            _LOG.error("reload: %s", error)
            _LOG.error("reload: nothing was changed")
            return False
        old = parts.config
        if new.state_dir != old.state_dir:
            _LOG.warning("reload: a new state_dir takes effect at the next start")
        if pipeline is not None:
            self._replace_pipeline(parts, pipeline)
        else:
            parts.pipeline.incidents.silences.configure(new.alerts)
            if parts.pipeline.frame is not None:
                parts.pipeline.keep_all(parts.pipeline.frame.seq)
        if link is not None:
            parts.link = link
            self._delivery.change_publisher(link.publisher)
        _replace_page(parts, new)
        if pipeline is not None or new.history != old.history:
            if parts.recorder is not None:
                parts.recorder.flush()
            parts.recorder = open_recorder(new, parts.pipeline.sampler.channels)
        parts.config = new
        _LOG.info("reload: done; channels %s", "start afresh" if pipeline else "go on as they were")
        return pipeline is not None

    def _made_for(self, new: Config, parts: Parts) -> tuple[Link | None, Pipeline | None]:
        """Make the parts that have to be others under a new configuration; None where the present one stays.

        Raises
        ------
        UserError, EnvironmentFault
            One cannot be made.
        """
        old, link, pipeline = parts.config, None, None
        if (new.mqtt, new.node) != (old.mqtt, old.node):
            link = self._factory.link(new)
        # A new pipeline also where only the files of a bundle have changed.
        bundles = load_bundles(new, parts.pipeline.bundles)
        if _pipeline_keys(new) != _pipeline_keys(old) or parts.pipeline.models != manifests(bundles):
            pipeline = self._factory.pipeline(new, load_or_last_good(new, bundles))
        return link, pipeline

    def _replace_pipeline(self, parts: Parts, new: Pipeline) -> None:
        """Close the incidents of the present pipeline and continue with its numbers and silences."""
        former = parts.pipeline
        self._dispatch.close_incidents(former)
        new.succeed(former, self._clock.monotonic_ns())
        former.sampler.close()
        parts.pipeline = new


def _replace_page(parts: Parts, new: Config) -> None:
    """Serve the page for Prometheus as it is configured now; a failure is logged and leaves no page."""
    if new.prometheus == parts.config.prometheus:
        return
    if parts.page is not None:
        parts.page.close()
        parts.page = None
    try:
        parts.page = open_page(new)
    except EdgewatchError as error:
        _LOG.error("reload: %s", error)


def _pipeline_keys(config: Config) -> tuple[object, ...]:
    """Keys that a pipeline depends on; silences are changed while it runs."""
    alerts = msgspec.structs.replace(config.alerts, silences=(), maintenance=())
    channels = (config.sources, config.channels, config.derived)
    return (config.node, config.interval_s, channels, config.models, config.detection, alerts)
