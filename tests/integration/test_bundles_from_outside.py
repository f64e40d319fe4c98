"""Bundles from outside: unsigned ones are refused, and a bad new one never replaces a good one."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.config.loader import parse
from agent.config.schema import Config
from agent.core.errors import EdgewatchError, UserError
from agent.models import loader
from agent.models.last_good import load_bundles, load_or_last_good
from training.commands.main import main as training

PEM = "key.pem"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A copy of the shipped bundle in a folder."""
    shutil.copytree(loader.builtin_directory(), tmp_path / "outside")
    return tmp_path / "outside"


def config(outside: Path, *keys: str) -> Config:
    return Config(models=(str(outside),), state_dir=str(outside.parent / "state"), trusted_keys=keys)


def sign(outside: Path, capsys: Any, pem: str = PEM) -> str:
    pytest.importorskip("cryptography", reason="signatures need the extra `signed`")
    assert training(["sign", "--bundle", str(outside), "--key", str(outside.parent / pem)]) == 0
    return str(capsys.readouterr().out.split("trusted_keys: [")[1].split("]")[0])


def damage(outside: Path) -> None:
    path = outside / "forecaster.tflite"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_signed_bundle_is_taken_and_one_that_was_changed_is_not(outside: Path, capsys: Any) -> None:
    key = sign(outside, capsys)
    assert (outside.parent / PEM).stat().st_mode & 0o777 == 0o600
    assert len(load_bundles(config(outside, key))) == 1
    manifest = outside / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")  # the same meaning, other bytes
    with pytest.raises(UserError, match="none of the trusted keys"):
        load_bundles(config(outside, key))


def test_a_bundle_without_a_signature_or_of_a_stranger_is_refused(outside: Path, capsys: Any) -> None:
    key = sign(outside, capsys)
    (outside / "manifest.sig").unlink()
    with pytest.raises(UserError, match="not signed"):
        load_bundles(config(outside, key))
    sign(outside, capsys, "other.pem")
    with pytest.raises(UserError, match="none of the trusted keys"):
        load_bundles(config(outside, key))
    # Without trusted keys, signatures are not checked.
    assert load_bundles(config(outside))


@pytest.mark.parametrize("content", [b"", b"no base64!", base64.b64encode(b"short"), b"A" * 5000])
def test_a_signature_that_is_none_is_refused(outside: Path, capsys: Any, content: bytes) -> None:
    key = sign(outside, capsys)
    (outside / "manifest.sig").write_bytes(content)
    with pytest.raises(UserError, match="signed"):
        load_bundles(config(outside, key))


def test_a_key_that_is_none_is_an_error_of_the_configuration() -> None:
    with pytest.raises(UserError, match="an Ed25519 key has 32"):
        parse(b"trusted_keys: [c2hvcnQ=]")


def test_a_key_is_never_overwritten_and_what_is_no_key_is_said(outside: Path, capsys: Any) -> None:
    key = sign(outside, capsys)
    assert sign(outside, capsys) == key
    (outside.parent / PEM).write_text("no key")
    assert training(["sign", "--bundle", str(outside), "--key", str(outside.parent / PEM)]) == 2
    assert "not readable as a private key" in capsys.readouterr().err


def test_what_is_damaged_is_replaced_by_its_last_good_copy(outside: Path, caplog: Any) -> None:
    good = load_or_last_good(config(outside))
    damage(outside)
    with pytest.raises(EdgewatchError):
        load_bundles(config(outside))
    again = load_or_last_good(config(outside))
    assert again[0].manifest == good[0].manifest
    assert "the last good copy of the bundle is used" in caplog.text
    shutil.rmtree(outside)
    assert load_or_last_good(config(outside))[0].manifest == good[0].manifest


def test_what_never_was_good_is_an_error_that_names_what_was_asked_for(outside: Path) -> None:
    damage(outside)
    with pytest.raises(UserError) as refused:
        load_or_last_good(config(outside))
    assert str(outside) in refused.value.location


def test_a_copy_that_is_not_trusted_is_no_way_in(outside: Path, capsys: Any) -> None:
    load_or_last_good(config(outside))  # accepted without keys, and kept as the last good copy
    key = sign(outside, capsys)
    (outside / "manifest.sig").unlink()
    with pytest.raises(UserError, match="not signed"):
        load_or_last_good(config(outside, key))


def test_a_copy_is_written_once_and_again_when_the_bundle_is_another(outside: Path) -> None:
    load_or_last_good(config(outside))
    (copy,) = (outside.parent / "state" / "bundles").iterdir()
    written = (copy / "manifest.json").stat().st_mtime_ns
    load_or_last_good(config(outside))
    assert (copy / "manifest.json").stat().st_mtime_ns == written
    (outside / "manifest.json").write_bytes((outside / "manifest.json").read_bytes() + b"\n")
    load_or_last_good(config(outside))
    assert (copy / "manifest.json").read_bytes() == (outside / "manifest.json").read_bytes()


def as_if_the_runtime_crashed(folder: Path, monkeypatch: pytest.MonkeyPatch, words: str = "kill -SEGV $$") -> Path:
    """A fake Python that runs a shell command, by default a fatal SIGSEGV, and records its calls."""
    program, asked = folder / "python", folder / "asked"
    program.write_text(f"#!/bin/sh\necho >>{asked}\n{words}\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    return asked


def test_a_model_that_crashes_the_runtime_does_not_crash_the_agent(
    outside: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    good = load_or_last_good(config(outside))
    manifest = outside / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")  # another bundle
    as_if_the_runtime_crashed(outside.parent, monkeypatch)
    with pytest.raises(UserError, match=r"does not survive a model of this bundle \(killed by signal 11\)"):
        load_bundles(config(outside))
    assert load_or_last_good(config(outside))[0].manifest == good[0].manifest
    assert "the last good copy of the bundle is used" in caplog.text


def test_a_model_that_never_comes_to_an_end_is_refused(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_if_the_runtime_crashed(outside.parent, monkeypatch, "exec sleep 30")
    monkeypatch.setattr("agent.models.sandbox._TIMEOUT_S", 0.2)
    with pytest.raises(UserError, match="no end after"):
        load_bundles(config(outside))


def test_what_was_tried_once_is_not_tried_at_every_start(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = as_if_the_runtime_crashed(outside.parent, monkeypatch, "exit 0")
    for _ in range(3):
        load_or_last_good(config(outside))
    assert len(asked.read_text().splitlines()) == 1


def test_what_is_not_signed_does_not_even_reach_the_trial(
    outside: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = sign(outside, capsys)
    (outside / "manifest.sig").unlink()
    asked = as_if_the_runtime_crashed(outside.parent, monkeypatch)
    with pytest.raises(UserError, match="not signed"):
        load_bundles(config(outside, key))
    assert not asked.exists()
