"""Reads the configuration again and replaces the parts whose settings have changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from agent.core.errors import EdgewatchError
from agent.models.last_good import load_bundles, load_or_last_good
from agent.service.parts import Parts, open_page, open_recorder
from agent.service.pipeline import manifests

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config.schema import Config
    from agent.core.clock import Clock
    from agent.delivery.worker import DeliveryWorker
    from agent.integrations.prometheus import Page
    from agent.service.alert_dispatch import AlertDispatch
    from agent.service.parts import Link, PartsFactory
    from agent.service.pipeline import Pipeline

__all__ = ["Reload"]

_LOG = logging.getLogger(__name__)


class Reload:
    """Applies a changed configuration; an unusable one changes nothing.

    Parameters
    ----------
    read
        Reads the configuration; raises `EdgewatchError` if it cannot be used. None: `apply` does nothing.
    factory
        Makes new parts.
    delivery
        The worker that is given a new connection.
    dispatch
        Sends the `close` of incidents whose pipeline is replaced.
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

    def apply(self, parts: Parts) -> Parts:
        """Read the configuration and replace the parts whose settings have changed.

        Returns
        -------
        Parts
            The parts to run from now on; the same object if the configuration cannot be used.
        """
        if self._read is None:
            return parts
        old = parts.config
        try:
            new = self._read()
            link, pipeline = self._made_for(new, parts)
        except EdgewatchError as error:
            _LOG.error("reload: %s", error)
            _LOG.error("reload: nothing was changed")
            return parts
        if new.state_dir != old.state_dir:
            _LOG.warning("reload: a new state_dir takes effect at the next start")
        if pipeline is not None:
            self._replace_pipeline(parts.pipeline, pipeline)
        else:
            parts.pipeline.incidents.silences.configure(new.alerts)
            if parts.pipeline.frame is not None:
                parts.pipeline.keep_all(parts.pipeline.frame.seq)
        if link is not None:
            self._delivery.change_publisher(link.publisher)
        page = parts.page if new.prometheus == old.prometheus else _replaced_page(parts.page, new)
        recorder, channels = parts.recorder, (pipeline or parts.pipeline).sampler.channels
        if pipeline is not None or new.history != old.history:
            if recorder is not None:
                recorder.flush()
            recorder = open_recorder(new, channels)
        _LOG.info("reload: done; learning %s", "starts afresh" if pipeline else "continues")
        return Parts(new, link or parts.link, pipeline or parts.pipeline, recorder, page)

    def _made_for(self, new: Config, parts: Parts) -> tuple[Link | None, Pipeline | None]:
        """Make the parts that the new configuration changes; None for those that stay.

        Raises
        ------
        UserError, EnvironmentFault
            A part cannot be made.
        """
        old, link, pipeline = parts.config, None, None
        if (new.mqtt, new.node) != (old.mqtt, old.node):
            link = self._factory.link(new)
        # Changed files of a bundle also require a new pipeline.
        bundles = load_bundles(new, parts.pipeline.bundles)
        if _pipeline_keys(new) != _pipeline_keys(old) or parts.pipeline.models != manifests(bundles):
            pipeline = self._factory.pipeline(new, load_or_last_good(new, bundles))
        return link, pipeline

    def _replace_pipeline(self, former: Pipeline, new: Pipeline) -> None:
        """Close the incidents of the former pipeline, and continue its alert numbers and silences."""
        self._dispatch.close_incidents(former)
        new.succeed(former, self._clock.monotonic_ns())
        former.sampler.close()


def _replaced_page(page: Page | None, new: Config) -> Page | None:
    """Close the Prometheus page and serve it as configured now; None if it is not configured or fails (logged)."""
    if page is not None:
        page.close()
    try:
        return open_page(new)
    except EdgewatchError as error:
        _LOG.error("reload: %s", error)
        return None


def _pipeline_keys(config: Config) -> tuple[object, ...]:
    """Settings that require a new pipeline when changed; silences are not among them, they change in place."""
    alerts = msgspec.structs.replace(config.alerts, silences=(), maintenance=())
    channels = (config.sources, config.channels, config.derived)
    return (config.node, config.interval_s, channels, config.models, config.detection, alerts)
