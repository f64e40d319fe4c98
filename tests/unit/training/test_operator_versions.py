from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="exporting needs the training extra")

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

from agent.core.errors import EdgewatchError
from tests.support.waiting import HUNG_S
from training.export.operator_versions import NEWEST, operators, refuse_newer_operators

pytestmark = pytest.mark.training

CODES = schema.BuiltinOperator


def file_with(*codes: tuple[int, int], custom: bytes | None = None) -> bytes:
    """A TFLite file that has these operators: number and version."""
    model = schema.ModelT()
    model.version = 3
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], []
    model.subgraphs, model.buffers = [graph], [schema.BufferT()]
    model.operatorCodes = [_code(number, version, custom) for number, version in codes]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _code(number: int, version: int, custom: bytes | None) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    code.customCode = custom
    return code


def test_what_the_oldest_runtime_knows_passes() -> None:
    newest = [(getattr(CODES, name), version) for name, version in NEWEST.items()]
    content = file_with(*newest)
    assert operators(content) == NEWEST
    refuse_newer_operators(content)


@pytest.mark.parametrize("name", sorted(NEWEST))
def test_a_version_it_does_not_know_is_refused_by_name(name: str) -> None:
    content = file_with((CODES.ADD, 1), (getattr(CODES, name), NEWEST[name] + 1))
    with pytest.raises(
        EdgewatchError, match=rf"{name} version {NEWEST[name] + 1}, which tflite-runtime 2.14"
    ) as refused:
        refuse_newer_operators(content)
    assert "docs/training.md" in refused.value.remedy


def test_of_several_versions_the_newest_counts() -> None:
    content = file_with((CODES.FULLY_CONNECTED, 12), (CODES.FULLY_CONNECTED, 1))
    assert operators(content) == {"FULLY_CONNECTED": 12}
    with pytest.raises(EdgewatchError, match="FULLY_CONNECTED version 12"):
        refuse_newer_operators(content)


def test_an_operator_that_our_networks_are_not_made_of_is_refused() -> None:
    with pytest.raises(EdgewatchError, match="WHILE version 1"):
        refuse_newer_operators(file_with((CODES.WHILE, 1)))


def test_an_operator_outside_of_the_runtime_is_refused_by_its_own_name() -> None:
    with pytest.raises(EdgewatchError, match="CUSTOM FlexTensorListReserve version 1"):
        refuse_newer_operators(file_with((CODES.CUSTOM, 1), custom=b"FlexTensorListReserve"))


def test_all_that_is_too_new_is_said_at_once() -> None:
    with pytest.raises(EdgewatchError, match="ADD version 6, WHILE version 1"):
        refuse_newer_operators(file_with((CODES.WHILE, 1), (CODES.ADD, 6)))


def test_the_table_is_that_of_the_oldest_runtime(tflite_python: str, tmp_path: Path) -> None:
    for name, newest in NEWEST.items():
        for version in (newest, newest + 1):
            (tmp_path / f"{name}.{version}").write_bytes(file_with((getattr(CODES, name), version)))
    script = """
import pathlib, sys
from tflite_runtime.interpreter import Interpreter
for path in pathlib.Path(sys.argv[1]).iterdir():
    try:
        Interpreter(model_content=path.read_bytes())
    except ValueError as error:
        assert "Didn't find op" in str(error), error
    else:
        print(path.name)
"""
    done = subprocess.run(
        [tflite_python, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=HUNG_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {f"{name}.{newest}" for name, newest in NEWEST.items()}
