"""Incidents: what people are told. Anomalous ticks become one incident with a beginning, a course and an end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.alerting.alert_writer import limit_reached, rounded_number, summary_text
from agent.alerting.budget import AlertBudget
from agent.alerting.classification import Classifier
from agent.alerting.hard_limits import HardLimits
from agent.alerting.incident import Incident
from agent.alerting.silences import Silences
from agent.core.errors import UNREADABLE, UserError
from agent.core.legacy_records import incident_records
from agent.core.persistent_state import (
    CHANNEL,
    Part,
    State,
    Unusable,
    array,
    below,
    capture,
    number,
    pack,
    restore,
    unpack,
)
from agent.detection.verdict import bounded_score
from agent.messages.alert import Alert, Contributor, HeldBack

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence
    from typing import Literal

    from agent.alerting.settings import AlertsConfig
    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.detection.verdict import Verdict
    from agent.messages.alert import AnomalyKind, Phase, Severity


__all__ = ["Incidents", "PackedIncidents"]

_CONTRIBUTORS = 5
# A channel is quiet again below this share of its limit: less than 1, so that an incident does not flicker.
_QUIET = 0.8
# Quiet readings that end an incident where they come more slowly than the time asked for: one alone says little.
_CLEAR_READINGS = 3
_CONFIRMED_SHARE = 0.8
_CRITICAL = 4.0
_WARNING = 1.5
_UPDATE_PAUSE_S = 10.0
# A channel that gives no readings for this long takes no further part in its incident.
_MISSING_S = 60.0
# Rows of the arrays over what may be wrong with a channel: unusual for it, or beyond its hard limits.
_UNUSUAL, _BEYOND = 0, 1
# See `PackedIncidents.version`.
_PACKED_VERSION = 2


class PackedIncidents(msgspec.Struct):
    """What `Incidents.packed` gives.

    Parameters
    ----------
    belongs_to
        Tells channels and configuration apart.
    arrays
        Records of the parts, packed.
    open
        Incidents that are not over.
    version
        1: the records are one mapping of attributes, as agents up to 0.1.0 wrote it; 2: records by path.
    """

    belongs_to: str
    arrays: bytes
    open: list[Incident]
    version: int = 1


class IncidentsState(State):
    """Fields of `Incidents` that outlive a restart, beside the open incidents themselves.

    Arrays of two rows are about what is unusual for a channel, and about its hard limits.
    """

    next_seq: int = number("number of the next alert", initial=1)
    # Of the newest readings of each channel, newest last, whether they were bad.
    history: BoolArray = array("flag", 2, CHANNEL, "recent", dtype=bool)
    any_history: bool = number("flag", initial=False)
    # Tick of the first bad reading of each channel's present history.
    began: IntArray = array("ticks", 2, CHANNEL, dtype=np.int64)
    quiet_rows: IntArray = array("readings", CHANNEL, dtype=np.int64)
    absent_rows: IntArray = array("readings", CHANNEL, dtype=np.int64)
    silent_until: IntArray = array("ticks", 2, CHANNEL, dtype=np.int64)
    # Of each channel's last incident: tick of its onset, and the tick up to which the next is more of the same.
    last_onset: IntArray = array("ticks", CHANNEL, dtype=np.int64)
    same_until: IntArray = array("ticks", CHANNEL, initial=-1, dtype=np.int64)
    # Whether a channel is part of an incident, and of one because of a hard limit.
    member: BoolArray = array("flag", 2, CHANNEL, dtype=bool)
    learning: bool = number("flag", initial=True)
    count: int = number("incidents so far, sent or held back", initial=0)


class Incidents:
    """Opens, updates and closes incidents over a stream of verdicts.

    A channel opens one when four fifths of its readings of the last ``confirm_s`` were anomalous; channels that follow
    within ``merge_s`` join it. It closes when all its channels were quiet, clearly below their limits, for ``clear_s``;
    a channel then opens none for ``cooldown_s``. One that was quiet for both times together while others are not
    has left it, and opens another. Times are counted in ticks, so that replay gives what live gave.

    It is sent when the alert budget admits its strength, which may be later, when it has grown; until then nothing is
    said of it and it takes no number. A value that was at or beyond a hard limit for four fifths of ``confirm_s``
    counts as critical, by its own cool-down and past the budget; it is over when the value is back by half of the
    channel's smallest effect.

    Silenced channels are followed all the same, in incidents of their own, which are not sent; one that outlasts its
    silence is offered to the budget then. One that was sent before has no updates while all its channels are silenced,
    but its close.

    Parameters
    ----------
    channels
        In the order of the verdicts' arrays.
    config
        The section ``alerts``.
    interval_s
        Seconds between frames.
    node, model
        As alerts carry them.
    instance
        Distinguishes this installation's incidents from another's of the same name.
    next_seq
        Number of the next alert.
    clock_synced
        Whether the wall clock can be believed; asked only when there is a message to write.
    every
        int64[n_channels], frames between the turns of each channel; 1 for all by default.
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
        self._node = node
        self._model = model
        self._instance = instance
        self._clock_synced = clock_synced
        # In readings of each channel, int64[n_channels].
        own_s = interval_s * (np.ones(n) if every is None else every)
        confirm_rows = np.maximum(1, np.round(config.confirm_s / own_s))
        self._needed = np.maximum(1, np.ceil(_CONFIRMED_SHARE * confirm_rows)).astype(np.int64)
        self._clear_rows = np.where(own_s <= config.clear_s, np.round(config.clear_s / own_s), _CLEAR_READINGS)
        self._missing_rows = np.maximum(1, np.round(_MISSING_S / own_s))
        self._merge_rows = round(config.merge_s / interval_s)
        self._cooldown_rows = round(config.cooldown_s / interval_s)
        self._pause_rows = round(_UPDATE_PAUSE_S / interval_s)
        self._limits = HardLimits(channels)
        #: Recent values, by which anomalies are named.
        self.kinds = Classifier(channels, interval_s)
        longest = max(1, round(config.confirm_s / interval_s))
        # Of the readings that are kept, those that each channel is confirmed by, bool[n_channels, longest].
        self._looked_at = np.arange(longest) >= longest - confirm_rows[:, None]
        self._state = IncidentsState(channel=n, recent=longest)
        self._state.next_seq = next_seq
        self._open: list[Incident] = []
        # Of an earlier run with other channels or another configuration.
        self._strangers: list[Incident] = []
        self._held: list[HeldBack] = []
        self.budget = AlertBudget(config.budget_per_day)
        self.silences = Silences(channels, config)
        # Which channels are silenced at this tick, bool[2, n], and in effect, bool[n]; None when none is.
        self._silence: BoolArray | None = None
        self._silent: BoolArray | None = None

    @property
    def learning(self) -> bool:
        """Whether no channel has been learned yet."""
        return self._state.learning

    @property
    def count(self) -> int:
        """Incidents so far, sent or held back."""
        return self._state.count

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`; `kinds` and `silences` are kept with what was learned, not with every alert."""
        yield Part("incidents", self._state)
        yield from below("budget", self.budget)

    @property
    def open(self) -> tuple[str, ...]:
        """Identifiers of the incidents that are open and were sent, oldest first."""
        return tuple(incident.stem for incident in self._open if incident.stem)

    @property
    def silenced(self) -> int:
        """Number of channels that are silenced at this tick."""
        return 0 if self._silence is None else int(np.count_nonzero(self._silence[_UNUSUAL]))

    def candidates(self) -> list[tuple[int, float]]:
        """Number, from 1, and strength so far of what may be sent and is not over; infinite beyond a hard limit."""
        heard = [incident for incident in self._open if not self._is_silent(incident)]
        return [(incident.number, math.inf if incident.limit else incident.strength) for incident in heard]

    def take_held(self) -> list[HeldBack]:
        """Incidents that ended since the last call without having been sent."""
        held, self._held = self._held, []
        return held

    def step(self, frame: Frame, verdict: Verdict) -> list[Alert]:
        """Take in a verdict; give the messages that it calls for, in the order to be sent."""
        strangers, self._strangers = self._strangers, []
        return [self._message(stranger, frame, "close", "stopped") for stranger in strangers] + self._step(
            frame, verdict
        )

    def _step(self, frame: Frame, verdict: Verdict) -> list[Alert]:
        self.kinds.push(frame.values)
        if self._state.learning:
            progress = verdict.progress()
            self._state.learning = not (progress >= 1.0).any()
            self.budget.hold(frame.seq * self._interval_s, int(np.count_nonzero(progress)))
        beyond = self._limits.reached(frame.values)
        self._silence = self.silences.at(frame)
        if not (
            self._open or self._state.any_history or np.count_nonzero(verdict.anomalous) or np.count_nonzero(beyond)
        ):
            return []  # what would be written down is there already
        missing = np.isnan(verdict.value)
        bad = np.stack((verdict.anomalous, beyond))
        waiting = missing
        if frame.due is not None:  # between its turns nothing is so of a channel but what was
            missing = missing & frame.due
            bad &= frame.due
        # The newest readings of each channel, newest last; a missing one is no evidence for either side.
        shifted = np.concatenate((self._state.history[:, :, 1:], bad[:, :, None]), axis=2)
        self._state.history = np.where(waiting[:, None], self._state.history, shifted)
        self._state.any_history = bool(self._state.history.any())
        counts = (self._state.history & self._looked_at).sum(axis=2)
        self._state.began[bad & (counts == 1)] = frame.seq
        self._state.absent_rows = np.where(
            missing, self._state.absent_rows + 1, np.where(waiting, self._state.absent_rows, 0)
        )

        confirmed = bad & (counts >= self._needed) & ~self._state.member & (self._state.silent_until <= frame.seq)
        if confirmed[_BEYOND].any():
            self._reach(np.flatnonzero(confirmed[_BEYOND]))
        limited = self._state.member[_BEYOND] | confirmed[_BEYOND]
        strength = np.where(limited & beyond, np.maximum(verdict.held, _CRITICAL), verdict.held)
        back = ~limited | self._limits.left(frame.values)
        quiet = (strength < _QUIET) & back & ~waiting
        self._state.quiet_rows = np.where(
            quiet, self._state.quiet_rows + 1, np.where(waiting, self._state.quiet_rows, 0)
        )

        new = confirmed.any(axis=0) & ~self._state.member.any(axis=0)
        self._state.member |= confirmed
        self._silent = silent = self._in_effect()
        if new.any():
            began = np.where(confirmed, self._state.began, frame.seq).min(axis=0)
            for those in (new,) if silent is None else (new & ~silent, new & silent):
                if those.any():
                    self._join_or_open(np.flatnonzero(those), began, frame, verdict, strength)
        worse = bad.any(axis=0)
        alerts: list[Alert] = []
        for incident in tuple(self._open):
            alerts += self._follow(incident, frame, verdict, np.where(worse, strength, 0.0))
        return alerts

    def continue_from(self, next_seq: int) -> None:
        """Number alerts from here on, before the first `step`."""
        self._state.next_seq = next_seq

    @property
    def next_seq(self) -> int:
        """Number of the next alert."""
        return self._state.next_seq

    def packed(self, belongs_to: str) -> bytes:
        """All that is needed to go on with these incidents after a restart, but for `kinds` and `silences`.

        Parameters
        ----------
        belongs_to
            Tells channels and configuration apart.
        """
        return msgspec.msgpack.encode(PackedIncidents(belongs_to, pack(capture(self)), self._open, _PACKED_VERSION))

    def resume(self, packed: bytes, belongs_to: Container[str]) -> list[str]:
        """Continue the incidents of an earlier run, before the first `step`.

        Those of other channels or another configuration cannot be followed, nor can those of which the records are
        unreadable; the next `step` closes them.

        Parameters
        ----------
        packed
            Made by `packed`, by this version or an earlier one.
        belongs_to
            Names of the present channels and configuration.

        Returns
        -------
        One line for each part that could not be used, with the reason.

        Raises
        ------
        Unusable
            Nothing of it can be read, and nothing was changed.
        """
        try:
            state = msgspec.msgpack.decode(packed, type=PackedIncidents)
        except (*UNREADABLE, TypeError) as error:
            raise Unusable(f"damaged: {error}") from error
        if state.version > _PACKED_VERSION:
            raise Unusable(f"of version {state.version}, this agent knows {_PACKED_VERSION}")
        sound = [incident for incident in state.open if incident.is_sound()]
        dropped = [f"an incident lacks what belongs to it: {i.stem or i.number}" for i in state.open if i not in sound]
        if state.belongs_to not in belongs_to:
            self._strangers = [incident for incident in sound if incident.stem]
            return dropped
        ours = [
            incident for incident in sound if max(incident.worst) < len(self._channels) and min(incident.worst) >= 0
        ]
        dropped += [
            f"an incident is of channels that there are not: {i.stem or i.number}" for i in sound if i not in ours
        ]
        next_seq = self._state.next_seq
        records = unpack(state.arrays)
        unfit = restore(self, [records if state.version > 1 else incident_records(records)])
        dropped += [f"{path} {reason}" for path, reason in unfit.items()]
        # Kept a second time beside the alerts, which may have gone on since.
        self._state.next_seq = max(next_seq, self._state.next_seq)
        if "incidents" in unfit:
            self._strangers = [incident for incident in ours if incident.stem]
            return dropped
        self._open = ours
        if len(ours) < len(state.open):  # channels of lost incidents are free to open others
            members = [channel for incident in ours for channel in incident.worst.keys() - incident.left]
            self._state.member[:, np.setdiff1d(np.arange(len(self._channels)), members)] = False
        return dropped

    def succeed(self, former: Incidents, next_seq: int) -> None:
        """Take the place of incidents that cannot be gone on from: what they had told is closed with the next step.

        Parameters
        ----------
        next_seq
            Number of the next alert.
        """
        self._state.next_seq = next_seq
        self.silences = former.silences
        told = (incident for incident in (*former._strangers, *former._open) if incident.stem)
        self._strangers = [incident for incident in told if incident.is_sound()]

    def stop(self, frame: Frame) -> list[Alert]:
        """Close what is open, for an agent that ends."""
        return self._close_all(tuple(self._open), frame, "stopped")

    def relearn(self, frame: Frame, which: BoolArray) -> list[Alert]:
        """Close what any of the chosen channels, bool[n_channels], has part in, for a monitor that begins anew."""
        self._state.learning = self._state.learning or bool(which.all())
        return self._close_all([each for each in self._open if which[list(each.worst)].any()], frame, "relearned")

    def replace(self, places: IntArray, channels: Sequence[Channel], frame: Frame | None) -> list[Alert]:
        """Give places to other channels; what those before had part in is closed, for they are gone.

        Parameters
        ----------
        places, channels
            int64[m], and to whom each belongs from now on.
        frame
            The newest; None before the first, when nothing is open.
        """
        gone = set(places.tolist())
        those = [each for each in self._open if not gone.isdisjoint(each.worst)]
        alerts = self._close_all(those, frame, "missing") if frame is not None else []
        self._state.reset(places)
        self._limits.replace(places, channels)
        self.kinds.reset(places)
        for place, channel in zip(places.tolist(), channels, strict=True):
            self._channels[place] = channel
        self.kinds.rename(self._channels)
        self.silences.rename(self._channels, places)
        return alerts

    def _close_all(self, those: Sequence[Incident], frame: Frame, reason: str) -> list[Alert]:
        return [alert for incident in those for alert in self._close(incident, frame, reason)]

    def acknowledge(self, name: str, frame: Frame) -> list[Alert]:
        """Somebody knows of an open incident: say so, and then no more of it until it closes.

        Parameters
        ----------
        name
            As alerts carry it in ``incident`` or ``id``.
        frame
            The newest.

        Raises
        ------
        UserError
            There is no such open incident.
        """
        named = (i for i in self._open if i.stem and (name == i.stem or name.startswith(f"{i.stem}.")))
        incident = next(named, None)
        if incident is None:
            raise UserError(f"no open incident {name!r}", remedy="the topic state lists the open ones")
        if incident.acknowledged:
            return []
        incident.acknowledged = True
        return [self._message(incident, frame, "update", "acknowledged")]

    def _in_effect(self) -> BoolArray | None:
        """Which channels are silenced, hard limits considered."""
        if self._silence is None:
            return None
        silent: BoolArray = np.where(self._state.member[_BEYOND], self._silence[_BEYOND], self._silence[_UNUSUAL])
        return silent

    def _is_silent(self, incident: Incident) -> bool:
        """Whether all channels of an incident are silenced."""
        return self._silent is not None and bool(self._silent[list(incident.worst)].all())

    def _reach(self, channels: IntArray) -> None:
        """Incidents that these channels already belong to are now about a hard limit, too."""
        for incident in self._open:
            for channel in (incident.worst.keys() - incident.left) & set(channels.tolist()):
                incident.limit = True
                incident.pending = "limit"
                # How it looks now is what counts, however unusual it was before.
                incident.worst[channel] = (0.0, incident.worst[channel][1])

    def _join_or_open(
        self, new: IntArray, began: IntArray, frame: Frame, verdict: Verdict, strength: Float64Array
    ) -> None:
        silent = self._silent is not None and bool(self._silent[new].all())
        recent = (i for i in self._open if frame.seq - i.opened_seq <= self._merge_rows)
        joined = next((i for i in recent if self._is_silent(i) is silent), None)
        if joined is None:
            self._state.count += 1
            started = int(began[new].min())
            incident = Incident(
                number=self._state.count,
                threshold=verdict.threshold,
                started_seq=started,
                opened_seq=frame.seq,
                started=frame.wall - (frame.seq - started) * self._interval_s,
                last_message_seq=frame.seq,
            )
            self._open.append(incident)
        else:
            incident = joined
        self._state.quiet_rows[new] = 0
        self._state.absent_rows[new] = 0
        for channel, look in self._looks(new, verdict, strength):
            incident.worst[channel] = look
            incident.left.discard(channel)
            same = self._state.same_until[channel] >= began[channel]
            incident.onset[channel] = int(self._state.last_onset[channel] if same else began[channel])
            incident.courses[channel] = verdict.courses.get(channel, "readings")
            incident.kinds[channel] = self._name(incident, channel, frame)
            incident.revision[channel] = frame.seq + self.kinds.look_rows
        incident.provisional &= bool(verdict.provisional()[new].all())
        if self._state.member[_BEYOND, new].any():
            incident.limit = True
            incident.pending = "limit"
        elif joined is not None:
            incident.pending = incident.pending or "joined"

    def _follow(self, incident: Incident, frame: Frame, verdict: Verdict, strength: Float64Array) -> list[Alert]:
        members = np.array([channel for channel in incident.worst if channel not in incident.left])
        worse = [c for c in members.tolist() if strength[c] > incident.worst[c][0]]
        for channel, look in self._looks(worse, verdict, strength):
            incident.worst[channel] = look
        gone = self._state.absent_rows[members] >= self._missing_rows[members]
        for channel in members[verdict.anomalous[members]].tolist():
            course = verdict.courses.get(channel, "readings")
            if course == "level" and incident.courses[channel] != "level":  # it has come to stay elsewhere
                incident.revision.setdefault(channel, frame.seq)
            incident.courses[channel] = course
        accepted = verdict.accepted[members] & ~self._state.member[_BEYOND, members]
        incident.accepted |= bool(accepted.any())
        over = (self._state.quiet_rows[members] >= self._clear_rows[members]) | gone | accepted
        if over.all():
            reason = "accepted" if incident.accepted else "missing" if gone.all() else "recovered"
            return self._close(incident, frame, reason)
        calm = self._state.quiet_rows[members] >= self._clear_rows[members] + self._cooldown_rows
        for channel in members[calm].tolist():
            self._leave(incident, channel, frame, cool_rows=0)
            incident.left.add(channel)
        if self._revise(incident, frame, [c for c, due in incident.revision.items() if due <= frame.seq]):
            incident.pending = incident.pending or "revised"
        severity = self._severity(incident)
        if severity != incident.severity:
            incident.severity = severity
            incident.pending = incident.pending or "severity"
        if not incident.stem:
            return self._offer(incident, frame, strength)
        due = incident.pending and frame.seq - incident.last_message_seq >= self._pause_rows
        if due and not incident.acknowledged and not self._is_silent(incident):
            return [self._message(incident, frame, "update", incident.pending)]
        return []

    def _offer(self, incident: Incident, frame: Frame, strength: Float64Array) -> list[Alert]:
        """Send an incident that was not, if it may be heard and the budget admits it or a hard limit was reached."""
        now_s = frame.seq * self._interval_s
        incident.needed = min(incident.needed, self.budget.needed(now_s))
        heard = [c for c in incident.worst if self._silent is None or not self._silent[c]]
        incident.silenced |= len(heard) < len(incident.worst)
        if incident.silenced and not strength[heard].any():
            return []  # nobody hears of what was over when the silence ended
        limit = bool(self._state.member[_BEYOND, heard].any())
        if not (limit or self.budget.admits(sum(incident.worst[c][0] for c in heard), now_s)):
            return []
        incident.stem = f"{self._node}-{self._instance}-{self._state.next_seq:06d}"
        return [self._message(incident, frame, "open", "limit" if limit else "onset")]

    def _name(self, incident: Incident, channel: int, frame: Frame) -> AnomalyKind | Literal[""]:
        return self.kinds.name(
            channel, frame.seq - incident.onset[channel] + 1, incident.courses.get(channel, "readings")
        )

    def _revise(self, incident: Incident, frame: Frame, channels: list[int]) -> bool:
        """Name these channels' anomalies for good; whether the strongest one's is now another."""
        revised = False
        for channel in channels:
            del incident.revision[channel]
            kind = self._name(incident, channel, frame)
            if kind and kind != incident.kinds[channel]:
                incident.kinds[channel] = kind
                revised |= channel == incident.ranked()[0]
        return revised

    def _close(self, incident: Incident, frame: Frame, reason: str) -> list[Alert]:
        self._open.remove(incident)
        self._revise(incident, frame, list(incident.revision))
        for channel in incident.worst.keys() - incident.left:
            self._leave(incident, channel, frame, cool_rows=self._cooldown_rows)
        if incident.stem:
            return [self._message(incident, frame, "close", reason)]
        self._held.append(self._held_back(incident, frame, reason))
        return []

    def _leave(self, incident: Incident, channel: int, frame: Frame, *, cool_rows: int) -> None:
        """Let a channel be no longer part of an incident, and open no other for so many ticks."""
        silent = self._state.member[:, channel]
        self._state.silent_until[:, channel][silent] = frame.seq + cool_rows
        self._state.silent_until[_UNUSUAL, channel] = frame.seq + cool_rows
        self._state.member[:, channel] = False
        self._state.last_onset[channel] = incident.onset[channel]
        # Not for ever: what came before the onset must still be remembered.
        self._state.same_until[channel] = min(frame.seq, incident.onset[channel] + self.kinds.look_rows) + (
            self.kinds.look_rows
        )

    def _looks(
        self, channels: Iterable[int], verdict: Verdict, strength: Float64Array
    ) -> Iterator[tuple[int, tuple[float, Contributor]]]:
        """How channels look now; share and kind are filled in when the message is written."""
        expected, lower, upper = verdict.bounds()
        score = bounded_score(strength)
        for channel in map(int, channels):
            info = self._channels[channel]
            value = rounded_number(verdict.value[channel])
            contributor = Contributor(
                channel=info.name,
                share=0.0,
                value=value,
                expected=rounded_number(expected[channel]),
                lower=rounded_number(lower[channel]),
                upper=rounded_number(upper[channel]),
                score=round(float(score[channel]), 6),
                unit=info.unit,
                limit=limit_reached(info, value) if self._state.member[_BEYOND, channel] else None,
            )
            yield channel, (float(strength[channel]), contributor)

    @staticmethod
    def _severity(incident: Incident) -> Severity:
        strongest = max(strength for strength, _ in incident.worst.values())
        return "critical" if strongest >= _CRITICAL else "warning" if strongest >= _WARNING else "info"

    def _contributors(self, incident: Incident) -> tuple[Contributor, ...]:
        total = incident.strength or 1.0
        return tuple(
            msgspec.structs.replace(
                incident.worst[channel][1],
                share=round(incident.worst[channel][0] / total, 3),
                kind=incident.kinds[channel],
            )
            for channel in incident.ranked()[:_CONTRIBUTORS]
        )

    def _duration_s(self, incident: Incident, frame: Frame) -> float:
        return (frame.seq - incident.started_seq) * self._interval_s

    def _message(self, incident: Incident, frame: Frame, phase: Phase, reason: str) -> Alert:
        contributors = self._contributors(incident)
        suffix = f".{incident.messages}" if incident.messages else ""
        incident.messages += 1
        incident.pending = ""
        incident.last_message_seq = frame.seq
        duration_s = self._duration_s(incident, frame)
        alert = Alert(
            v=1,
            id=incident.stem + suffix,
            seq=self._state.next_seq,
            node=self._node,
            phase=phase,
            severity=incident.severity,
            ts=frame.wall,
            started=incident.started,
            clock_synced=self._clock_synced(),
            score=max(c.score for c in contributors),
            threshold=incident.threshold,
            contributors=contributors,
            summary=summary_text(incident, contributors, phase, reason, duration_s),
            model=self._model,
            incident=incident.stem,
            duration_s=round(duration_s, 3),
            provisional=incident.provisional,
            reason=reason,
            strength=round(incident.strength, 3),
        )
        self._state.next_seq += 1
        return alert

    def _held_back(self, incident: Incident, frame: Frame, reason: str) -> HeldBack:
        contributors = self._contributors(incident)
        duration_s = self._duration_s(incident, frame)
        return HeldBack(
            started=incident.started,
            duration_s=round(duration_s, 3),
            strength=round(incident.strength, 3),
            needed=round(incident.needed, 3),
            summary=summary_text(incident, contributors, "close", reason, duration_s),
            channels=tuple(contributor.channel for contributor in contributors),
            reason="silenced" if incident.silenced else "budget",
        )
