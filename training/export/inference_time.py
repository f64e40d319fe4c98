"""Times TFLite files side by side, in a process of its own: beside TensorFlow an inference takes several times as long.

``python -m training.export.inference_time FOLDER`` prints a JSON object: microseconds an inference of every ``.tflite``
file in it.
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

_ROUNDS = 60
_INVOKES = 10


def microseconds(files: Mapping[str, bytes]) -> dict[str, float]:
    """Time an inference of each file, for a batch of one.

    Parameters
    ----------
    files
        Content by name.

    Returns
    -------
    The median over rounds, in which all take turns, so that a machine whose speed drifts favours none.

    Raises
    ------
    EdgewatchError
        The process failed; says what it said.
    """
    names = list(files)
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            Path(folder, f"{number}.tflite").write_bytes(files[name])
        done = subprocess.run(  # noqa: S603 - this very interpreter
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
