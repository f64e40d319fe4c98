"""Canonical order of the operators in a TFLite file, so that the same networks give the same bytes.

TensorFlow's quantiser emits the DEQUANTIZE operators of constant weights in the order of a hash table over memory
addresses, which differs from run to run. The converter also stores a hash over that order.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

__all__ = ["canonical"]

_IDENTIFIER = b"TFL3"
_HASHED = b"CONVERSION_METADATA"


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc] # it has no type information
    """Aligns byte vectors (the weights) to 16 bytes as TFLite's schema requires; the generated Python code does not."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803 - names of the base class
        return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)


def canonical(content: bytes) -> bytes:
    """Move DEQUANTIZE operators of constants to the front, sorted by input, and remove the converter's hash.

    Parameters
    ----------
    content
        TFLite file with one subgraph.

    Returns
    -------
    TFLite file that computes the same.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    graph = model.subgraphs[0]
    widened = [operation for operation in graph.operators if _widens_constant(model, graph, operation)]
    others = [operation for operation in graph.operators if not _widens_constant(model, graph, operation)]
    widened.sort(key=lambda operation: int(operation.inputs[0]))
    graph.operators = widened + others

    outputs = [int(operation.outputs[0]) for operation in widened]
    positions = dict(zip(outputs, sorted(outputs), strict=True))
    tensors = list(graph.tensors)
    for former, position in positions.items():
        graph.tensors[position] = tensors[former]
    for operation in graph.operators:
        operation.inputs = [positions.get(int(i), int(i)) for i in operation.inputs]
        operation.outputs = [positions.get(int(i), int(i)) for i in operation.outputs]

    for entry in model.metadata:
        if entry.name == _HASHED:
            model.buffers[entry.buffer].data = None
    model.metadata = [entry for entry in model.metadata if entry.name != _HASHED]
    builder = _AlignedBuilder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _widens_constant(model: Any, graph: Any, operation: Any) -> bool:
    """Whether an operator dequantises a constant, not a result as at the end of an integer network."""
    code = model.operatorCodes[operation.opcodeIndex].builtinCode
    return bool(
        code == schema.BuiltinOperator.DEQUANTIZE
        and model.buffers[graph.tensors[operation.inputs[0]].buffer].data is not None
    )
