"""Incidents: groups anomalous channels and ticks into incidents that open, are updated, and close."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agent.alerting.alert_writer import AlertWriter
from agent.alerting.anomaly_kinds import AnomalyKinds
from agent.alerting.audibility import Audibility
from agent.alerting.budget import AlertBudget
from agent.alerting.classification import Classifier
from agent.alerting.confirmation import LIMIT, Confirmation
from agent.alerting.hard_limits import HardLimits
from agent.alerting.incident import CRITICAL_STRENGTH, Incident
from agent.alerting.packed_incidents import pack_incidents, unpack_incidents
from agent.alerting.silences import Silences
from agent.core.errors import UserError
from agent.core.persistent_state import CHANNEL, Part, State, array, below, capture, number, restore

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from agent.alerting.settings import AlertsConfig
    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.detection.verdict import Verdict
    from agent.messages.alert import Alert, HeldBack, Phase

__all__ = ["Incidents"]

# Smallest time between messages of an incident, except its close, seconds. Chosen by hand.
_UPDATE_PAUSE_S = 10.0


class IncidentsState(State):
    """Fields of `Incidents` that outlive a restart, beside the open incidents and the states of its parts."""

    next_seq: int = number("number of the next alert", initial=1)
    # Of each channel's last incident: tick of the onset, and tick until which a new incident takes over this onset.
    last_onset: IntArray = array("ticks", CHANNEL, dtype=np.int64)
    same_until: IntArray = array("ticks", CHANNEL, initial=-1, dtype=np.int64)
    # Whether a channel is in an incident, by reason: `UNUSUAL` and `LIMIT`.
    member: BoolArray = array("flag", 2, CHANNEL, dtype=bool)
    learning: bool = number("flag", initial=True)
    count: int = number("incidents so far, sent or suppressed", initial=0)


class Incidents:
    """Opens, updates and closes incidents over a stream of verdicts.

    A channel opens an incident when four fifths of its readings within ``confirm_s`` were anomalous. Channels that
    follow within ``merge_s`` join it. It closes when none of its channels was anomalous for ``clear_s``; they then open
    no other for ``cooldown_s``. A channel that was quiet for both times together leaves an incident that others keep
    open, and its next anomaly opens another one. Times are counted in ticks, so that replay decides as operation does.

    An incident is sent when the alert budget admits its strength, possibly later, when it has grown. Until then it has
    neither identifier nor messages. A value at or beyond a hard limit for four fifths of ``confirm_s`` is a critical
    incident that bypasses the budget and has its own cool-down. It ends when the value is back by half of the channel's
    smallest effect.

    Silenced channels have incidents of their own, which are not sent. An incident that outlasts its silence is then
    offered to the budget. An incident sent before gets no updates while all its channels are silenced; its close is
    still sent.

    Parameters
    ----------
    channels
        In the order of the verdicts' arrays.
    config
        The section ``alerts``.
    interval_s
        Seconds between frames.
    node, model
        Names in alerts.
    instance
        Part of the identifiers; distinguishes installations of the same node name.
    next_seq
        Number of the next alert.
    clock_synced
        Function that tells whether the wall clock can be trusted; called once per message.
    every
        int64[n_channels], frames between the readings of each channel; 1 for all by default.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        config: AlertsConfig,
        interval_s: float,
        *,
        node: str,
        model: str,
        instance: str,
        next_seq: int = 1,
        clock_synced: Callable[[], bool] = lambda: True,
        every: IntArray | None = None,
    ) -> None:
        n = len(channels)
        self._channels = list(channels)
        self._interval_s = interval_s
        self._name = f"{node}-{instance}"
        self._merge_rows = round(config.merge_s / interval_s)
        self._pause_rows = round(_UPDATE_PAUSE_S / interval_s)
        self._limits = HardLimits(channels)
        self._confirmation = Confirmation(config, interval_s, np.ones(n, np.int64) if every is None else every)
        self._writer = AlertWriter(channels, interval_s, node=node, model=model, clock_synced=clock_synced)
        #: Classifier of anomalies, with the recent values.
        self.classifier = Classifier(channels, interval_s)
        self.budget = AlertBudget(config.budget_per_day)
        self.silences = Silences(channels, config)
        self._kinds = AnomalyKinds(self.classifier)
        self._audibility = Audibility()
        self._state = IncidentsState(channel=n)
        self._state.next_seq = next_seq
        self._open: list[Incident] = []
        # Incidents of an earlier run with other channels or another configuration; the next tick closes them.
        self._foreign: list[Incident] = []
        self._suppressed: list[HeldBack] = []

    @property
    def learning(self) -> bool:
        """Whether no channel has been learned yet."""
        return self._state.learning

    @property
    def count(self) -> int:
        """Incidents so far, sent or suppressed."""
        return self._state.count

    @property
    def next_seq(self) -> int:
        """Number of the next alert."""
        return self._state.next_seq

    @property
    def open(self) -> tuple[str, ...]:
        """Identifiers of the incidents that are open and were sent, oldest first."""
        return tuple(incident.stem for incident in self._open if incident.stem)

    @property
    def silenced(self) -> int:
        """Number of channels that are silenced at this tick."""
        return self._audibility.silenced

    def candidates(self) -> list[tuple[int, float]]:
        """Number (from 1) and strength of open incidents that are not silenced; infinite strength at a hard limit."""
        heard = [incident for incident in self._open if not self._audibility.is_silent(incident)]
        return [(incident.number, math.inf if incident.limit else incident.strength) for incident in heard]

    def take_suppressed(self) -> list[HeldBack]:
        """Incidents that have ended since the last call without having been sent."""
        suppressed, self._suppressed = self._suppressed, []
        return suppressed

    def step(self, frame: Frame, verdict: Verdict) -> list[Alert]:
        """Update with a verdict; return the messages to be sent, in order."""
        foreign, self._foreign = self._foreign, []
        alerts = [self._message(incident, frame, "close", "stopped") for incident in foreign]
        return alerts + self._step(frame, verdict)

    def _step(self, frame: Frame, verdict: Verdict) -> list[Alert]:
        self.classifier.push(frame.values)
        state = self._state
        if state.learning:
            progress = verdict.progress()
            state.learning = not (progress >= 1.0).any()
            self.budget.begin(frame.seq * self._interval_s)
        at_limit = self._limits.reached(frame.values)
        self._audibility.update(self.silences.at(frame))
        eventful = np.count_nonzero(verdict.anomalous) or np.count_nonzero(at_limit)
        if not (self._open or self._confirmation.pending or eventful):
            return []  # shortcut: no state would change
        waiting = missing = np.isnan(verdict.value)
        anomalous = np.stack((verdict.anomalous, at_limit))
        if frame.due is not None:  # channels without a due reading keep their state
            missing = missing & frame.due
            anomalous &= frame.due
        confirmed = self._confirmation.push(anomalous, missing, waiting, frame.seq) & ~state.member
        if confirmed[LIMIT].any():
            self._reach_limit(np.flatnonzero(confirmed[LIMIT]))
        limited = state.member[LIMIT] | confirmed[LIMIT]
        strength = np.where(limited & at_limit, np.maximum(verdict.peak, CRITICAL_STRENGTH), verdict.peak)
        back = ~limited | self._limits.left(frame.values)
        self._confirmation.count_quiet(~verdict.anomalous & back & ~waiting, waiting)

        new = confirmed.any(axis=0) & ~state.member.any(axis=0)
        state.member |= confirmed
        silent = self._audibility.apply(state.member)
        if new.any():
            began = np.where(confirmed, self._confirmation.began, frame.seq).min(axis=0)
            for those in (new,) if silent is None else (new & ~silent, new & silent):
                if those.any():
                    self._join_or_open(np.flatnonzero(those), began, frame, verdict, strength)
        present = np.where(anomalous.any(axis=0), strength, 0.0)
        return [alert for incident in tuple(self._open) for alert in self._follow(incident, frame, verdict, present)]

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`; `classifier` and `silences` are stored with the learned state instead."""
        yield Part("incidents", self._state)
        yield from below("confirmation", self._confirmation)
        yield from below("budget", self.budget)

    def continue_from(self, next_seq: int) -> None:
        """Set the number of the next alert; call before the first `step`."""
        self._state.next_seq = next_seq

    def packed(self, belongs_to: str) -> bytes:
        """Encode the state needed to continue these incidents after a restart, except `classifier` and `silences`.

        Parameters
        ----------
        belongs_to
            Fingerprint of the present channels and configuration.
        """
        return pack_incidents(self._open, capture(self), belongs_to)

    def resume(self, packed: bytes, belongs_to: Container[str]) -> list[str]:
        """Continue the incidents of an earlier run; call before the first `step`.

        The next `step` closes incidents of other channels or another configuration, and those with unreadable records.

        Parameters
        ----------
        packed
            Made by `packed` of this version or an earlier one.
        belongs_to
            Accepted fingerprints of the present channels and configuration.

        Returns
        -------
        One line per part that cannot be used, with the reason.

        Raises
        ------
        Unusable
            The data is unreadable; nothing was changed.
        """
        state, next_seq = self._state, self._state.next_seq
        found = unpack_incidents(packed, belongs_to, len(self._channels))
        self._foreign = [incident for incident in found.foreign if incident.stem]
        if found.records is None:
            return found.dropped
        unfit = restore(self, [found.records])
        dropped = found.dropped + [f"{path} {reason}" for path, reason in unfit.items()]
        # The outbox stores the number, too, and may be ahead.
        state.next_seq = max(next_seq, state.next_seq)
        if unfit.keys() & {"incidents", "confirmation"}:
            self._foreign = [incident for incident in found.ours if incident.stem]
            state.member[:] = False
            return dropped
        self._open = found.ours
        if found.dropped:  # release the channels of lost incidents
            members = [channel for incident in found.ours for channel in incident.present]
            state.member[:, np.setdiff1d(np.arange(len(self._channels)), members)] = False
        return dropped

    def succeed(self, former: Incidents, next_seq: int) -> None:
        """Replace incidents that cannot be continued; the next `step` closes those that were sent.

        Parameters
        ----------
        former
            Incidents before a change of channels or configuration; their silences are taken over.
        next_seq
            Number of the next alert.
        """
        self._state.next_seq = next_seq
        self.silences = former.silences
        sent = (incident for incident in (*former._foreign, *former._open) if incident.stem)
        self._foreign = [incident for incident in sent if incident.is_sound()]

    def stop(self, frame: Frame) -> list[Alert]:
        """Close all open incidents, before the agent ends."""
        return self._close_all(tuple(self._open), frame, "stopped")

    def relearn(self, frame: Frame, which: BoolArray) -> list[Alert]:
        """Close the incidents of channels, bool[n_channels], that are learned afresh."""
        self._state.learning = self._state.learning or bool(which.all())
        return self._close_all([each for each in self._open if which[list(each.worst)].any()], frame, "relearned")

    def replace(self, indices: IntArray, channels: Sequence[Channel], frame: Frame | None) -> list[Alert]:
        """Assign indices of the frame to other channels and close the incidents of the former ones.

        Parameters
        ----------
        indices, channels
            int64[m], indices in the frame, and the channel that each is assigned to.
        frame
            The newest; None before the first, when no incident is open.
        """
        gone = set(indices.tolist())
        those = [each for each in self._open if not gone.isdisjoint(each.worst)]
        alerts = self._close_all(those, frame, "missing") if frame is not None else []
        for part in (self._state, self._confirmation, self.classifier):
            part.reset(indices)
        self._limits.replace(indices, channels)
        for index, channel in zip(indices.tolist(), channels, strict=True):
            self._channels[index] = channel
        self.classifier.rename(self._channels)
        self._writer.rename(self._channels)
        self.silences.rename(self._channels, indices)
        return alerts

    def acknowledge(self, name: str, frame: Frame) -> list[Alert]:
        """Acknowledge an open incident: send one update, then no more until it closes.

        Parameters
        ----------
        name
            ``incident`` or ``id`` of one of its alerts.
        frame
            The newest.

        Raises
        ------
        UserError
            There is no such open incident.
        """
        incident = next((each for each in self._open if each.is_about(name)), None)
        if incident is None:
            raise UserError(f"no open incident {name!r}", remedy="the topic state lists the open ones")
        if incident.acknowledged:
            return []
        incident.acknowledged = True
        return [self._message(incident, frame, "update", "acknowledged")]

    def _reach_limit(self, channels: IntArray) -> None:
        """Turn open incidents of these channels, int64[m], into incidents at a hard limit."""
        for incident in self._open:
            for channel in incident.present & set(channels.tolist()):
                incident.limit = True
                incident.pending = "limit"
                # Restart at 0, so that the value at the limit is reported, not an earlier stronger one.
                incident.worst[channel] = (0.0, incident.worst[channel][1])

    def _join_or_open(
        self, new: IntArray, began: IntArray, frame: Frame, verdict: Verdict, strength: Float64Array
    ) -> None:
        state = self._state
        silent = self._audibility.are_silent(new.tolist())
        recent = (i for i in self._open if frame.seq - i.opened_seq <= self._merge_rows)
        joined = next((i for i in recent if self._audibility.is_silent(i) is silent), None)
        incident = joined or self._opened(int(began[new].min()), frame, verdict)
        self._confirmation.restart(new)
        for channel, look in self._writer.contributors(new, verdict, strength, state.member[LIMIT]):
            incident.worst[channel] = look
            incident.left.discard(channel)
            continues = state.same_until[channel] >= began[channel]
            onset = int(state.last_onset[channel] if continues else began[channel])
            self._kinds.begin(incident, channel, onset, verdict, frame.seq)
        incident.provisional &= bool(verdict.provisional()[new].all())
        if state.member[LIMIT, new].any():
            incident.limit = True
            incident.pending = "limit"
        elif joined is not None:
            incident.pending = incident.pending or "joined"

    def _opened(self, started: int, frame: Frame, verdict: Verdict) -> Incident:
        """Open an incident whose first anomalous reading was at tick ``started``."""
        self._state.count += 1
        incident = Incident(
            number=self._state.count,
            threshold=verdict.threshold,
            started_seq=started,
            opened_seq=frame.seq,
            started=frame.wall - (frame.seq - started) * self._interval_s,
            last_message_seq=frame.seq,
        )
        self._open.append(incident)
        return incident

    def _follow(self, incident: Incident, frame: Frame, verdict: Verdict, strength: Float64Array) -> list[Alert]:
        """Update an incident; return its close, a due update, or its opening message."""
        state, confirmation = self._state, self._confirmation
        members = np.array([channel for channel in incident.worst if channel not in incident.left])
        worse = [c for c in members.tolist() if strength[c] > incident.worst[c][0]]
        incident.worst.update(self._writer.contributors(worse, verdict, strength, state.member[LIMIT]))
        self._kinds.follow(incident, members[verdict.anomalous[members]].tolist(), verdict, frame.seq)
        gone = confirmation.is_gone(members)
        accepted = verdict.accepted[members] & ~state.member[LIMIT, members]
        incident.accepted |= bool(accepted.any())
        if (confirmation.is_quiet(members) | gone | accepted).all():
            reason = "accepted" if incident.accepted else "missing" if gone.all() else "recovered"
            return self._close(incident, frame, reason)
        for channel in members[confirmation.is_long_quiet(members)].tolist():
            self._leave(incident, channel, frame, at_once=True)
            incident.left.add(channel)
        if self._kinds.revise_due(incident, frame.seq):
            incident.pending = incident.pending or "revised"
        severity = incident.present_severity()
        if severity != incident.severity:
            incident.severity = severity
            incident.pending = incident.pending or "severity"
        if not incident.stem:
            return self._offer(incident, frame, strength)
        due = incident.pending and frame.seq - incident.last_message_seq >= self._pause_rows
        if due and not incident.acknowledged and not self._audibility.is_silent(incident):
            return [self._message(incident, frame, "update", incident.pending)]
        return []

    def _offer(self, incident: Incident, frame: Frame, strength: Float64Array) -> list[Alert]:
        """Open message of an incident that is not silenced and passes the budget or is at a hard limit."""
        now_s = frame.seq * self._interval_s
        incident.needed = min(incident.needed, self.budget.needed(now_s))
        heard = self._audibility.heard(incident)
        incident.silenced |= len(heard) < len(incident.worst)
        if incident.silenced and not strength[heard].any():
            return []  # no channel outside the silence is anomalous now
        limit = bool(self._state.member[LIMIT, heard].any())
        if not (limit or self.budget.admits(sum(incident.worst[c][0] for c in heard), now_s)):
            return []
        incident.stem = f"{self._name}-{self._state.next_seq:06d}"
        return [self._message(incident, frame, "open", "limit" if limit else "onset")]

    def _close_all(self, those: Sequence[Incident], frame: Frame, reason: str) -> list[Alert]:
        return [alert for incident in those for alert in self._close(incident, frame, reason)]

    def _close(self, incident: Incident, frame: Frame, reason: str) -> list[Alert]:
        self._open.remove(incident)
        self._kinds.revise_all(incident, frame.seq)
        for channel in incident.present:
            self._leave(incident, channel, frame)
        if incident.stem:
            return [self._message(incident, frame, "close", reason)]
        self._suppressed.append(self._writer.suppressed(incident, frame, reason))
        return []

    def _leave(self, incident: Incident, channel: int, frame: Frame, *, at_once: bool = False) -> None:
        """Remove a channel from an incident and start its cool-down; ``at_once`` skips the cool-down."""
        state, look_rows = self._state, self.classifier.look_rows
        self._confirmation.cool_down(channel, frame.seq, state.member[:, channel], at_once=at_once)
        state.member[:, channel] = False
        state.last_onset[channel] = incident.onset[channel]
        # Bounded, because the classifier must still remember the values before the onset.
        state.same_until[channel] = min(frame.seq, incident.onset[channel] + look_rows) + look_rows

    def _message(self, incident: Incident, frame: Frame, phase: Phase, reason: str) -> Alert:
        alert = self._writer.alert(incident, frame, phase, reason, self._state.next_seq)
        self._state.next_seq += 1
        return alert
