"""Input and configuration of each scenario; together they exercise every feature of the agent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.behaviour import public
from tools.behaviour.driving import replay, run_daemon, steady, working_folder
from tools.behaviour.outcome import Outcome, of_daemon, of_replay
from tools.behaviour.series import START, Change, Series, plant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.behaviour.driving import DaemonRun, Heard, Script

__all__ = ["BUNDLE", "SCENARIOS", "Scenario"]

#: A small bundle for ``flow``, ``pressure`` and ``temperature``, a reading a minute. It was fitted to the first 2,500
#: rows of ``_trained``, without disturbances, by ``python -m training fit --window 24 --block 1 --units 8
#: --latent 4 --layers 1 --look-back 32 --epochs 3 --steps 40 --seed 3 --form float32 --no-report``.
BUNDLE = Path(__file__).parents[2] / "tests" / "fixtures" / "behaviour_bundle"
_PLANT = ("flow", "pressure", "temperature")
_THRESHOLDS: dict[str, dict[str, Any]] = {
    "range": {"method": "range"},
    "mean_std": {"method": "mean_std", "k": 4.0},
    "percentile": {"method": "percentile", "percentile": 99.5},
    "mad": {"method": "mad", "k": 6.0},
    "likelihood": {"method": "likelihood", "epsilon": 1e-4},
    "spot": {"method": "spot", "risk": 1e-3, "calibration_rows": 100},
    "dspot": {"method": "dspot", "risk": 1e-3, "calibration_rows": 100},
}
# Alert budget a day that never suppresses an incident.
_OPEN = 1e9
# Short delays and an unlimited budget, so that many incidents fit into few rows.
_HURRIED: dict[str, Any] = {"learning_s": 0.0, "confirm_s": 3.0, "budget_per_day": _OPEN, "cooldown_s": 30.0}


@dataclass(frozen=True)
class Scenario:
    """Input and configuration of a run.

    Parameters
    ----------
    name
        Key in the stored digest.
    about
        Description of the scenario, for its listing.
    run
        Runs the scenario; takes a working folder and the folder of public data.
    needs
        Required path below the folder of public data; empty if none.
    """

    name: str
    about: str
    run: Callable[[Path, Path], Outcome]
    needs: str = ""

    def missing(self, data: Path) -> str:
        """Describe the missing public data; empty if the scenario can run."""
        return f"needs {data / self.needs}" if self.needs and not (data / self.needs).exists() else ""

    def outcome(self, data: Path) -> Outcome:
        """Run the scenario in a temporary folder."""
        with steady(), working_folder() as folder:
            return self.run(folder, data)


def _replayed(folder: Path, series: Series, config: Mapping[str, Any], arguments: Sequence[str] = ()) -> Outcome:
    source = series.write(folder / "readings.csv")
    replayed = replay(folder, source, config, ("--held", *arguments))
    return of_replay(source.read_text("utf-8"), replayed, series.interval_s)


def _simulated(
    name: str, about: str, make: Callable[[], Series], config: Mapping[str, Any], arguments: Sequence[str] = ()
) -> Scenario:
    return Scenario(name, about, lambda folder, _: _replayed(folder, make(), config, arguments))


def _recorded(name: str, about: str, needs: str, make: Callable[[Path], Series], **config: Any) -> Scenario:
    return Scenario(name, about, lambda folder, data: _replayed(folder, make(data), config), needs)


def _nab(name: str, path: str, begin: int, rows: int) -> Scenario:
    about = f"{path}, {rows} rows"
    return _recorded(name, about, f"nab/data/{path}", lambda data: public.nab(data, path, begin, rows))


def _public() -> list[Scenario]:
    return [
        _nab("nab_machine", "realKnownCause/machine_temperature_system_failure.csv", 3000, 1200),
        _nab("nab_cpu", "realAWSCloudwatch/ec2_cpu_utilization_5f5533.csv", 0, 1500),
        _nab("nab_flat", "artificialWithAnomaly/art_daily_flatmiddle.csv", 2000, 1400),
        _nab("nab_speed", "realTraffic/speed_7578.csv", 0, 1127),
        _recorded(
            "smd",
            "12 channels of a server, a row a minute, with one of its anomalies",
            "smd/machine-1-2.npz",
            lambda data: public.smd(data, "machine-1-2", 0, 900, range(0, 24, 2)),
            detection={"block_s": 60.0},
            alerts={"learning_s": 7200.0, "confirm_s": 60.0, "budget_per_day": 3.0},
        ),
        _recorded(
            "host_live",
            "a busy host, 20 channels at 1 Hz",
            "host_live/busy.csv",
            lambda data: public.host_live(data, 1400),
            sources=[{"type": "simulated", "channels": 1}],
        ),
        _recorded(
            "skab_valve1",
            "8 channels of a water pump at 1 Hz, first valve",
            "skab/valve1/0.csv",
            lambda data: public.skab(data, "valve1/0.csv", 1147),
            alerts={"learning_s": 200.0, "budget_per_day": 100.0},
        ),
        _recorded(
            "skab_valve2",
            "the same, second valve, relations switched off",
            "skab/valve2/1.csv",
            lambda data: public.skab(data, "valve2/1.csv", 800),
            alerts={"learning_s": 200.0, "budget_per_day": 100.0},
            detection={"relations": False},
        ),
        _recorded(
            "motes",
            "humidity and temperature of four wireless motes, a reading every 5 s",
            "lwsndr_single_hop/data.csv",
            lambda data: public.motes(data, 1000),
            alerts={"budget_per_day": 100.0},
        ),
    ]


_EVENTS = (
    Change("spikes", 0, 600, 601, 12.0),
    Change("shift", 1, 700, 860, 8.0),
    Change("noise", 2, 900, 1050, 6.0),
    Change("flat", 3, 1000, 1150),
    Change("shift", 0, 1200, 1210, -10.0),
    Change("shift", 2, 1202, 1215, 9.0),
)


def _plain() -> Series:
    return plant(1, 1300, 4, _EVENTS)


def _short_events() -> Series:
    changes = (
        Change("spikes", 0, 260, 270, 10.0),
        Change("shift", 1, 330, 380, 7.0),
        Change("noise", 2, 430, 480, 6.0),
        Change("shift", 0, 500, 520, -9.0),
    )
    return plant(2, 560, 3, changes)


def _silences() -> Series:
    """Eight days of a row every ten minutes, from Monday, across the change to summer time on Sunday."""
    hour = 6
    # Disturbances inside and outside the silences (Wednesday, Thursday) and the maintenance (Sunday, Monday night).
    begins = (
        40 * hour,
        65 * hour,
        91 * hour,
        102 * hour,
        120 * hour,
        144 * hour + 4,
        155 * hour,
        168 * hour,
        180 * hour,
    )
    changes = [
        Change("shift", channel, begin, begin + 4, 12.0 + 6.0 * number)
        for channel in (0, 1)
        for number, begin in enumerate(begins)
    ]
    # Beyond a hard limit, inside and outside a maintenance with `include_limits`.
    changes.append(Change("constant", 1, 110 * hour, 110 * hour + 3, 500.0))
    changes.append(Change("constant", 1, 149 * hour + 2, 149 * hour + 5, 900.0))
    return plant(3, 8 * 24 * hour, 2, changes, interval_s=600.0, day_s=86400.0)


def _missing() -> Series:
    changes = (
        Change("missing", 0, 300, 305),
        Change("missing", 0, 400, 520),
        Change("missing", 1, 0, 350),
        Change("missing", 2, 450, 900),
        Change("constant", 3, 0, 900, 7.0),
        Change("shift", 3, 700, 720, 1.0),
        Change("flat", 4, 500, 640),
        Change("constant", 5, 200, 260, 100.0),
        Change("constant", 5, 300, 420, 100.0),
        Change("constant", 5, 600, 900, 100.0),
        Change("shift", 0, 800, 830, 9.0),
        Change("shift", 6, 600, 610, 12.0),
        Change("missing", 6, 610, 720),
    )
    series = plant(4, 900, 8, changes)
    cells = [list(row) for row in series.cells]
    for number, text in ((350, "inf"), (351, "1e39"), (352, "-1e38"), (353, "broken"), (354, "nan")):
        cells[number][7] = text
    return series._replace(cells=cells)


def _with_gaps(folder: Path, _: Path) -> Outcome:
    """Rows whose times jump, repeat and go back, in a CSV file with another delimiter and time format."""
    series = plant(5, 900, ["a, quoted", "b"], (Change("shift", 0, 700, 740, 9.0),))
    lines = ['\ufefftime;"a, quoted";b']
    for row, cells in enumerate(series.cells):
        seconds = row + (400 if row >= 500 else 0) + (3 if row >= 600 else 0)
        minutes, second = divmod(seconds, 60)
        stamp = f"2026-03-23T{10 + minutes // 60:02d}:{minutes % 60:02d}:{second:02d}+01:00"
        lines.append(f"{stamp};{';'.join(cells)}")
    lines.insert(300, lines[298])
    lines.insert(400, "no time;1;2")
    lines[450] += ";9"
    lines[460] = lines[460].rsplit(";", 1)[0]
    source = folder / "readings.csv"
    text = "\n".join(lines) + "\n"
    source.write_text(text, encoding="utf-8")
    replayed = replay(folder, source, {"alerts": {"learning_s": 200.0, "budget_per_day": _OPEN}}, ["--held"])
    return of_replay(text, replayed, 1.0)


def _wide() -> Series:
    changes = [Change("shift", 7 * number, 150 + number, 175 + number, 9.0) for number in range(5)]
    changes += [Change("missing", 299, 0, 200), Change("constant", 298, 0, 240, 3.0)]
    return plant(6, 230, 300, changes)


def _many_events() -> Series:
    changes = [
        Change("shift", number % 3, 300 + 60 * number, 312 + 60 * number, 4.0 + (number * 5) % 11 + 2.0 * number)
        for number in range(12)
    ]
    return plant(7, 1100, 3, changes)


def _flicker() -> Series:
    """Readings that exceed a hard limit, or are anomalous, in a given number of ten rows."""
    series = plant(19, 760, 3)
    cells = [list(row) for row in series.cells]
    for share, begin in ((6, 150), (7, 230), (8, 310), (9, 390)):
        for row in range(begin, begin + 50):
            if row % 10 < share:
                cells[row][0] = "130.0"
                cells[row][1] = f"{float(cells[row][1]) + begin / 8.0:.3f}"
    # Back within the limit by less, then by more, than half of the channel's `effect`.
    for row in range(500, 640):
        cells[row][0] = ("121.0", "119.0", "112.0", "109.0")[(row - 500) // 35]
    # A slow return to the usual level.
    for row in range(650, 750):
        cells[row][2] = f"{float(cells[row][2]) + (750 - row) / 6.0:.3f}"
    return series._replace(cells=cells)


def _related(rows: int, mirrored: range) -> Series:
    """Correlated channels, one of which is mirrored in some rows but stays within its usual range."""
    series = plant(20, rows, 3, day_s=97.0)
    cells = [list(row) for row in series.cells]
    for column in (1, 2):
        for row in cells:
            row[column] = f"{10.0 * column + 2.0 * float(row[0]) + 0.1 * float(row[column]):.3f}"
    turn = sum(float(row[1]) for row in cells) / rows
    for index in mirrored:
        cells[index][1] = f"{2.0 * turn - float(cells[index][1]):.3f}"
    return series._replace(cells=cells)


def _hourly() -> Series:
    changes = (Change("shift", 0, 400, 424, 2.0), Change("spikes", 1, 500, 502, 8.0), Change("flat", 2, 560, 640))
    return plant(8, 760, 3, changes, interval_s=3600.0, day_s=86400.0)


def _trained() -> Series:
    changes = (Change("shift", 0, 200, 230, 9.0), Change("spikes", 1, 300, 302, 12.0), Change("flat", 2, 400, 460))
    # Same seed as the training data of `BUNDLE`: the readings begin with them.
    return plant(77, 560, _PLANT, changes, interval_s=60.0, day_s=14400.0)


_CHANNELS: list[dict[str, Any]] = [
    {"names": ["*"], "unit": "kW"},
    {"names": ["c0"], "alarm_above": 120.0, "alarm_below": 1.0, "sensitivity": 0.5},
    {"names": ["c1"], "invalid_above": 200.0, "invalid_below": 0.0, "minimum": 0.0, "maximum": 150.0, "sensitivity": 3},
    {"names": ["c2"], "silent": True, "alarm_above": 300.0},
    {"names": ["c3"], "log_reference": 1.0, "effect": 1.5, "unit": "B/s"},
    {"names": ["c[45]"], "effect": 20.0},
]


def _overridden() -> Series:
    changes = (
        Change("constant", 0, 50, 58, 150.0),
        Change("constant", 0, 400, 410, 130.0),
        Change("constant", 0, 500, 520, 0.5),
        Change("constant", 1, 300, 310, 250.0),
        Change("shift", 1, 420, 440, 8.0),
        Change("shift", 2, 430, 450, 12.0),
        Change("constant", 2, 600, 610, 400.0),
        Change("constant", 3, 460, 480, 9000.0),
        Change("shift", 4, 550, 570, 3.0),
        Change("shift", 5, 560, 580, 30.0),
    )
    return plant(9, 700, 6, changes)


def _replays() -> list[Scenario]:
    quick = {"learning_s": 100.0, "budget_per_day": _OPEN}
    silenced = {
        "learning_s": 86400.0,
        "budget_per_day": _OPEN,
        "confirm_s": 600.0,
        "silences": [
            {"channels": ["c0"], "from": "2026-03-25T17:00", "until": "2026-03-25T20:00"},
            {"channels": ["c*"], "from": "2026-03-26T18:00Z", "until": "2026-03-26T19:30Z", "include_limits": True},
            {"channels": ["c1"], "from": "2026-03-27T04:00+01:00", "until": "2026-03-27T08:00+01:00"},
        ],
        "maintenance": [
            {"at": "01:30", "for_s": 5400, "days": ["sun", "mon"], "channels": ["c0"]},
            {"at": "07:00", "for_s": 3600, "days": ["sun"], "include_limits": True},
        ],
    }
    return [
        _simulated("plain", "every kind of anomaly at 1 Hz", _plain, {"alerts": {"budget_per_day": 100.0}}),
        *(
            _simulated(
                f"threshold_{name}",
                f"the threshold {name}",
                _short_events,
                {"detection": {"threshold": threshold}, "alerts": quick},
            )
            for name, threshold in _THRESHOLDS.items()
        ),
        _simulated(
            "silences",
            "silences and weekly maintenance by local time, over a change of the clocks",
            _silences,
            {
                "alerts": silenced,
                "sources": [{"type": "simulated", "channels": 1}],
                "channels": [{"names": ["c1"], "alarm_above": 400.0}],
            },
        ),
        _simulated(
            "channels",
            "units, hard limits, invalid values, sensitivity, silent channels, logarithmic scale, smallest effects",
            _overridden,
            {"channels": _CHANNELS, "alerts": {"learning_s": 200.0, "budget_per_day": 50.0}},
        ),
        _simulated(
            "missing",
            "missing readings and channels; constant, stuck and saturated channels; invalid values",
            _missing,
            {"alerts": {"learning_s": 150.0, "budget_per_day": _OPEN}},
        ),
        Scenario("gaps", "time stamps that jump, repeat and go back; other CSV delimiter", _with_gaps),
        _simulated(
            "budget",
            "a small alert budget that suppresses incidents",
            _many_events,
            {"alerts": {"learning_s": 150.0, "budget_per_day": 100.0, "cooldown_s": 20.0}},
        ),
        _simulated(
            "hurried",
            "short memory, quick acceptance, blocks of one reading",
            _short_events,
            {
                "detection": {"block_s": 1.0, "memory_s": 120.0, "accept_after_s": 30.0, "relations": False},
                "alerts": {
                    "learning_s": 0.0,
                    "provisional_s": 200.0,
                    "confirm_s": 3.0,
                    "clear_s": 4.0,
                    "merge_s": 5.0,
                    "cooldown_s": 10.0,
                    "budget_per_day": _OPEN,
                },
            },
        ),
        _simulated(
            "flicker",
            "anomalies and exceeded hard limits in some of ten rows, then a slow return",
            _flicker,
            {
                "channels": [{"names": ["c0"], "alarm_above": 120.0, "effect": 20.0}],
                "detection": {"block_s": 1.0, "threshold": {"method": "mad", "k": 5.0}},
                "alerts": {
                    "learning_s": 0.0,
                    "confirm_s": 10.0,
                    "clear_s": 12.0,
                    "cooldown_s": 10.0,
                    "budget_per_day": _OPEN,
                },
            },
        ),
        _simulated(
            "relations",
            "a channel that loses its correlation with the others, at coarse time scales",
            partial(_related, 3000, range(2700, 2900)),
            {"detection": {"block_s": 1.0}, "alerts": {"learning_s": 0.0, "budget_per_day": _OPEN}},
        ),
        _simulated("wide", "300 channels, watched in groups", _wide, {"alerts": {"learning_s": 60.0}}),
        _simulated(
            "hourly",
            "a reading an hour for a month: daily and weekly season, a new level",
            _hourly,
            {"alerts": {"confirm_s": 3600.0, "budget_per_day": 1.0}},
        ),
        _simulated("trained", "a bundle fitted to these channels", _trained, {}, ["--bundle", str(BUNDLE)]),
        _simulated(
            "side_by_side",
            "the shipped bundle and a fitted one together",
            _trained,
            {"models": ["builtin", str(BUNDLE)], "alerts": {"budget_per_day": 20.0}},
        ),
    ]


def _daemon(folder: Path, series: Series, config: Mapping[str, Any], script: Script | None = None) -> Heard:
    """Run the daemon over the readings of a series, from a CSV file."""
    source = series.write(folder / "readings.csv")
    whole = {"sources": [{"type": "csv", "path": str(source)}], "interval_s": series.interval_s, **config}
    return run_daemon(folder, whole, script, wall=series.start)


def _given(folder: Path) -> str:
    return "".join(path.read_text("utf-8") for path in sorted(folder.glob("*.csv")))


def _commands(folder: Path, _: Path) -> Outcome:
    changes = [
        Change("shift", number % 3, begin, begin + 25, 10.0 + 3.0 * number)
        for number, begin in enumerate(range(150, 900, 60))
    ]
    changes.append(Change("constant", 2, 640, 650, 900.0))

    def reconfigure(ran: DaemonRun, **alerts: Any) -> None:
        ran.config["alerts"] = {**ran.config["alerts"], **alerts}
        ran.command(command="reload", id="r")

    def say(**fields: Any) -> Callable[[DaemonRun], None]:
        return lambda ran: ran.command(**fields)

    at = "2026-03-23T00:{:02d}:00Z".format
    window = {"channels": ["c1"], "from": at(12), "until": at(14)}
    script: Script = {
        0: [say(command="silence", id="early", channels=["c0"], for_s=60)],
        160: [say(command="acknowledge", id="a1", incident="$newest")],
        200: [say(command="silence", id="s1", channels=["c1"], for_s=40)],
        260: [say(command="silence", id="s2", channels=["c2", "c0"], for_s=400), say(command="silence", id="bad")],
        330: [say(command="unsilence", id="u1", channels=["c0"])],
        345: [say(command="acknowledge", id="a2", incident="nobody")],
        400: [say(command="relearn", id="l1", channels=["c1"])],
        420: [say(command="relearn", id="l1", channels=["c1"]), say(nonsense=1)],
        600: [say(command="silence", id="s3", channels=["c2"], for_s=120, include_limits=True)],
        690: [partial(reconfigure, silences=[window])],
        760: [partial(reconfigure, confirm_s=4.0)],
        905: [say(command="relearn", id="l2", channels=["*"])],
    }
    config = {"alerts": _HURRIED, "channels": [{"names": ["c2"], "alarm_above": 800.0}]}
    heard = _daemon(folder, plant(10, 960, 3, changes), config, script)
    return of_daemon(_given(folder), heard, 1.0)


def _paces(folder: Path, _: Path) -> Outcome:
    """Sources at three sampling intervals, and channels derived from them."""
    fast = plant(11, 700, ["in.bytes", "out.bytes"], (Change("shift", 0, 500, 530, 12.0),), interval_s=2.0)
    slow = plant(12, 140, ["tank", "level"], (Change("shift", 0, 90, 110, 12.0),), interval_s=10.0)
    rare = plant(13, 12, ["hourly"], interval_s=120.0)
    total, count = 0.0, []
    for row, cells in enumerate(fast.cells):
        total = total + float(cells[0]) if row != 400 else 0.0  # a counter reset
        count.append([*cells, f"{total:.3f}"])
    fast = fast._replace(names=[*fast.names, "total"], cells=count)
    sources = [
        {"type": "csv", "path": str(fast.write(folder / "fast.csv"))},
        {"type": "csv", "path": str(slow.write(folder / "slow.csv")), "interval_s": 10.0},
        {"type": "csv", "path": str(rare.write(folder / "rare.csv")), "interval_s": 120.0},
    ]
    derived = [
        {"name": "speed", "how": "rate", "of": ["total"], "counter": True, "unit": "B/s", "over_s": 10},
        {"name": "change", "how": "rate", "of": ["tank"]},
        {"name": "loss", "how": "difference", "of": ["in.bytes", "out.bytes"]},
        {"name": "share", "how": "ratio", "of": ["tank", "level"]},
        {"name": "all", "how": "sum", "of": ["*.bytes"]},
    ]
    config = {"sources": sources, "interval_s": 2.0, "derived": derived, "alerts": {**_HURRIED, "learning_s": 200.0}}
    return of_daemon(_given(folder), run_daemon(folder, config, wall=START), 2.0)


def _come_and_go(folder: Path, _: Path) -> Outcome:
    """Channels of a stream that appear, stop, are forgotten, and whose slots are reused."""
    series = plant(14, 700, ["oven", "attic", "cellar", "late"], (Change("shift", 0, 300, 330, 10.0),))
    away = {"oven": range(380, 580), "attic": range(120), "cellar": range(250, 700), "late": range(480)}

    def lines(ran: DaemonRun, row: int) -> None:
        written = [
            f"{name} {cell}"
            for name, cell in zip(series.names, series.cells[row], strict=True)
            if row not in away[name]
        ]
        if row % 50 == 0:
            written += ["no number here", '{"damaged": ', f"boiler,room=b t={row}i", f"queue:{row % 7}|g"]
        if written:
            ran.write_lines(written)

    script: dict[int, list[Callable[[DaemonRun], None]]] = {row: [partial(lines, row=row)] for row in range(700)}
    script[700] = [lambda ran: ran.stop()]
    config = {
        "sources": [
            {"type": "csv", "path": str(plant(15, 701, 2).write(folder / "fixed.csv"))},
            {
                "type": "stream",
                "listen": f"unixgram://{folder}/in",
                "max_channels": 4,
                "stale_s": 20.0,
                "forget_s": 100.0,
                "how": "mean",
            },
        ],
        "channels": [{"names": ["oven"], "unit": "°C", "effect": 2.0}],
        "alerts": {**_HURRIED, "learning_s": 50.0},
    }
    series.write(folder / "written.csv")
    return of_daemon(_given(folder), run_daemon(folder, config, script, wall=START), 1.0)


def _absent(folder: Path, _: Path) -> Outcome:
    """Missed ticks, a clock set forward, and a reload that restarts learning."""
    script: Script = {
        200: [lambda ran: ran.jump(3.4)],
        300: [lambda ran: ran.jump(120.0)],
        400: [lambda ran: ran.jump(0.0, wall_s=7200.0)],
        500: [_other_detection],
    }
    config = {"alerts": _HURRIED, "detection": {"block_s": 2.0}}
    changes = (Change("shift", 0, 250, 320, 10.0), Change("shift", 1, 480, 520, 10.0), Change("spikes", 0, 640, 645, 9))
    heard = _daemon(folder, plant(16, 700, 2, changes), config, script)
    return of_daemon(_given(folder), heard, 1.0)


def _other_detection(ran: DaemonRun) -> None:
    ran.config["detection"] = {"block_s": 1.0}
    ran.config["alerts"] = {**ran.config["alerts"], "confirm_s": 2.0}
    # The reload also reopens the input file from its beginning.
    ran.command(command="reload", id="r")


@dataclass(frozen=True)
class _Resumed:
    """A run that stops and resumes, compared with the same run without a break.

    Parameters
    ----------
    config
        Of both.
    series
        Readings that both runs read.
    break_row
        First row of the resumed run.
    away_s
        Seconds between the runs.
    killed
        Simulate a power cut: resume from the state on disk some rows before the break.
    """

    config: Mapping[str, Any]
    series: Series
    break_row: int
    away_s: float = 0.0
    killed: bool = False

    def run(self, folder: Path, _: Path) -> Outcome:
        """Run both; give the outcome of the resumed run and its differences from the unbroken one."""
        series, whole, broken = self.series, folder / "whole", folder / "broken"
        for each in (whole, broken):
            each.mkdir()
        unbroken = self._go_on(whole, series, series.start)
        copied: Script = {self.break_row: [lambda ran: ran.keep_copy("copy")]}
        # The break comes before this row is read.
        end = self.break_row + 1 if self.killed else self.break_row
        first = self._go_on(broken, series.part(0, end), series.start, copied if self.killed else None)
        again = broken / "copy" if self.killed else broken
        wall = series.start + self.break_row * series.interval_s + self.away_s
        second = self._go_on(again, series.part(self.break_row), wall)
        for leaf in first.messages.keys() | second.messages.keys():
            if not self.killed or leaf == "metrics":
                before = first.messages[leaf]
                if self.killed:
                    before = before[: self.break_row]
                second.messages[leaf][:0] = before
        parting = _parting(unbroken, second, self.break_row)
        text = series.write(folder / "readings.csv").read_text("utf-8")
        return of_daemon(text, second, series.interval_s, {"against no break": parting})

    def _go_on(self, folder: Path, series: Series, wall: float, script: Script | None = None) -> Heard:
        source = series.write(folder / "readings.csv")
        config = {
            "sources": [{"type": "csv", "path": str(source)}],
            "interval_s": series.interval_s,
            **self.config,
        }
        return run_daemon(folder, config, script, wall=wall)


def _parting(unbroken: Heard, resumed: Heard, row: int) -> dict[str, Any]:
    """Count the messages that differ after a break; give the tick of the first, counted from the break."""
    parts: dict[str, Any] = {}
    for leaf in ("metrics", "alert"):
        one, other = unbroken.messages[leaf], resumed.messages[leaf]
        others = [b["seq"] for a, b in zip(one, other, strict=False) if a != b]
        parts[leaf] = {"messages": [len(one), len(other)], "other": len(others)}
        if leaf == "metrics" and others:
            parts[leaf]["first"] = others[0] - row
    return parts


def _resumes() -> list[Scenario]:
    changes = (
        Change("shift", 0, 215, 260, 9.0),
        Change("shift", 1, 330, 350, 9.0),
        Change("spikes", 2, 380, 390, 9.0),
        Change("flat", 1, 400, 440),
    )
    series = plant(17, 440, 3, changes)
    alerts = {"alerts": {**_HURRIED, "learning_s": 50.0}}
    wide = plant(18, 200, 270, (Change("shift", 3, 130, 155, 9.0), Change("shift", 269, 160, 185, 9.0)))
    trained = {
        "models": ["builtin", str(BUNDLE)],
        "alerts": {"learning_s": 0.0, "confirm_s": 60.0, "budget_per_day": 50.0},
    }
    cases: dict[str, tuple[str, _Resumed]] = {
        f"resume_{name}": (
            f"stopped during an incident and resumed, threshold {name}",
            _Resumed({**alerts, "detection": {"threshold": threshold, "block_s": 2.0}}, series, 230),
        )
        for name, threshold in _THRESHOLDS.items()
    }
    cases["resume_wide"] = (
        "the same of 270 channels in groups",
        _Resumed({**alerts, "mqtt": {"metrics_interval_s": 5.0}}, wide, 140),
    )
    slow = {"alerts": {**_HURRIED, "learning_s": 50.0}, "detection": {"block_s": 1.0}}
    # The relations between channels are learned from row 1,200 on.
    cases["resume_relations"] = (
        "the same after the relations between channels are learned",
        _Resumed(slow, _related(1330, range(1290, 1330)), 1270),
    )
    cases["resume_trained"] = (
        "the same with two bundles",
        _Resumed(trained, _trained().part(0, 240), 215),
    )
    cases["resume_absent"] = ("resumed two hours later", _Resumed(alerts, series, 230, away_s=7200.0))
    cases["resume_killed"] = (
        "resumed from the files on disk after a power cut",
        _Resumed(alerts, series, 245, away_s=20.0, killed=True),
    )
    return [Scenario(name, about, case.run) for name, (about, case) in cases.items()]


def _daemons() -> list[Scenario]:
    return [
        Scenario("commands", "silence, unsilence, acknowledge, relearn and reload by command", _commands),
        Scenario("paces", "sources at three sampling intervals, derived channels", _paces),
        Scenario("come_and_go", "channels of a stream that appear and disappear", _come_and_go),
        Scenario("absent", "missed ticks, a clock set forward, a reload that restarts learning", _absent),
        *_resumes(),
    ]


#: All scenarios, by name.
SCENARIOS = {scenario.name: scenario for scenario in (*_replays(), *_daemons(), *_public())}
