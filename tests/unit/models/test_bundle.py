from __future__ import annotations

import builtins
import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main
from agent.core.errors import EnvironmentFault, UserError
from agent.models import loader


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(loader.builtin_directory(), tmp_path / "bundle"))


def edit(folder: Path, change: Any) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["forecaster.tflite", "autoencoder.tflite", "manifest.json"])
def test_a_flipped_byte_anywhere_is_noticed(copy: Path, name: str) -> None:
    path = copy / name
    whole = path.read_bytes()
    rng = random.Random(0)
    unnoticed = []
    for _ in range(25):
        position = rng.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            loader.load(copy)
        except UserError as error:
            named = str(copy) in str(error)
            unnoticed += [] if named else [position]
        else:
            unnoticed.append(position)
    if name != "manifest.json":  # in the manifest a flipped digit of a note is as good as the note
        assert not unnoticed


@pytest.mark.parametrize("name", ["forecaster.tflite", "autoencoder.tflite"])
def test_a_truncated_file_is_named(copy: Path, name: str) -> None:
    path = copy / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"{name}: \d+ bytes, the manifest says \d+: the file is truncated"):
        loader.load(copy)


@pytest.mark.parametrize("name", ["forecaster.tflite", "autoencoder.tflite", "manifest.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name}: cannot read"):
        loader.load(copy)


def test_wrong_weights_with_the_right_hash_fail_on_the_golden_vectors(copy: Path) -> None:
    path = copy / "forecaster.tflite"
    content = bytearray(path.read_bytes())
    found = 0
    for position in range(2000, len(content) - 2000, 400):  # somewhere in the weights
        damaged = bytearray(content)
        for offset in range(40):
            damaged[position + offset] ^= 0x55
        path.write_bytes(damaged)
        digest = hashlib.sha256(damaged).hexdigest()
        edit(copy, lambda m, digest=digest: m["forecaster"].update(sha256=digest))
        try:
            loader.load(copy)
        except UserError as error:
            found += "deviate" in str(error)
    assert found > 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.update(format=99), "bundle format 99"),
        (lambda m: m.update(features=["level"]), r"\$\.features"),
        (lambda m: m["scaling"].update(rows=5), r"\$\.scaling.rows"),
        (lambda m: m["forecaster"].update(units=31), "state_h"),
        (lambda m: m["forecaster"].update(file="../forecaster.tflite"), "refused file entry"),
        (lambda m: m["forecaster"].update(size=1 << 40), "refused file entry"),
        (lambda m: m["autoencoder"].update(window=16), "golden.windows"),
        (lambda m: m["autoencoder"].update(stride=0), "autoencoder.stride"),
        (lambda m: m["autoencoder"].update(state_tensors=[9999]), "refuses the model"),
        (lambda m: m["golden"].update(features=[]), "golden.features"),
        (lambda m: m["golden"].update(forecast=[[[1.0]]]), "golden.forecast"),
        (lambda m: m["golden"]["reconstruction"][0].__setitem__(0, 9.0), "deviate"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m.pop("golden"), "golden"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_its_path(copy: Path, change: Any, told: str) -> None:
    edit(copy, change)
    with pytest.raises(UserError, match=told):
        loader.load(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b"x" * (2 << 20)])
def test_what_is_no_manifest_is_refused(copy: Path, content: bytes) -> None:
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json"):
        loader.load(copy)


def test_a_missing_runtime_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    real_import = builtins.__import__

    def without_runtime(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith(("ai_edge_litert", "tflite_runtime")):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_runtime)
    with pytest.raises(EnvironmentFault, match="pip install ai-edge-litert"):
        loader.load_builtin()
    assert main(["model", "verify"]) == 3
    assert "pip install ai-edge-litert" in capsys.readouterr().err
