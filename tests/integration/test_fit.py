"""``python -m training fit`` from the command line to the device, with real training of tiny networks."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="training needs the training extra")
pytest.importorskip("rich", reason="training needs the training extra")

from agent.cli import main as agent_cli
from agent.core.errors import EnvironmentFault
from agent.models import loader as agent_bundle
from tests.support.paths import ROOT
from tests.support.waiting import HUNG_S, wait_for
from training.bundle import writer
from training.commands import fit as command
from training.commands import main
from training.export import number_formats, tflite

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.arrays import Float32Array
    from agent.models.bundle import Bundle

pytestmark = pytest.mark.training

STEP_S = 0.1
ROWS = 1400
TINY = ("--preset", "tiny", "--seed", "3")
# A bundle counts its training readings as learned, more than a learning time of a minute needs.
ALERTS = "alerts: {learning_s: 60, confirm_s: 0.5, clear_s: 1, cooldown_s: 60, budget_per_day: 1e9}\n"
FILES = ("forecaster.tflite", "autoencoder.tflite")


def readings(rows: int, seed: int = 0) -> Float32Array:
    """A sine-shaped flow and a pressure that follows it, float32[rows, 2]."""
    rng = np.random.default_rng(seed)
    flow = 50 + 10 * np.sin(np.arange(rows) / 7) + rng.normal(0, 1, rows)
    return np.stack([flow, 5 + 0.3 * flow + rng.normal(0, 0.5, rows)], axis=1).astype(np.float32)


def write(path: Path, values: Float32Array, first: int = 0) -> Path:
    lines = [f"{1_700_000_000 + STEP_S * (first + row):.1f},{a:.3f},{b:.3f}" for row, (a, b) in enumerate(values)]
    path.write_text("\n".join(("time,flow,pressure", *lines)) + "\n")
    return path


def with_a_burst(path: Path, row: int) -> Path:
    values = readings(200, seed=1)
    values[row : row + 20, 1] += 60
    return write(path, values, first=ROWS)


def second_runtime() -> tuple[str, ...]:
    """Option for verification by tflite-runtime too, if it is installed."""
    python = os.environ.get("TFLITE_PYTHON") or str(ROOT / ".venv-tflite" / "bin" / "python")
    return ("--second-runtime", python) if Path(python).exists() else ()


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


class Fitted(NamedTuple):
    """A bundle written by the command in its own process, and the printed text."""

    directory: Path
    data: Path
    stdout: str

    @property
    def options(self) -> tuple[str, ...]:
        """All arguments but the output folder; they determine the bundle."""
        wide = ("--units", "16", "--name", "pump")
        return ("--data", str(self.data), *TINY, *wide, *second_runtime())

    @property
    def bundle(self) -> Bundle:
        return agent_bundle.load(self.directory)


@pytest.fixture(scope="module", autouse=True)
def _two_forms() -> Any:
    """Fewer number formats to export and compare; test_number_formats covers all."""
    patch = pytest.MonkeyPatch()
    patch.setattr(number_formats, "FORMS", ("int8", "float32"))
    yield
    patch.undo()


@pytest.fixture(scope="module", name="fitted")
def _fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    folder = tmp_path_factory.mktemp("fitted")
    data = write(folder / "pump.csv", readings(ROWS))
    lines = data.read_text().splitlines()
    lines[301:301] = [lines[200]]
    lines[400] = re.sub(",.*,", ",oops,", lines[400])
    data.write_text("\n".join(lines) + "\n")
    made = Fitted(folder / "bundle", data, "")
    code = (
        "import sys; from training.commands import main as cli; from training.export import number_formats; "
        "number_formats.FORMS = ('int8', 'float32'); sys.exit(cli.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", "--output", str(made.directory), *made.options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HUNG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return made._replace(stdout=done.stdout)


def test_it_says_what_it_made_and_how_to_use_it(fitted: Fitted) -> None:
    manifest = fitted.bundle.manifest
    for expected in (
        f"pump@1.0.0 in {fitted.directory}: 2 channels every 0.1 s",
        f"digest {manifest.digest}",
        "forecaster: best epoch",
        "deviates from Keras by",
        "1 value is text instead of a number: taken as missing (first in line 401)",
        "1 row was skipped for a time stamp that goes back (first in line 302)",
        f"to use it: models: [{fitted.directory}] and interval_s: 0.1 in config.yaml",
    ):
        assert expected in fitted.stdout


def test_the_manifest_says_what_it_was_trained_for_and_how_well_it_was_exported(fitted: Fitted) -> None:
    manifest = fitted.bundle.manifest
    assert (manifest.channels, manifest.interval_s, manifest.layout) == (["flow", "pressure"], 0.1, "joint")
    assert manifest.quantisation == "dynamic-range int8"
    assert manifest.start is not None
    assert manifest.start.rows == 1260
    found = manifest.verification
    assert found["forecaster"]["steps"] >= 300
    assert found["autoencoder"]["windows"] >= 1000
    for network in ("forecaster", "autoencoder"):
        assert found[network]["mean_deviation"] <= found["mean_tolerance"]
        assert found["forms"][network]["int8"]["size"] == getattr(manifest, network).size
        assert manifest.measured["microseconds"][network]["int8"] > 0
    assert found["score_shift"]["mean"] < 0.05
    assert manifest.calibration["test"]["rows"] == 140
    assert manifest.provenance["plan"]["seed"] == 3
    assert re.fullmatch("[0-9a-f]{64}", manifest.provenance["data_sha256"])


def test_nothing_but_the_bundle_is_left(fitted: Fitted) -> None:
    names = {path.name for path in fitted.directory.iterdir()}
    assert {"manifest.json", *FILES, "report.html", "loss.png", "forecast.png"} <= names
    assert all(name.endswith((".json", ".tflite", ".html", ".png")) for name in names)
    assert {path.name for path in fitted.directory.parent.iterdir()} == {"bundle", "pump.csv"}


def test_the_report_needs_nothing_but_itself(fitted: Fitted) -> None:
    page = (fitted.directory / "report.html").read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", own)
    assert "<link" not in own
    for expected in ("Bundle pump@1.0.0", "taken as missing (first in line 401)", "dynamic-range int8", "Forecast"):
        assert expected in own


class TestOnTheDevice:
    def test_the_bundle_is_whole(self, fitted: Fitted, capsys: pytest.CaptureFixture[str]) -> None:
        assert agent_cli.main(["model", "verify", str(fitted.directory)]) == 0
        assert "pump@1.0.0 is complete" in capsys.readouterr().out

    def test_its_only_other_runtime_answers_the_same(self, fitted: Fitted, tflite_python: str) -> None:
        theirs = fitted.bundle.manifest.verification["tflite-runtime"]
        for network in ("forecaster", "autoencoder"):
            assert theirs[network]["mean_deviation"] < 0.02
        assert "tflite-runtime deviates from Keras by" in fitted.stdout

    def test_a_replay_finds_a_burst_in_the_first_seconds_and_nothing_else(self, fitted: Fitted, tmp_path: Path) -> None:
        data, found = with_a_burst(tmp_path / "burst.csv", row=18), tmp_path / "found.jsonl"
        (tmp_path / "c.yaml").write_text(ALERTS)
        given = ["--bundle", str(fitted.directory), "--config", str(tmp_path / "c.yaml")]
        assert agent_cli.main(["replay", "--input", str(data), "--incidents", str(found), *given]) == 0
        (opened,) = [alert for alert in map(json.loads, found.read_text().splitlines()) if alert["phase"] == "open"]
        assert opened["contributors"][0]["channel"] == "pressure"
        assert opened["model"] == "pump@1.0.0"
        assert 0 <= opened["ts"] - (1_700_000_000 + STEP_S * (ROWS + 18)) < 20 * STEP_S

    def test_a_replay_of_normal_readings_finds_nothing(
        self, fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = write(tmp_path / "normal.csv", readings(1000, seed=5))
        (tmp_path / "c.yaml").write_text(ALERTS)
        given = ["--bundle", str(fitted.directory), "--config", str(tmp_path / "c.yaml")]
        assert agent_cli.main(["replay", "--input", str(data), *given]) == 0
        assert "0 incidents" in capsys.readouterr().out

    @pytest.mark.broker
    def test_a_fresh_agent_watches_with_it_at_once(
        self, fitted: Fitted, broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
    ) -> None:
        subscriber = subscribe(broker.port)
        data = with_a_burst(tmp_path / "burst.csv", row=40)
        path = tmp_path / "config.yaml"
        path.write_text(
            f"state_dir: {tmp_path / 'state'}\ninterval_s: {STEP_S}\nmodels: ['{fitted.directory}']\n"
            f"sources: [{{type: csv, path: '{data}'}}]\nmqtt: {{port: {broker.port}}}\n{ALERTS}"
        )
        agent = run_agent(path)
        alert = wait_for(lambda: subscriber.json("alert"), what=f"an alert; {agent.words()}")[0]
        assert alert["phase"] == "open"
        assert alert["contributors"][0]["channel"] == "pressure"
        assert alert["model"] == "pump@1.0.0"
        states = [state["state"] for state in subscriber.json("state")]
        assert states[0] == "normal"
        assert "anomalous" in states
        assert "learning" not in states
        assert agent.end() == 0

    def test_evaluation_takes_it(self, fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = with_a_burst(tmp_path / "burst.csv", row=100)
        begin = 1_700_000_000 + STEP_S * (ROWS + 100)
        (tmp_path / "labels.csv").write_text(f"begin,end\n{begin},{begin + 2}\n")
        (tmp_path / "c.yaml").write_text(ALERTS)
        given = ["--bundle", str(fitted.directory), "--data", str(data), "--labels", str(tmp_path / "labels.csv")]
        given += ["--config", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "out"), "--train-share", "0.2"]
        assert main.main(["evaluate", *given]) == 0, capsys.readouterr().err
        (result,) = json.loads((tmp_path / "out" / "metrics.json").read_text())["results"]
        assert result["true_intervals"] == 1
        assert result["by_point"]["detectors"]["range"]["events"]["found"] == 1


class Told(NamedTuple):
    """Reported progress of a fit, by stage."""

    steps: dict[str, list[int]]
    remarks: dict[str, list[str]]


def bars(monkeypatch: pytest.MonkeyPatch, stop: tuple[str, int] = ("", 0)) -> Told:
    """Record the progress of fits, or interrupt them at a given step of a stage, as Ctrl-C does."""
    told = Told({}, {})

    class Listening:
        def __init__(self, progress: Any) -> None:
            pass

        def stage(self, name: str, total: int) -> Callable[[int, str], None]:
            steps, remarks = told.steps.setdefault(name, []), told.remarks.setdefault(name, [])

            def report(done: int, remark: str) -> None:
                steps.append(done)
                remarks.append(remark)
                if (name, done) == stop:
                    raise KeyboardInterrupt

            return report

    monkeypatch.setattr(command, "_Bars", Listening)
    return told


class TestInterrupted:
    def test_it_keeps_the_former_bundle_and_goes_on_to_the_same_one(
        self, fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "bundle"
        shutil.copytree(agent_bundle.builtin_directory(), target)
        former = content(target)
        call = ["fit", "--output", str(target), *fitted.options, "--no-report"]

        bars(monkeypatch, stop=("train autoencoder", 13))
        assert main.main(call) == 130
        assert "interrupted, the same command continues from the last complete epoch" in capsys.readouterr().err
        assert content(target) == former
        assert {path.name for path in tmp_path.iterdir()} == {"bundle", ".bundle.fit"}

        told = bars(monkeypatch)
        assert main.main(call) == 0
        assert told.steps["train forecaster"] == [20]  # finished before
        assert told.steps["train autoencoder"] == [*range(11, 21), 20]
        assert {path.name for path in tmp_path.iterdir()} == {"bundle"}
        assert {path.name for path in target.iterdir()} == {"manifest.json", *FILES}
        for file in FILES:
            assert (target / file).read_bytes() == (fitted.directory / file).read_bytes(), file
        assert agent_bundle.load(target).manifest.digest == fitted.bundle.manifest.digest

    def test_it_leaves_no_bundle_and_never_goes_on_with_another_seed(
        self, fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        losses = []
        for seed in ("3", "4"):
            told = bars(monkeypatch, stop=("train forecaster", 15))
            call = ["fit", "--output", str(tmp_path / "bundle"), *fitted.options, "--seed", seed]
            assert main.main(call) == 130
            assert told.steps["train forecaster"] == list(range(1, 16))  # from the beginning
            assert {path.name for path in tmp_path.iterdir()} == {".bundle.fit"}
            losses.append(told.remarks["train forecaster"])
        assert losses[0] != losses[1]


class TestDiskFull:
    @pytest.fixture
    def tiny_disk(self, tmp_path: Path) -> Any:
        """A disk of 64 KiB."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
        if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("only root may mount a tiny disk")
        yield disk
        subprocess.run(["umount", str(disk)], check=True)

    def test_a_training_says_so_and_leaves_nothing(
        self, fitted: Fitted, tiny_disk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tiny_disk / "ballast").write_bytes(bytes(48 << 10))
        assert main.main(["fit", "--output", str(tiny_disk / "bundle"), *fitted.options]) == 3
        told = capsys.readouterr().err
        assert f"{tiny_disk / '.bundle.fit' / 'forecaster.npz'}: cannot be written: No space left on device" in told
        assert "free disk space" in told
        assert [path.name for path in tiny_disk.iterdir()] == ["ballast"]

    def test_a_bundle_is_written_whole_or_not_at_all(self, fitted: Fitted, tiny_disk: Path) -> None:
        target, bundle = tiny_disk / "bundle", fitted.bundle
        former = content(writer.write(bundle, target).directory)
        free = os.statvfs(tiny_disk).f_bavail * os.statvfs(tiny_disk).f_bsize
        (tiny_disk / "ballast").write_bytes(bytes(free - (8 << 10)))
        with pytest.raises(EnvironmentFault, match="No space left on device") as fault:
            writer.write(bundle, target)
        assert fault.value.location == str(target)
        assert content(target) == former
        assert {path.name for path in tiny_disk.iterdir()} == {"bundle", "ballast"}


class TestOtherNetworks:
    """A few fits that together cover every head, layout, number format and depth."""

    def fit(self, fitted: Fitted, target: Path, *options: str) -> Bundle:
        assert main.main(["fit", "--data", str(fitted.data), "--output", str(target), "--no-report", *options]) == 0
        return agent_bundle.load(target)

    def replayed(self, fitted: Fitted, bundle: Bundle, folder: Path) -> Float32Array:
        """Expectation, lower and upper bound of both channels over the training data, float32[rows, 3, 2]."""
        table = folder / "out.csv"
        given = ["--bundle", str(bundle.directory), "--output", str(table)]
        assert agent_cli.main(["replay", "--input", str(fitted.data), *given]) == 0
        with table.open() as file:
            rows = list(csv.DictReader(file))
        names = [f"{channel}.{bound}" for bound in ("expected", "lower", "upper") for channel in ("flow", "pressure")]
        cells = np.array([[row[name] or "nan" for name in names] for row in rows], np.float32)
        return cells.reshape(-1, 3, 2)

    def test_a_shared_mixture_of_two_layers_three_rows_ahead_over_centred_blocks(
        self, fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(number_formats, "FORMS", ("float32",))
        monkeypatch.setattr(tflite, "_BISECTIONS", 8)  # each is exported; test_number_formats covers all
        chosen = "--head mixture --layout shared --layers 2 --latent 0 --horizon 3 --form float32 --scaling standard"
        look = "--window 24 --block 2 --centred"
        bundle = self.fit(fitted, tmp_path / "bundle", *TINY, *chosen.split(), *look.split())
        manifest = bundle.manifest
        assert (manifest.layout, manifest.quantisation, manifest.lanes) == ("shared", "float32", 1)
        assert (manifest.forecaster.horizon, manifest.forecaster.units) == (3, 16)
        assert manifest.scaling.method == "standard"
        spec = manifest.autoencoder
        assert (spec.window, spec.block, spec.centred, len(spec.state_tensors)) == (12, 2, True, 8)
        bounds = self.replayed(fitted, bundle, tmp_path)
        assert np.isnan(bounds[:3]).all()
        assert np.isfinite(bounds[3:]).all()
        assert (bounds[3:, 1] < bounds[3:, 0]).all()
        assert (bounds[3:, 0] < bounds[3:, 2]).all()

    def test_a_joint_point_in_full_integers_by_both_runtimes(
        self, fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(number_formats, "FORMS", ("full-int8", "float32"))
        chosen = "--head point --form full-int8 --scaling minmax --dropout 0.1"
        bundle = self.fit(fitted, tmp_path / "bundle", *TINY, *chosen.split(), *second_runtime())
        manifest = bundle.manifest
        assert (manifest.layout, manifest.quantisation) == ("joint", "full-integer int8")
        assert ("tflite-runtime" in manifest.verification) == bool(second_runtime())
        assert np.isfinite(self.replayed(fitted, bundle, tmp_path)[1:]).all()
