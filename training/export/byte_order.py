"""Brings a TFLite file into one order, so that the same networks give the same bytes.

TensorFlow's quantiser emits the operations that widen constant weights in the order of a hash table over addresses,
which changes from run to run, and the converter adds a hash over that order.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

__all__ = ["canonical"]

_IDENTIFIER = b"TFL3"
_HASHED = b"CONVERSION_METADATA"


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc] # it has no type information
    """Aligns byte vectors, which hold the weights, to 16 as TFLite's schema asks; Python's generated code does not."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803 - their names
        return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)


def canonical(content: bytes) -> bytes:
    """Put operations that widen constants first, in the order of their inputs, and leave out the converter's hash.

    Parameters
    ----------
    content
        A TFLite file with one subgraph. What it computes stays the same.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    graph = model.subgraphs[0]
    widened = [operation for operation in graph.operators if _widens_constant(model, graph, operation)]
    others = [operation for operation in graph.operators if not _widens_constant(model, graph, operation)]
    widened.sort(key=lambda operation: int(operation.inputs[0]))
    graph.operators = widened + others

    outputs = [int(operation.outputs[0]) for operation in widened]
    places = dict(zip(outputs, sorted(outputs), strict=True))
    tensors = list(graph.tensors)
    for former, place in places.items():
        graph.tensors[place] = tensors[former]
    for operation in graph.operators:
        operation.inputs = [places.get(int(i), int(i)) for i in operation.inputs]
        operation.outputs = [places.get(int(i), int(i)) for i in operation.outputs]

    for entry in model.metadata:
        if entry.name == _HASHED:
            model.buffers[entry.buffer].data = None
    model.metadata = [entry for entry in model.metadata if entry.name != _HASHED]
    builder = _AlignedBuilder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _widens_constant(model: Any, graph: Any, operation: Any) -> bool:
    """Whether it can come first: what widens a result, as at the end of an integer network, has to wait for it."""
    code = model.operatorCodes[operation.opcodeIndex].builtinCode
    return bool(
        code == schema.BuiltinOperator.DEQUANTIZE
        and model.buffers[graph.tensors[operation.inputs[0]].buffer].data is not None
    )
