"""Learned state continues after a restart as in an uninterrupted run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig, SilenceConfig
from agent.config.schema import Config
from agent.core.channel import Channel
from agent.core.clock import ManualClock
from agent.core.frame import Frame
from agent.core.persistent_state import Unusable, pack, unpack
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig
from agent.mqtt.settings import MqttConfig
from agent.service import snapshot_file
from agent.service.checkpoints import Checkpoints, identity
from agent.service.snapshot_file import FORMAT, Moment, Saved
from tests.support.thresholds import THRESHOLDS

if TYPE_CHECKING:
    from pathlib import Path

    from agent.messages.alert import Alert
    from agent.models.bundle import Bundle

CHANNELS = (Channel("a", "%", effect=1.0), Channel("b", "B/s", log_reference=1000.0, effect=1.5), Channel("c"))
ALERTS = AlertsConfig(learning_s=60, confirm_s=3, clear_s=5, merge_s=10, cooldown_s=20, budget_per_day=24.0)
SAVED = Saved(FORMAT, "1", {"models": "m"}, Moment("boot", 1, 2.0), 3, 4, "7f3a")


def config(**detection: Any) -> Config:
    return Config(node="pi4", detection=DetectionConfig(block_s=1.0, **detection), alerts=ALERTS)


class Run:
    """A run of the daemon's parts, without its threads."""

    def __init__(self, settings: Config, bundle: Bundle, directory: Path, clock: Any, channels: Any = CHANNELS) -> None:
        self.monitor = Ensemble(channels, bundle, settings.detection, settings.alerts, 1.0)
        self.incidents = Incidents(channels, settings.alerts, 1.0, node="pi4", model="m", instance="7f3a")
        belongs_to = identity(settings, [bundle], channels)
        self.checkpoints = Checkpoints(directory, belongs_to, "7f3a", clock, lambda job: job())
        self.first = 0

    def resume(self, raised: bytes | None = None, next_seq: int = 1) -> int:
        self.incidents.continue_from(next_seq)
        self.first = self.checkpoints.resume(self.monitor, self.incidents, raised)
        return self.first

    def step(self, seq: int, row: Any) -> tuple[Any, list[Alert]]:
        frame = Frame(seq, 0, 1_700_000_000.0 + seq, row)
        verdict = self.monitor.step(frame)
        return verdict, self.incidents.step(frame, verdict)


def rows(n: int = 700) -> Any:
    rng = np.random.default_rng(5)
    values = rng.normal((50, 5000, 3), (1, 300, 0.2), (n, 3)).astype(np.float32)
    values[rng.random((n, 3)) < 0.02] = np.nan
    values[400:440, 0] += 40
    values[520:, 1] *= 8
    values[600:, 2] = 3.0
    return values


def told(verdict: Any) -> list[Any]:
    arrays = (verdict.strength, verdict.peak, verdict.anomalous, verdict.accepted, verdict.state, verdict.bounds())
    return [np.asarray(array).tobytes() for array in arrays] + [verdict.state_score]


@pytest.mark.parametrize("cut", [50, 399, 405, 438, 523, 640])
def test_a_run_cut_in_two_says_just_what_an_uncut_one_says(tmp_path: Path, default_bundle: Bundle, cut: int) -> None:
    clock, settings, data = ManualClock(), config(), rows()
    whole = Run(settings, default_bundle, tmp_path / "none", clock)
    first = Run(settings, default_bundle, tmp_path, clock)
    for seq in range(cut):
        clock.now_ns = seq * 10**9
        expected, alerts = whole.step(seq, data[seq])
        verdict, same = first.step(seq, data[seq])
    first.checkpoints.take(first.monitor, first.incidents, cut - 1, whole=True)
    clock.now_ns = cut * 10**9
    second = Run(settings, default_bundle, tmp_path, clock)
    assert second.resume() == cut
    for seq in range(cut, len(data)):
        expected, alerts = whole.step(seq, data[seq])
        verdict, same = second.step(seq, data[seq])
        assert told(verdict) == told(expected), seq
        assert same == alerts


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: type(threshold).__name__)
def test_every_threshold_goes_on_where_it_was(tmp_path: Path, default_bundle: Bundle, threshold: Any) -> None:
    clock, settings, data = ManualClock(), config(threshold=threshold), rows(500)
    one = Run(settings, default_bundle, tmp_path, clock)
    for seq in range(300):
        one.step(seq, data[seq])
    one.checkpoints.take(one.monitor, one.incidents, 299, whole=True)
    other = Run(settings, default_bundle, tmp_path, clock)
    other.resume()
    for seq in range(300, 500):
        assert told(other.step(seq, data[seq])[0]) == told(one.step(seq, data[seq])[0])


def test_after_a_kill_the_newest_snapshot_and_the_last_alert_are_gone_on_from(
    tmp_path: Path, default_bundle: Bundle
) -> None:
    clock, settings, data = ManualClock(), config(), rows()
    one = Run(settings, default_bundle, tmp_path, clock)
    raised: list[Alert] = []
    packed = b""
    for seq in range(430):
        clock.now_ns = seq * 10**9
        _, alerts = one.step(seq, data[seq])
        if alerts:
            raised, packed = raised + alerts, one.incidents.packed(one.checkpoints.name)
        if seq == 100:
            one.checkpoints.take(one.monitor, one.incidents, seq, whole=True)
        if seq == 380:  # before the incident
            one.checkpoints.take(one.monitor, one.incidents, seq, whole=False)
    assert [alert.phase for alert in raised][:1] == ["open"]
    two = Run(settings, default_bundle, tmp_path, clock)
    clock.now_ns = 433 * 10**9
    assert two.resume(packed, raised[-1].seq + 1) == 433
    for seq in range(433, 520):
        raised += two.step(seq, data[seq])[1]
    assert [alert.phase for alert in raised if alert.phase != "update"] == ["open", "close"]
    assert [alert.seq for alert in raised] == list(range(1, len(raised) + 1))
    assert len({alert.incident for alert in raised}) == 1
    assert raised[-1].reason == "recovered"


def test_incidents_of_another_configuration_are_closed_with_the_first_frame(
    tmp_path: Path, default_bundle: Bundle
) -> None:
    clock, data = ManualClock(), rows()
    one = Run(config(), default_bundle, tmp_path, clock)
    alerts: list[Alert] = []
    for seq in range(420):
        alerts += one.step(seq, data[seq])[1]
    packed = one.incidents.packed(one.checkpoints.name)
    two = Run(config(), default_bundle, tmp_path, clock, channels=CHANNELS[:1])
    two.resume(packed, alerts[-1].seq + 1)
    _, (closed,) = two.step(0, data[420][:1])
    assert (closed.phase, closed.reason, closed.incident) == ("close", "stopped", alerts[0].incident)
    assert closed.seq == alerts[-1].seq + 1
    assert two.step(1, data[421][:1])[1] == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"interval_s": 2.0}, "interval_s"),
        ({"detection": DetectionConfig(block_s=2.0)}, "detection"),
        ({"alerts": AlertsConfig(learning_s=61)}, "alerts"),
    ],
)
def test_what_was_learned_for_something_else_is_refused_and_said(
    tmp_path: Path, default_bundle: Bundle, changed: Any, named: str, caplog: Any
) -> None:
    clock, settings, data = ManualClock(), config(), rows(200)
    one = Run(settings, default_bundle, tmp_path, clock)
    for seq in range(200):
        one.step(seq, data[seq])
    one.checkpoints.take(one.monitor, one.incidents, 199, whole=True)
    two = Run(msgspec.structs.replace(settings, **changed), default_bundle, tmp_path, clock)
    assert two.resume() == 0
    assert f"{named} changed" in caplog.text
    assert two.step(0, data[0])[0].progress().max() < 0.1


def test_what_does_not_concern_learning_may_change(tmp_path: Path, default_bundle: Bundle) -> None:
    settings = config()
    other = msgspec.structs.replace(settings, mqtt=MqttConfig(host="elsewhere"), node="another")
    assert identity(settings, [default_bundle], CHANNELS) == identity(other, [default_bundle], CHANNELS)


def test_a_silence_goes_on_and_ends_when_it_would_have_ended(tmp_path: Path, default_bundle: Bundle) -> None:
    clock = ManualClock()
    first = Run(config(), default_bundle, tmp_path, clock)
    first.incidents.silences.add(["a", "c"], 3600.0, clock.monotonic_ns(), include_limits=True)
    first.checkpoints.take(first.monitor, first.incidents, 0, whole=True)
    clock.now_ns = 600 * 10**9
    window = SilenceConfig(("b",), until="2100-01-01")
    changed = msgspec.structs.replace(config(), alerts=msgspec.structs.replace(ALERTS, silences=(window,)))
    second = Run(changed, default_bundle, tmp_path, clock)
    assert second.resume() > 0
    left = second.incidents.silences.remaining(clock.monotonic_ns())
    assert left == {"a": (3000.0, 3000.0), "c": (3000.0, 3000.0)}
    mask = second.incidents.silences.at(Frame(0, clock.now_ns, 0.0, None))
    assert mask is not None
    assert mask.tolist() == [[True, True, True], [True, False, True]]


def test_what_was_forgotten_does_not_come_back_with_a_restart(tmp_path: Path, default_bundle: Bundle) -> None:
    clock, data = ManualClock(), rows()
    first = Run(config(), default_bundle, tmp_path, clock)
    for seq in range(300):
        first.step(seq, data[seq])
    first.checkpoints.take(first.monitor, first.incidents, 299, whole=True)
    first.monitor.relearn(np.ones(len(CHANNELS), bool))
    first.checkpoints.take(first.monitor, first.incidents, 300, whole=True)
    fresh, second = (Run(config(), default_bundle, tmp_path, clock) for _ in range(2))
    second.resume()
    for seq in range(300, 500):
        assert told(second.step(seq, data[seq])[0]) == told(fresh.step(seq, data[seq])[0]), seq


def test_an_acknowledged_incident_stays_so(tmp_path: Path, default_bundle: Bundle) -> None:
    clock, data = ManualClock(), rows()
    first = Run(config(), default_bundle, tmp_path, clock)
    opened: list[Alert] = []
    seq = 0
    while not opened:
        opened += first.step(seq, data[seq])[1]
        seq += 1
    newest = Frame(seq, 0, 0.0, data[seq])
    (told_once,) = first.incidents.acknowledge(opened[0].incident, newest)
    second = Run(config(), default_bundle, tmp_path, clock)
    second.resume(first.incidents.packed(second.checkpoints.name), told_once.seq + 1)
    assert second.incidents.acknowledge(opened[0].incident, newest) == []


def test_an_error_soon_after_a_resumption_makes_the_next_run_start_afresh(
    tmp_path: Path, default_bundle: Bundle
) -> None:
    clock, settings, data = ManualClock(), config(), rows(100)
    one = Run(settings, default_bundle, tmp_path, clock)
    for seq in range(100):
        one.step(seq, data[seq])
    one.checkpoints.take(one.monitor, one.incidents, 99, whole=True)
    one.checkpoints.doubt(100)  # it did not resume anything itself
    two = Run(settings, default_bundle, tmp_path, clock)
    assert two.resume() == 100
    two.checkpoints.doubt(601)  # long after
    three = Run(settings, default_bundle, tmp_path, clock)
    assert three.resume() == 100
    three.checkpoints.doubt(3)
    assert Run(settings, default_bundle, tmp_path, clock).resume() == 0
    assert (tmp_path / "whole.suspect").exists()


def test_a_disk_that_takes_nothing_is_not_given_more_and_more(tmp_path: Path, default_bundle: Bundle) -> None:
    clock, settings, data = ManualClock(), config(), rows(10)
    jobs: list[Any] = []
    run = Run(settings, default_bundle, tmp_path, clock)
    run.checkpoints = Checkpoints(tmp_path, {}, "7f3a", clock, jobs.append)
    for seq in range(10):
        clock.now_ns += 100 * 10**9
        run.step(seq, data[seq])
        run.checkpoints.tend(run.monitor, run.incidents, seq, hurry=True)
    assert len(jobs) == 1
    jobs[0]()
    clock.now_ns += 100 * 10**9
    run.checkpoints.tend(run.monitor, run.incidents, 10)
    assert len(jobs) == 2


def test_days_are_still_days_after_hours_without_the_agent(default_bundle: Bundle) -> None:
    # Five minutes a row: 288 rows a day. A day with a peak of its own, hours missing, and the same peak again.
    def value(row: int) -> Any:
        return np.array([10.0 + 5.0 * np.sin(2 * np.pi * row / 288) + (40.0 if row % 288 == 100 else 0.0)], np.float32)

    def novelty_at_the_peak(missing: range, *, skip: bool) -> float:
        monitor = Ensemble([Channel("a")], default_bundle, DetectionConfig(), AlertsConfig(learning_s=0), 300.0)
        seq, novelty = 0, 0.0
        for row in range(288 * 3):
            if row in missing:
                seq += skip
                continue
            verdict = monitor.step(Frame(seq, 0, 300.0 * row, value(row)))
            seq += 1
            if row >= missing.stop and row % 288 == 100:
                novelty = float(verdict.strength[0])
        return novelty

    hours = range(288 + 150, 288 + 186)
    assert novelty_at_the_peak(hours, skip=True) < 0.5
    assert novelty_at_the_peak(hours, skip=False) > 3.0


@pytest.fixture(scope="module")
def amid_an_incident(tmp_path_factory: pytest.TempPathFactory, default_bundle: Bundle) -> tuple[Saved, bytes]:
    """Header and content of a snapshot that was taken while an incident was open."""
    folder, data = tmp_path_factory.mktemp("run"), rows(420)
    run = Run(config(), default_bundle, folder, ManualClock())
    for seq, row in enumerate(data):
        run.step(seq, row)
    run.checkpoints.take(run.monitor, run.incidents, len(data) - 1, whole=True)
    saved, content = snapshot_file.read(folder / "whole.snapshot")
    return saved, pack(content)


def of_incidents(content: dict[str, Any], change: Any) -> None:
    state = msgspec.msgpack.decode(content["incidents"])
    change(state)
    content["incidents"] = msgspec.msgpack.encode(state)


def of_channel_seven(incident: Any) -> dict[str, Any]:
    maps = ("worst", "onset", "kinds", "revision")
    return {name: {channel + 7: value for channel, value in incident[name].items()} for name in maps}


def of_records(content: dict[str, Any], **changes: Any) -> None:
    def change(state: Any) -> None:
        records = unpack(state["arrays"])
        records["incidents"] |= changes
        state["arrays"] = pack(records)

    of_incidents(content, change)


NONSENSE: list[Any] = [
    lambda content: content.update(incidents="text"),
    lambda content: content.update(incidents=5),
    lambda content: content.update(incidents=b"\x91" * 3000),
    lambda content: content.update(silences={"a": "long"}),
    lambda content: content.update(names={"a": 1}),
    lambda content: content.update(parts=[]),
    lambda content: content["parts"].update({"detectors.0": None}),
    lambda content: content["parts"].update({"detectors.0": []}),
    lambda content: content["parts"]["detectors.0"].update(row=None),
    lambda content: content["parts"]["detectors.0"].update(row=True),
    lambda content: content["parts"]["detectors.0"].update(row=2**62),
    lambda content: content["parts"]["detectors.0"].update(version=-1),
    lambda content: content["parts"]["detectors.0"].update(version="1"),
    lambda content: content["parts"]["detectors.0"].update(seen=np.zeros(2)),
    lambda content: content["parts"]["ensemble"].update(extra=3),
    lambda content: content["parts"].pop("classifier"),
    lambda content: of_incidents(content, lambda state: state["open"][0].update(worst={})),
    lambda content: of_incidents(content, lambda state: state["open"][0].update(kinds={})),
    lambda content: of_incidents(content, lambda state: state["open"][0].update(started=float("nan"))),
    lambda content: of_incidents(content, lambda state: state["open"][0].update(opened_seq=2**63)),
    lambda content: of_incidents(content, lambda state: state["open"][0].update(of_channel_seven(state["open"][0]))),
    lambda content: of_incidents(content, lambda state: state.update(version=99)),
    lambda content: of_incidents(content, lambda state: state.update(version=1)),
    lambda content: of_incidents(content, lambda state: state.update(arrays=b"")),
    lambda content: of_records(content, next_seq=2**63),
    lambda content: of_records(content, next_seq="1"),
    lambda content: of_records(content, next_seq=-1),
    lambda content: of_records(content, history=np.zeros((2, 3, 1), bool)),
]


@pytest.mark.parametrize("spoil", NONSENSE)
def test_nonsense_in_a_whole_snapshot_is_refused_and_stops_nothing(
    tmp_path: Path, default_bundle: Bundle, amid_an_incident: tuple[Saved, bytes], spoil: Any
) -> None:
    saved, packed = amid_an_incident
    content = unpack(packed)
    assert msgspec.msgpack.decode(content["incidents"])["open"]
    spoil(content)
    snapshot_file.write(tmp_path / "whole.snapshot", saved, content)
    run, data = Run(config(), default_bundle, tmp_path, ManualClock()), rows(450)
    first = run.resume()
    for seq in range(first, first + 10):
        verdict, alerts = run.step(seq, data[seq])
        assert np.isfinite(verdict.strength).all()
        assert all(alert.seq < 100 for alert in alerts)


@pytest.mark.parametrize("changes", [{"seq": -1}, {"seq": 2**63}, {"next_seq": 2**63}])
def test_a_header_with_numbers_that_are_none_is_refused(tmp_path: Path, changes: Any) -> None:
    snapshot_file.write(tmp_path / "s", msgspec.structs.replace(SAVED, **changes), {"x": 1})
    with pytest.raises(Unusable):
        snapshot_file.read(tmp_path / "s")


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_snapshot_is_refused_and_said(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / "s"
    snapshot_file.write(path, SAVED, {"array": rng.normal(size=(3, 40)), "deep": {"list": [{"x": 1}], "text": "t"}})
    body = bytearray(path.read_bytes())
    if seed % 3:
        body[int(rng.integers(len(body)))] ^= int(rng.integers(1, 256))
    else:
        del body[int(rng.integers(len(body))) :]
    path.write_bytes(body)
    with pytest.raises(Unusable):
        snapshot_file.read(path)


def test_a_snapshot_reads_back_as_it_was_written(tmp_path: Path) -> None:
    content = {
        "arrays": {
            "f8": np.array([[np.nan, -0.0], [np.inf, 1e-300]]),
            "f4": np.zeros((2, 0), np.float32),
            "b": np.array([True, False]),
            "i8": np.arange(-2, 3),
        },
        "values": [{"none": None, "true": True, "int": 2**40, "inf": float("inf"), "text": "ü"}],
    }
    snapshot_file.write(tmp_path / "s", SAVED, content)
    saved, again = snapshot_file.read(tmp_path / "s")
    assert saved == SAVED
    assert again["values"] == content["values"]
    for name, array in content["arrays"].items():  # type: ignore[attr-defined]
        assert again["arrays"][name].dtype == array.dtype
        assert again["arrays"][name].tobytes() == array.tobytes()


def test_a_snapshot_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: Any) -> None:
    snapshot_file.write(tmp_path / "s", SAVED, {"x": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        snapshot_file.write(tmp_path / "s", SAVED, {"x": 2})
    assert snapshot_file.read(tmp_path / "s")[1] == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
