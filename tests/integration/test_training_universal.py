from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="training needs the training extra")
pytest.importorskip("rich", reason="training needs the training extra")

from agent.core.errors import EdgewatchError
from agent.models import loader
from agent.models.bundle import Bundle
from tests.support.waiting import HUNG_S
from training.bundle import writer
from training.export import device_run
from training.networks import architectures
from training.networks.universal_dataset import trace, windows
from training.recipes import universal
from training.synthetic.series import days, simulate

if TYPE_CHECKING:
    from training.recipes.universal import Advance

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]
Tiny: TypeAlias = tuple[Bundle, dict[str, Any]]
TINY = universal.TrainingBudget(n_series=16, rows=384, forecaster_steps=4, autoencoder_steps=4, held_back=8)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "training", *arguments]


def _environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **extra}


def _no_stage(name: str, steps: int) -> Advance:
    return lambda done: None


@pytest.fixture(scope="module", name="tiny")
def _tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A briefly trained bundle, and its Keras models."""
    made: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("forecaster", "autoencoder"):
            make = getattr(architectures, name)
            patch.setattr(
                architectures, name, lambda make=make, name=name, **seeds: made.setdefault(name, make(**seeds))
            )
        bundle = universal.build(tmp_path_factory.mktemp("tiny") / "bundle", seed=8, budget=TINY, stage=_no_stage)
    return bundle, made


@pytest.fixture(scope="module", name="written")
def _written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bundle trained by the command in its own process."""
    target = tmp_path_factory.mktemp("trained") / "bundle"
    done = subprocess.run(
        _command("universal", "--output", str(target), "--quick", "--seed", "3"),
        env=_environment(SOURCE_DATE_EPOCH="86400"),
        cwd=target.parent,
        capture_output=True,
        text=True,
        timeout=HUNG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target, done.stdout


def test_the_agent_loads_what_the_command_writes(written: tuple[Path, str]) -> None:
    target, stdout = written
    manifest = loader.load(target).manifest
    assert (manifest.name, manifest.version, manifest.created) == ("default", "1.0.0", "1970-01-02")
    assert (manifest.channels, manifest.interval_s) == ("any", "any")
    assert {p.name for p in target.iterdir()} == {"manifest.json", "forecaster.tflite", "autoencoder.tflite"}
    assert "default@1.0.0" in stdout
    assert [p.name for p in target.parent.iterdir()] == ["bundle"]


def test_the_manifest_says_how_far_int8_is_from_keras_and_how_large_errors_are(written: tuple[Path, str]) -> None:
    manifest = loader.load(written[0]).manifest
    assert manifest.verification["forecaster"]["steps"] >= 1000
    assert manifest.verification["autoencoder"]["windows"] >= 1000
    for network in ("forecaster", "autoencoder"):
        assert manifest.verification[network]["mean_deviation"] <= manifest.verification["mean_tolerance"]
    for error in ("forecast_error", "reconstruction_error"):
        quantiles = list(manifest.calibration[error].values())
        assert quantiles == sorted(quantiles)
        assert quantiles[0] > 0
    assert re.fullmatch("[0-9a-f]{64}", manifest.provenance["data_sha256"])


def test_a_bundle_is_small(written: tuple[Path, str]) -> None:
    assert sum(p.stat().st_size for p in written[0].iterdir()) < 100_000


def test_the_only_runtime_of_32_bit_arm_answers_the_same(written: tuple[Path, str], tflite_python: str) -> None:
    script = "import pathlib, sys\nfrom agent.models import loader, tflite\nloader.load(pathlib.Path(sys.argv[1]))"
    script += "\nprint(tflite.runtime_name())"
    done = subprocess.run(
        [tflite_python, "-c", script, str(written[0])],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=HUNG_S,
        check=False,
    )
    assert done.stdout == "tflite-runtime\n", done.stderr


def test_the_same_seed_gives_the_same_bundle_and_another_seed_another(tiny: Tiny, tmp_path: Path) -> None:
    again = universal.build(tmp_path / "again", seed=8, budget=TINY, stage=_no_stage)
    for file in ("manifest.json", "forecaster.tflite", "autoencoder.tflite"):
        assert (again.directory / file).read_bytes() == (tiny[0].directory / file).read_bytes(), file
    other = universal.build(tmp_path / "other", seed=6, budget=TINY, stage=_no_stage)
    assert (other.directory / "forecaster.tflite").read_bytes() != (again.directory / "forecaster.tflite").read_bytes()


def test_the_device_answers_as_the_trained_keras_models_do(tiny: Tiny) -> None:
    bundle, made = tiny
    series = simulate(99, 8, 400)
    traced = trace(series, np.zeros(8), days(99, 8))
    state = np.zeros((8, architectures.UNITS), np.float32)
    expected = np.asarray(made["forecaster"]([traced.features, state, state])[0])
    np.testing.assert_allclose(device_run.forecast(bundle, traced.features), expected, atol=0.05)

    cut = windows(series, traced, np.arange(8), np.full(8, 200), architectures.WINDOW)
    expected = np.asarray(made["autoencoder"](cut[:, :, None]))[:, :, 0]
    np.testing.assert_allclose(device_run.reconstruct(bundle, cut), expected, atol=0.05)


def test_training_lowers_the_loss(tiny: Tiny, tmp_path: Path) -> None:
    longer = universal.TrainingBudget(n_series=64, rows=384, forecaster_steps=80, autoencoder_steps=80, held_back=8)
    trained = universal.build(tmp_path / "trained", seed=8, budget=longer, stage=_no_stage)
    quality = [bundle.manifest.verification["quality"] for bundle in (tiny[0], trained)]
    assert quality[1]["forecaster"]["pinball"] < 0.9 * quality[0]["forecaster"]["pinball"]
    assert quality[1]["autoencoder"]["error"] < 0.9 * quality[0]["autoencoder"]["error"]


def test_networks_that_fail_verification_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise EdgewatchError("the exported forecaster deviates")

    monkeypatch.setattr(universal, "verify", refuse)
    with pytest.raises(EdgewatchError, match="deviates"):
        universal.build(tmp_path / "bundle", seed=1, budget=TINY, stage=_no_stage)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_the_agent_refuses_does_not_replace_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: tuple[Path, str]
) -> None:
    target = tmp_path / "bundle"
    shutil.copytree(written[0], target)
    former = json.loads((target / "manifest.json").read_text())
    monkeypatch.setattr(writer, "rounded", lambda numbers: (np.asarray(numbers) + 1.0).tolist())
    with pytest.raises(EdgewatchError, match="outputs deviate"):
        universal.build(target, seed=1, budget=TINY, stage=_no_stage)
    assert json.loads((target / "manifest.json").read_text()) == former
    loader.load(target)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_ctrl_c_leaves_nothing_behind_and_no_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        _command("universal", "--output", str(tmp_path / "bundle"), "--steps", "100000"),
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        deadline = time.monotonic() + 60
        while not _is_at_work(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=HUNG_S)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


def _is_at_work(pid: int) -> bool:
    """Whether the runtime, the last heavy import, is loaded; simulation then takes tens of seconds."""
    return "ai_edge_litert" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("value", ["0", "-3", "x"])
def test_a_senseless_number_of_steps_is_a_users_mistake(value: str) -> None:
    done = subprocess.run(
        _command("universal", "--output", "nowhere", "--steps", value),
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--steps" in done.stderr


def test_a_folder_that_is_no_bundle_is_refused_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(
        _command("universal", "--output", str(tmp_path)),
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=HUNG_S,
        check=False,
    )
    assert done.returncode == 2
    assert "something else ('thesis.txt')" in done.stderr
    assert "Traceback" not in done.stderr
