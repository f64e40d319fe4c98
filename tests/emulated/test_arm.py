"""The agent on emulated ARM: its own tests on 64 bits, and the same verdicts as here on 64 and 32 bits.

The processors are emulated (qemu-user-static): this needs no board, and takes an hour. `make test-arm` runs it.
"""

from __future__ import annotations

import csv
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support import debian
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.emulated, pytest.mark.timeout(3 * 3600)]

BINFMT = Path("/proc/sys/fs/binfmt_misc")
# No /sys: there the runtime's processor detection would find the processor of the host, and crash.
ENTER = """
set -e
cd "$0"
mount -t tmpfs tmpfs mnt
for place in checkout site work; do
    mkdir "mnt/$place"
    mount --bind "$1" "mnt/$place"
    shift
done
processor=$1
shift
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs tmp
exec chroot . /usr/bin/env -i -C /mnt/checkout PATH=/usr/bin:/bin HOME=/tmp \
    QEMU_CPU="$processor" PYTHONPATH=/mnt/site:/mnt/checkout PYTHONDONTWRITEBYTECODE=1 "$@"
"""
REPLAY_CONFIG = "alerts: {learning_s: 60, budget_per_day: 1e9}\n"


class Emulated:
    """A Debian 12 for another processor; each command gets its own mounts.

    The processor is that of a Raspberry Pi: what the emulator makes of larger ones' vector units is not always right.
    """

    def __init__(self, processor: str, tree: Path, site: Path, work: Path) -> None:
        places = (str(place) for place in (tree, ROOT, site, work))
        self._enter = ["unshare", "--mount", "--fork", "sh", "-c", ENTER, *places, processor]

    def run(self, *command: str) -> str:
        """Run a command in the checkout; return its output. `/mnt/work` is the folder `work`."""
        done = subprocess.run(
            [*self._enter, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def show(self, *command: str) -> int:
        """Run a command with visible output; return its exit code."""
        return subprocess.run([*self._enter, *command], stdin=subprocess.DEVNULL, check=False).returncode


def need_emulator(name: str) -> None:
    """Register the emulator with the kernel; skip the test with the reason if that fails."""
    debian.need("debootstrap", "unshare", f"qemu-{name}-static")
    if not BINFMT.joinpath("register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=False)
    if not BINFMT.joinpath(f"qemu-{name}").exists():
        subprocess.run(["/usr/lib/systemd/systemd-binfmt", f"qemu-{name}.conf"], check=False)
    if not BINFMT.joinpath(f"qemu-{name}").exists():
        pytest.skip("the kernel has no binfmt_misc, or does not let it be changed")


@pytest.fixture
def arm64(tmp_path: Path) -> Emulated:
    """64-bit ARM with dependencies installed by pip."""
    need_emulator("aarch64")
    tests = ("pytest", "pytest-timeout", "hypothesis", "jsonschema")
    site = debian.site("aarch64", *debian.dependencies(), *tests)
    return Emulated("cortex-a72", debian.tree("arm64", "python3"), site, tmp_path)


@pytest.fixture
def armhf(tmp_path: Path) -> Emulated:
    """32-bit ARM with Debian's numpy; msgspec has no wheel and is compiled."""
    need_emulator("arm")
    needed = [line.split(";")[0] for line in debian.dependencies() if line.startswith(("tflite", "paho"))]
    site = debian.site("armv7l", "--no-deps", *needed)
    packages = ("python3", "python3-numpy", "python3-psutil", "python3-yaml", "python3-dev", "gcc")
    machine = Emulated("cortex-a7", debian.tree("armhf", *packages), site, tmp_path)
    if not (site / "msgspec").exists():
        building = site / "building"
        shutil.copytree(debian.source("msgspec") / "src" / "msgspec", building, dirs_exist_ok=True)
        library = "_core.cpython-311-arm-linux-gnueabihf.so"
        compiler = ("gcc", "-O1", "-shared", "-fPIC", "-I/usr/include/python3.11")
        machine.run(*compiler, "/mnt/site/building/_core.c", "-o", f"/mnt/site/building/{library}")
        building.rename(site / "msgspec")
    return machine


def own_tests() -> list[str]:
    """Tests of the agent only: devices have neither training nor tools."""
    foreign = re.compile(r"(?m)^\s*(from|import) (training|tools)\b|\"tools\.")
    paths = [*ROOT.glob("tests/unit/*/test_*.py"), *ROOT.glob("tests/contract/test_*.py")]
    own = [path for path in paths if not foreign.search(path.read_text(encoding="utf-8"))]
    return sorted(str(path.relative_to(ROOT)) for path in own)


def test_the_agents_own_tests_pass_on_64_bit_arm(arm64: Emulated) -> None:
    assert arm64.run("uname", "-m").strip() == "aarch64"
    options = ("-p", "no:cacheprovider", "-o", "timeout=3600", "--hypothesis-profile=emulated", "-rs", "--durations=5")
    assert arm64.show("python3", "-m", "pytest", *options, *own_tests()) == 0


@pytest.mark.parametrize("name", ["arm64", "armhf"])
def test_a_replay_gives_the_same_verdicts_on_arm(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine: Emulated = request.getfixturevalue(name)
    record(tmp_path / "recording.csv")
    (tmp_path / "config.yaml").write_text(REPLAY_CONFIG)
    replay(sys.executable, tmp_path, subprocess_run, "here")
    replay("python3", Path("/mnt/work"), machine.run, "there")
    here, there = read(tmp_path / "here.csv"), read(tmp_path / "there.csv")
    assert here.keys() == there.keys()
    assert here["anomalous"].max() == 1.0  # the recording contains an anomaly
    np.testing.assert_array_equal(here["anomalous"], there["anomalous"])
    state, score = (abs(here[column] - there[column]) for column in ("state_score", "score"))
    forecasts = [column for column in here if column.endswith((".expected", ".lower", ".upper"))]
    forecast = max(float(np.nanmax(abs(here[name] - there[name]) / abs(here[name]))) for name in forecasts)
    with capsys.disabled():
        print(f"\n{platform.machine()} and {name}: the same verdicts in {score.size} rows")  # noqa: T201 - to report
        print(f"largest differences: forecast {forecast:.1e} of its size, state score {state.max():.1e}, ", end="")  # noqa: T201 - the same
        print(f"score {score.max():.1e} (above 1e-3 in {np.sum(score > 1e-3)} rows)")  # noqa: T201 - the same
    assert forecast <= 1e-3
    assert state.max() <= 1e-3
    # Scores amplify differences outside the learned range, and int8 rounds differently on another processor.
    assert np.mean(score > 1e-3) <= 0.01
    assert score.max() <= 1e-2


def record(path: Path) -> None:
    """Half an hour of three channels: a season, a count, and one that shifts its level twice."""
    rng = np.random.default_rng(5)
    row = np.arange(1800)
    columns = {
        "oven": 200 + 10 * np.sin(row / 40) + rng.normal(0, 1, row.size),
        "requests": rng.poisson(30, row.size),
        "pressure": 5 + rng.normal(0, 0.1, row.size) + 4 * (abs(row - 1000) < 60) - 3 * (abs(row - 1500) < 60),
    }
    lines = [
        ",".join(["time", *columns]),
        *(f"{t},{a:.4f},{b},{c:.4f}" for t, a, b, c in zip(row, *columns.values(), strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")


def replay(python: str, folder: Path, run: Callable[..., str], name: str) -> None:
    files = (
        "--config",
        f"{folder}/config.yaml",
        "--input",
        f"{folder}/recording.csv",
        "--output",
        f"{folder}/{name}.csv",
    )
    run(python, "-m", "agent", "replay", *files)


def subprocess_run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def read(path: Path) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Columns of a replay's output; an empty cell is NaN."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0] if name != "timestamp"}
