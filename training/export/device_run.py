"""Runs exported networks as the device does: with the agent's loader and runtime, one step at a time.

``python -m training.export.device_run BUNDLE INPUTS ANSWERS`` runs them in a separate process with the TFLite runtime
of that Python. It needs only the dependencies of the agent.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.core.errors import EnvironmentFault
from agent.models import loader as agent_bundle
from agent.models.tflite import runtime_name

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array
    from agent.models.bundle import Bundle

__all__ = ["answers_of", "forecast", "reconstruct"]


def forecast(bundle: Bundle, features: Float32Array) -> Float32Array:
    """Forecast all rows in sequence from zero state, with the state carried along.

    Parameters
    ----------
    features
        float32[n_series, rows, n_features].

    Returns
    -------
    float32[n_series, rows, 3 * lanes]: offsets of the median, distances to the lower and upper quantiles.
    """
    n_series, rows, _ = features.shape
    network = bundle.forecaster(n_series)
    forecasts = np.empty(
        (n_series, rows, len(bundle.manifest.forecaster.quantiles) * bundle.manifest.lanes), np.float32
    )
    for t in range(rows):
        forecasts[:, t] = network.advance(np.ascontiguousarray(features[:, t]))
    return forecasts


def reconstruct(bundle: Bundle, windows: Float32Array) -> Float32Array:
    """Reconstruct windows in sequence with one network, which reveals state left over from the window before.

    Parameters
    ----------
    windows
        float32[n_windows, window * lanes].

    Returns
    -------
    float32[n_windows, window * lanes]
    """
    network = bundle.autoencoder(1)
    return np.concatenate([network.reconstruct(window[None]) for window in windows])


def answers_of(
    python: Path, directory: Path, features: Float32Array, windows: Float32Array
) -> tuple[str, Float32Array, Float32Array]:
    """Run `forecast` and `reconstruct` in another Python with another TFLite runtime.

    Parameters
    ----------
    python
        Interpreter.
    directory
        Folder of the bundle.
    features, windows
        Inputs of `forecast` and `reconstruct`.

    Returns
    -------
    Name of the runtime, and the results of both functions.

    Raises
    ------
    EnvironmentFault
        The other Python fails; the error has the last line of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs, answers = Path(folder, "inputs.npz"), Path(folder, "answers.npz")
        np.savez(inputs, features=features, windows=windows)
        done = subprocess.run(  # noqa: S603 - an interpreter that the user named
            [str(python), "-m", "training.export.device_run", str(directory.resolve()), str(inputs), str(answers)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise EnvironmentFault(
                f"this Python cannot run the bundle: {done.stderr.strip().splitlines()[-1:]}",
                location=str(python),
                remedy="install tflite-runtime, numpy below 2 and msgspec in it, or omit --second-runtime",
            )
        with np.load(answers, allow_pickle=False) as given:
            return str(given["runtime"]), given["forecast"], given["reconstruction"]


def _main(directory: str, inputs: str, answers: str) -> None:
    loaded = agent_bundle.load(Path(directory))
    with np.load(inputs, allow_pickle=False) as given:
        np.savez(
            answers,
            runtime=np.array(runtime_name()),
            forecast=forecast(loaded, given["features"]),
            reconstruction=reconstruct(loaded, given["windows"]),
        )


if __name__ == "__main__":
    _main(*sys.argv[1:])
