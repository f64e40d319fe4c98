"""The parts of the daemon that depend on the configuration: connection, pipeline, recorder and Prometheus page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent.delivery.publisher import Publisher
from agent.integrations.inbox import Inbox
from agent.sampling.recorder import Recorder
from agent.service.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.config.schema import Config
    from agent.core.channel import Channel
    from agent.core.clock import Clock
    from agent.delivery.worker import DeliveryWorker
    from agent.integrations.prometheus import Page
    from agent.messages.command import Command
    from agent.models.bundle import Bundle

__all__ = ["Link", "Parts", "PartsFactory", "open_page", "open_recorder"]


class Link(NamedTuple):
    """The connection to the broker, with the handling of received messages.

    Parameters
    ----------
    inbox
        Handles received commands and Home Assistant discovery.
    publisher
        Publishes messages and receives those of the inbox's topics.
    """

    inbox: Inbox
    publisher: Publisher


class Parts(NamedTuple):
    """The running parts, with the configuration that they were made from.

    Parameters
    ----------
    config
        The configuration in force.
    link
        The connection to the broker.
    pipeline
        Sources, detection and incidents.
    recorder, page
        The recorder of the history and the Prometheus page; None unless configured.
    """

    config: Config
    link: Link
    pipeline: Pipeline
    recorder: Recorder | None
    page: Page | None

    def close(self) -> None:
        """Close the sources and the page, and write buffered frames of the history."""
        self.pipeline.sampler.close()
        if self.page is not None:
            self.page.close()
        if self.recorder is not None:
            self.recorder.flush()


class PartsFactory:
    """Makes parts from a configuration.

    Parameters
    ----------
    clock
        Source of time.
    delivery
        The worker that sends alerts and writes snapshots.
    instance
        Identifier of the installation; see `agent.delivery.outbox.Outbox.instance`.
    carry_out
        Carries out a remote command and returns a line for its sender.
    """

    def __init__(
        self, clock: Clock, delivery: DeliveryWorker, instance: str, carry_out: Callable[[Command], str]
    ) -> None:
        self._clock = clock
        self._delivery = delivery
        self._instance = instance
        self._carry_out = carry_out

    def link(self, config: Config) -> Link:
        """Make the connection that the section ``mqtt`` describes, without opening it.

        Raises
        ------
        UserError
            Password or TLS files cannot be used.
        """
        inbox = Inbox(config.mqtt, config.node, self._carry_out)
        publisher = Publisher(config.mqtt, config.node, self._instance, inbox.filters, self._delivery.wake)
        return Link(inbox, publisher)

    def pipeline(self, config: Config, bundles: Sequence[Bundle]) -> Pipeline:
        """Open the sources, and make sampler, detection and incidents for them.

        Raises
        ------
        UserError, EnvironmentFault
            A source cannot be used, or a bundle is for other channels.
        """
        return Pipeline(config, bundles, self._clock, self._delivery, self._instance)


def open_recorder(config: Config, channels: Sequence[Channel]) -> Recorder | None:
    """Make the recorder that the section ``history`` describes; None without this section."""
    if config.history is None:
        return None
    directory = Path(config.history.directory or Path(config.state_dir, "history"))
    return Recorder(directory, channels, config.interval_s, round(config.history.max_mb * 1e6))


def open_page(config: Config) -> Page | None:
    """Serve the page that the section ``prometheus`` describes; None without this section.

    Raises
    ------
    EnvironmentFault
        The library prometheus-client is missing, or the address cannot be listened on.
    """
    if config.prometheus is None:
        return None
    from agent.integrations.prometheus import Page  # noqa: PLC0415 - loads a web server, only if configured

    return Page(config.prometheus)
