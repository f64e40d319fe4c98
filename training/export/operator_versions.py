"""Check that the oldest supported runtime can load the operators of a TFLite file.

tflite-runtime 2.14 is the newest for 32-bit ARM. It refuses a file with an operator of a later version.
"""

from __future__ import annotations

from tensorflow.lite.python import schema_py_generated as schema

from agent.core.errors import EdgewatchError

__all__ = ["NEWEST", "operators", "refuse_newer_operators"]

#: Newest version of each allowed operator in tflite-runtime 2.14, from tensorflow/lite/core/kernels/register.cc of that
#: release.
NEWEST = {
    "ABS": 5,
    "ADD": 5,
    "BATCH_MATMUL": 4,
    "BROADCAST_TO": 3,
    "CAST": 5,
    "CONCATENATION": 4,
    "DEQUANTIZE": 5,
    "DIV": 2,
    "EXP": 2,
    "EXPAND_DIMS": 1,
    "FILL": 4,
    "FULLY_CONNECTED": 10,
    "GATHER": 6,
    "LESS": 3,
    "LOG": 1,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MINIMUM": 4,
    "MUL": 7,
    "NEG": 1,
    "PACK": 4,
    "QUANTIZE": 3,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "RESHAPE": 1,
    "SHAPE": 1,
    "SLICE": 6,
    "SOFTMAX": 3,
    "SPLIT": 4,
    "SQUEEZE": 2,
    "STRIDED_SLICE": 8,
    "SUB": 5,
    "SUM": 2,
    "TANH": 3,
    "TILE": 3,
    "TRANSPOSE": 6,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 4,
    "UNPACK": 4,
}
_NAMES = {
    number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int) and name.isupper()
}


def operators(content: bytes) -> dict[str, int]:
    """Highest version of each operator in a TFLite file, by name."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    found: dict[str, int] = {}
    for code in model.operatorCodes:
        name = _NAMES.get(code.builtinCode, str(code.builtinCode))
        if name == "CUSTOM":
            name = f"CUSTOM {bytes(code.customCode or b'').decode(errors='replace')}"
        found[name] = max(found.get(name, 0), int(code.version))
    return found


def refuse_newer_operators(content: bytes) -> None:
    """Refuse a file that the oldest runtime cannot load.

    Raises
    ------
    EdgewatchError
        An operator is newer than in `NEWEST`, or is not listed there.
    """
    newer = [
        f"{name} version {version}" for name, version in operators(content).items() if version > NEWEST.get(name, 0)
    ]
    if newer:
        raise EdgewatchError(
            f"the converter used {', '.join(sorted(newer))}, which tflite-runtime 2.14 does not load",
            remedy="train with the TensorFlow version named in docs/training.md",
        )
