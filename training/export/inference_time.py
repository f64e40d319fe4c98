"""Inference times of TFLite files, measured in a separate process: beside TensorFlow, inference takes much longer.

``python -m training.export.inference_time FOLDER`` prints a JSON object with the microseconds per inference of every
``.tflite`` file in the folder.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.errors import EdgewatchError
from agent.models.tflite import bare_invoke

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["microseconds"]

_ROUNDS = 60  # measurements per file; chosen by hand
_INVOKES = 10  # inferences per measurement; chosen by hand


def microseconds(files: Mapping[str, bytes]) -> dict[str, float]:
    """Measure the time of an inference for each file, with a batch size of 1.

    Parameters
    ----------
    files
        TFLite files by name.

    Returns
    -------
    Median time in microseconds by name. All files take turns in each round, so that drifting speed affects all alike.

    Raises
    ------
    EdgewatchError
        The process failed; the error has the last line of its output.
    """
    names = list(files)
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            Path(folder, f"{number}.tflite").write_bytes(files[name])
        done = subprocess.run(  # noqa: S603 - the running interpreter
            [sys.executable, "-m", "training.export.inference_time", folder],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise EdgewatchError(f"timing the exported networks failed: {done.stderr.strip().splitlines()[-1:]}")
    found = json.loads(done.stdout)
    return {name: found[f"{number}.tflite"] for number, name in enumerate(names)}


def _main(folder: str) -> None:
    invokes = {path.name: bare_invoke(path.read_bytes(), path.name) for path in Path(folder).glob("*.tflite")}
    times: dict[str, list[float]] = {name: [] for name in invokes}
    for _ in range(_ROUNDS):
        for name, invoke in invokes.items():
            begin = time.perf_counter()
            for _ in range(_INVOKES):
                invoke()
            times[name].append((time.perf_counter() - begin) / _INVOKES * 1e6)
    print(json.dumps({name: round(statistics.median(each), 1) for name, each in times.items()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
