"""Carries out remote commands, after `agent.integrations.remote_commands` has checked them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.alerting.silences import matching
from agent.core.errors import EnvironmentFault
from agent.messages.command import Acknowledge, Relearn, Silence, Unsilence

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.messages.command import Command
    from agent.service.alert_dispatch import AlertDispatch
    from agent.service.pipeline import Pipeline

__all__ = ["CommandHandler"]


class CommandHandler:
    """Carries out commands on one pipeline.

    Parameters
    ----------
    dispatch
        Sends the alerts that a command causes.
    request_reload
        Requests a reload of the configuration before the next tick.
    """

    def __init__(self, dispatch: AlertDispatch, request_reload: Callable[[], None]) -> None:
        self._dispatch = dispatch
        self._request_reload = request_reload
        self._pipeline: Pipeline | None = None
        self._carried_out = False

    def attach(self, pipeline: Pipeline) -> None:
        """Carry out further commands on this pipeline."""
        self._pipeline = pipeline

    def take_carried_out(self) -> bool:
        """Whether a command was carried out since the last call."""
        carried_out, self._carried_out = self._carried_out, False
        return carried_out

    def carry_out(self, command: Command) -> str:
        """Carry out a command; returns the text of the answer.

        Raises
        ------
        EdgewatchError
            No frame has been read yet, or the command names an incident or a channel that does not exist.
        """
        pipeline = self._pipeline
        if pipeline is None or pipeline.frame is None:
            raise EnvironmentFault("no frame has been read yet", remedy="send the command again in a moment")
        incidents, frame = pipeline.incidents, pipeline.frame
        self._carried_out = True
        if isinstance(command, Silence):
            add, limits = incidents.silences.add, command.include_limits
            count = add(command.channels, command.for_s, frame.mono_ns, include_limits=limits)
            return f"silenced for {command.for_s:g} s{', hard limits too' if limits else ''}: {_channels(count)}"
        if isinstance(command, Unsilence):
            return f"silences by command ended: {_channels(incidents.silences.lift(command.channels))}"
        if isinstance(command, Acknowledge):
            self._dispatch.send(incidents.acknowledge(command.incident, frame), pipeline)
            return "no more updates of this incident, only its close"
        if isinstance(command, Relearn):
            which = matching(command.channels, pipeline.sampler.channels)
            pipeline.monitor.relearn(which)
            self._dispatch.send(incidents.relearn(frame, which), pipeline)
            self._dispatch.collect_suppressed(pipeline)
            pipeline.keep_all(frame.seq)  # an older whole snapshot would restore what the command forgets
            return f"learned anew: {_channels(int(which.sum()))}"
        self._request_reload()
        return "the configuration is read again; the log says what came of it"


def _channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"
