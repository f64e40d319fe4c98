"""Fingerprint of a machine's arithmetic, which decides whether digests can be compared bit for bit.

Vector instructions, linear algebra and the TFLite runtime differ between processors and versions. The fingerprint runs
none of the agent's code, so that a change of that code is never mistaken for a change of the machine.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import ai_edge_litert
import numpy as np
from ai_edge_litert.interpreter import Interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["fingerprint", "networks"]

# Array lengths, chosen by hand: less than a vector register, no multiple of one, a multiple.
_SIZES = (3, 17, 256)
_BATCHES = (1, 4, 20)
# Inferences in a row, so that a recurrent state is fed back.
_STEPS = 3


def networks(package: Path) -> list[Path]:
    """Find the shipped networks below the agent's package, sorted by file name.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    found = sorted(package.rglob("*.tflite"), key=lambda path: path.name)
    if not found:
        raise FileNotFoundError(f"no .tflite file below {package}")
    return found


def fingerprint(package: Path) -> dict[str, str]:
    """Compute the fingerprint of this machine's arithmetic.

    Parameters
    ----------
    package
        Folder of the agent's package.

    Returns
    -------
    Versions of libraries; hashes of the results of numpy, the C library and the shipped networks for fixed inputs; a
    hash of the network files.
    """
    files = [path.read_bytes() for path in networks(package)]
    return {
        "numpy": np.__version__,
        "litert": str(getattr(ai_edge_litert, "__version__", "")),
        "functions": _hash(_functions()),
        "algebra": _hash(_algebra()),
        "networks": _hash(answer for file in files for answer in _answers(file)),
        "models": hashlib.sha256(b"".join(files)).hexdigest()[:16],
    }


def _hash(arrays: Iterator[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _numbers(*shape: int) -> Any:
    """Fixed numbers between −2 and 2, float64[shape]."""
    count = math.prod(shape)
    return ((np.arange(count, dtype=np.float64) * 37 + 11) % 101 / 25.25 - 2.0).reshape(shape)


def _functions() -> Iterator[Any]:
    yield np.array([[f(x / 7.0) for x in range(1, 40)] for f in (math.exp, math.log, math.sin, math.cos, math.sqrt)])
    for size in _SIZES:
        for kind in (np.float64, np.float32):
            numbers = _numbers(size).astype(kind)
            above = np.abs(numbers) + kind(0.1)
            for name in ("sin", "cos", "exp", "expm1", "sinh", "arcsinh", "tanh"):
                yield getattr(np, name)(numbers)
            for name in ("log", "log1p", "sqrt"):
                yield getattr(np, name)(above)
            yield np.array([numbers.sum(), numbers.mean(), above.std(), np.median(numbers)])
            yield np.quantile(numbers, (0.05, 0.5, 0.95))
            yield above ** kind(1.7)


def _algebra() -> Iterator[Any]:
    for size in _SIZES[:2]:
        matrix = _numbers(size, size) + 5.0 * np.eye(size)
        yield matrix @ _numbers(size)
        yield matrix @ matrix.T
        yield np.linalg.solve(matrix, _numbers(size))
        yield np.linalg.inv(matrix)
        stack = np.stack([matrix, matrix.T, 2.0 * matrix])
        yield np.linalg.solve(stack, _numbers(3, size, 1))
        yield np.einsum("kij,kj->ki", stack, _numbers(3, size))
        yield np.einsum("kij,kjl->kil", stack, stack)


def _answers(model: bytes) -> Iterator[Any]:
    """Outputs of a network for fixed inputs, at several batch sizes."""
    for batch in _BATCHES:
        interpreter = Interpreter(model_content=model, num_threads=1)
        inputs = interpreter.get_input_details()
        for each in inputs:
            shape = [batch if size == -1 else size for size in each["shape_signature"].tolist()]
            interpreter.resize_tensor_input(each["index"], shape)
        interpreter.allocate_tensors()
        interpreter.reset_all_variables()
        for step in range(_STEPS):
            for each in interpreter.get_input_details():
                shape = each["shape"].tolist()
                interpreter.set_tensor(each["index"], (_numbers(*shape) / (step + 1)).astype(each["dtype"]))
            interpreter.invoke()
            for each in interpreter.get_output_details():
                yield interpreter.get_tensor(each["index"])
