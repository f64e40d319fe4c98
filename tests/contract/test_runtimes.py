"""The shipped bundle gives the same results on both TFLite runtimes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

from tests.support.paths import ROOT

SCRIPT = """
import json, sys
import numpy as np
from agent.models import loader
from agent.models.tflite import runtime_name
loaded = loader.load_builtin()
rng = np.random.default_rng(0)
network = loaded.forecaster(4)
forecasts = []
for row in rng.normal(0, 1.5, (300, 4, loaded.manifest.width)).astype(np.float32):
    forecasts.append(network.advance(row).tolist())
autoencoder = loaded.autoencoder(2)
windows = rng.normal(0, 1.5, (60, 2, loaded.manifest.autoencoder.window)).astype(np.float32)
json.dump([runtime_name(), forecasts, [autoencoder.reconstruct(w).tolist() for w in windows]], sys.stdout)
"""


def answers(python: str) -> tuple[str, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    done = subprocess.run(
        [python, "-c", SCRIPT], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    name, forecasts, reconstructions = json.loads(done.stdout)
    return name, np.array(forecasts), np.array(reconstructions)


def test_both_runtimes_give_the_same_answers(tflite_python: str) -> None:
    ours, theirs = answers(sys.executable), answers(tflite_python)
    assert theirs[0] == "tflite-runtime"
    assert np.abs(ours[1] - theirs[1]).max() < 0.02
    assert np.abs(ours[2] - theirs[2]).max() < 0.001
