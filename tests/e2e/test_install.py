"""Installation: atomic, repeatable, and removed completely."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# A fake Python whose pip installs a stand-in for the agent, to save time.
FAKE_PYTHON = f"""\
[ "$1" = -c ] && exec {sys.executable} "$@"
[ "$1" = --version ] && exec echo "Python 3.11.0"
[ "$2" = venv ] && {{ mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; exit; }}
[ ! -e "$DESTDIR/no-network" ] || exit 1
printf '#!/bin/sh\\necho edgewatch 1.2.3\\n' >"$(dirname "$0")/edgewatch"
chmod +x "$(dirname "$0")/edgewatch"
"""
FAKE_SYSTEMCTL = """\
echo "$*" >>"$DESTDIR/systemctl.log"
case $* in
    "restart edgewatch")
        if [ -e "$DESTDIR/opt/edgewatch/current/bad" ]; then exit 1; fi
        if [ -e "$DESTDIR/new-does-not-start" ]; then rm "$DESTDIR/new-does-not-start"; exit 1; fi ;;
esac
"""


class Machine:
    """A root directory for the installation, with fakes of programs that would change the system."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        (self.root / "run" / "systemd" / "system").mkdir(parents=True)
        self._bin = folder / "bin"
        self._bin.mkdir()
        for name, script in (
            ("id", 'echo "${FAKE_UID:-0}"'),
            ("systemctl", FAKE_SYSTEMCTL),
            ("sysctl", ""),
            ("journalctl", "echo why it does not start"),
            ("apt-get", "exit 1"),
            ("fake-python", FAKE_PYTHON),
        ):
            (self._bin / name).write_text(f"#!/bin/sh\n{script}\n")
            (self._bin / name).chmod(0o755)

    def install(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        surroundings = {
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "DESTDIR": str(self.root),
            "PYTHON": str(self._bin / "fake-python"),
        }
        return subprocess.run(
            ["sh", str(ROOT / "install.sh"), *arguments],
            env=surroundings | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def files(self) -> set[str]:
        """All files, except the records of the fake programs."""
        files = {
            str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_symlink() or path.is_file()
        }
        return files - {"systemctl.log"}

    def systemctl(self) -> list[str]:
        return (self.root / "systemctl.log").read_text().splitlines()

    @property
    def current(self) -> Path:
        return (self.root / "opt" / "edgewatch" / "current").resolve()

    @property
    def config(self) -> Path:
        return self.root / "etc" / "edgewatch" / "config.yaml"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_installation_has_all_its_parts_and_starts(machine: Machine) -> None:
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "edgewatch 1.2.3 is running and starts at boot" in done.stdout
    etc = machine.root / "etc"
    assert machine.config.read_bytes() == (ROOT / "config.yaml").read_bytes()
    assert (etc / "systemd/system/edgewatch.service").read_bytes() == (ROOT / "systemd/edgewatch.service").read_bytes()
    assert (etc / "sysctl.d/50-edgewatch.conf").read_bytes() == (ROOT / "systemd/50-edgewatch.conf").read_bytes()
    assert (etc / "edgewatch/credentials").stat().st_mode & 0o777 == 0o700
    assert str((machine.root / "usr/local/bin/edgewatch").readlink()) == "/opt/edgewatch/current/bin/edgewatch"
    assert [line.split()[-2:] for line in machine.systemctl()] == [
        ["enable", "edgewatch"],
        ["daemon-reload"],
        ["restart", "edgewatch"],
    ]


def test_an_upgrade_keeps_the_configuration_and_nothing_of_the_old_program(machine: Machine) -> None:
    machine.install()
    machine.config.write_text("node: mine\n")
    first = machine.current
    assert machine.install().returncode == 0
    assert machine.config.read_text() == "node: mine\n"
    assert machine.current != first
    assert [path.name for path in machine.current.parent.glob("env.*")] == [machine.current.name]


def test_an_upgrade_that_cannot_be_downloaded_changes_nothing(machine: Machine) -> None:
    machine.install()
    before, first = machine.files(), machine.current
    (machine.root / "no-network").touch()
    done = machine.install()
    assert done.returncode == 3
    assert "nothing was changed" in done.stderr
    assert machine.files() - {"no-network"} == before
    assert machine.current == first


def test_an_upgrade_that_does_not_start_goes_back_to_the_version_before(machine: Machine) -> None:
    machine.install()
    before, first = machine.files(), machine.current
    (machine.root / "new-does-not-start").touch()
    done = machine.install()
    assert done.returncode == 3
    assert "why it does not start" in done.stderr
    assert "the previous version is running again" in done.stderr
    assert machine.files() == before
    assert machine.current == first
    assert machine.systemctl()[-1] == "restart edgewatch"


def test_a_first_installation_without_a_network_leaves_no_program(machine: Machine) -> None:
    (machine.root / "no-network").touch()
    assert machine.install().returncode == 3
    assert machine.files() == {"no-network"}


def test_without_systemd_it_installs_and_says_how_to_start(machine: Machine) -> None:
    (machine.root / "run" / "systemd" / "system").rmdir()
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "start it yourself" in done.stdout
    assert not [line for line in machine.systemctl() if "restart" in line]


def test_uninstalling_keeps_and_names_configuration_and_state_and_purging_leaves_nothing(machine: Machine) -> None:
    machine.install()
    state = machine.root / "var/lib/private/edgewatch"
    state.mkdir(parents=True)
    (state / "outbox.db").touch()
    (machine.root / "var/lib/edgewatch").symlink_to("private/edgewatch")
    drop_in = machine.root / "etc/systemd/system/edgewatch.service.d"
    drop_in.mkdir()
    (drop_in / "own.conf").touch()

    done = machine.install("--uninstall")
    assert done.returncode == 0, done.stderr
    kept = {"etc/edgewatch/config.yaml", "var/lib/private/edgewatch/outbox.db", "var/lib/edgewatch"}
    assert machine.files() == kept | {"etc/systemd/system/edgewatch.service.d/own.conf"}
    for named in (machine.config.parent, machine.root / "var/lib/edgewatch", drop_in):
        assert f"kept: {named}" in done.stdout
    assert "--quiet disable --now edgewatch" in machine.systemctl()

    for _ in range(2):  # repeating it is no error
        assert machine.install("--purge").returncode == 0
        assert machine.files() == set()


def test_a_command_of_the_same_name_that_is_not_ours_stays(machine: Machine) -> None:
    command = machine.root / "usr/local/bin/edgewatch"
    command.parent.mkdir(parents=True)
    command.write_text("something else")
    machine.install()
    machine.install("--purge")
    assert command.read_text() == "something else"


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [(["--unistall"], {}, "usage: sh install.sh"), ([], {"FAKE_UID": "1000"}, "run it as root: sudo sh install.sh")],
)
def test_who_calls_it_wrongly_is_told_and_nothing_happens(
    machine: Machine, arguments: list[str], environment: dict[str, str], told: str
) -> None:
    done = machine.install(*arguments, **environment)
    assert done.returncode == 2
    assert told in done.stderr
    assert machine.files() == set()


def test_shellcheck_has_nothing_to_say_about_the_scripts() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = ["install.sh", "tools/setup.sh", "tools/lock.sh"]
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
