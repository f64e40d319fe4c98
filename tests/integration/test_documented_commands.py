"""Every command in the documents runs as written, here or in a test that has the necessary machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.waiting import HUNG_S, wait_for
from tools.testing.mosquitto import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.subscriber import Subscriber
    from tools.testing.mosquitto import Mosquitto

pytestmark = pytest.mark.broker

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown() -> list[str]:
    """All shell lines in the documents, without comments."""
    blocks = (block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in lines if line.strip() and not line.startswith("#")]


#: Commands that need root, another machine or an hour: file of the test that runs them, and words in it.
ELSEWHERE = {
    r"make run": ("tests/e2e/test_setup.py", "setup.sh"),
    r"make (test|check|bench)": (".ci/run", "make test"),
    r"make coverage": ("Makefile", "test: check"),
    r"make behaviour": ("tests/integration/test_behaviour.py", "tools.behaviour"),
    r"make (test-newest|lock)": ("tests/unit/test_lock.py", "make lock"),
    r"make stress .*": ("tests/e2e/test_main_job.py", '"tools.stress", "cpu"'),
    r"make test-service": ("Makefile", "tests/service"),
    r"make test-arm": ("Makefile", "tests/emulated"),
    r"(python3 -m venv edgewatch && .*)?(edgewatch/bin/)?pip install .*": ("tests/e2e/test_install.py", "pip"),
    r"edgewatch/bin/edgewatch (check|run) .*": ("tests/e2e/test_install.py", "edgewatch"),
    r"sudo apt install git python3-venv": ("tools/python.sh", "python3-venv"),
    r"git clone .*": (".ci/run", "make test"),
    r"sudo sh install.sh": ("tests/service/test_booted.py", "install.sh"),
    r"sudo sh install.sh --(uninstall|purge)": ("tests/service/test_booted.py", "install.sh --uninstall"),
    r"sudo cp .* /etc/edgewatch/.*|sudo install .*/etc/edgewatch/.*": (
        "tests/service/test_booted.py",
        "/etc/edgewatch",
    ),
    r"(sudo )?systemctl (status|reload|restart) edgewatch": (
        "tests/service/test_booted.py",
        "systemctl reload edgewatch",
    ),
    r"journalctl -u edgewatch -f": ("tests/service/test_booted.py", "journalctl -u edgewatch"),
    r"edgewatch check --config /etc/edgewatch/config.yaml": ("tests/service/test_booted.py", "/etc/edgewatch"),
    r"python -m training fit .*": ("tests/integration/test_fit.py", '"fit"'),
}
#: Commands that run until they are stopped: words that they print before.
ENDLESS = {"tools.dashboard": "dashboard: http", "mosquitto_sub": "edgewatch/pi4/state"}


def elsewhere(command: str) -> tuple[str, str] | None:
    return next((where for pattern, where in ELSEWHERE.items() if re.fullmatch(pattern, command)), None)


@pytest.mark.parametrize("command", sorted({line for line in shown() if elsewhere(line)}))
def test_what_needs_another_machine_has_its_test_there(command: str) -> None:
    file, words = elsewhere(command) or ("", "")
    assert words in (ROOT / file).read_text()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the documented commands need."""
    folder = tmp_path_factory.mktemp("documented")
    noise = np.random.default_rng(0)
    rows = [f"{60 * i},{20 + noise.normal():.3f},{5 + np.sin(i / 30) + 0.1 * noise.normal():.3f}" for i in range(3000)]
    for name in ("pump.csv", "yesterday.csv"):
        (folder / name).write_text("time,flow,pressure\n" + "\n".join(rows) + "\n")
    (folder / "faults.json").write_text('[["1970-01-02 12:00:00", "1970-01-02 13:00:00"]]\n')
    (folder / "stream.yaml").write_text("channels: 2\n")
    (folder / "dashboard.password").write_text("open sesame\n")
    for name in ("nab/data/real", "nab/labels", "bin"):
        (folder / name).mkdir(parents=True)
    stamps = [f"2014-01-01 {i // 60 % 24:02}:{i % 60:02}:00,{i % 7}" for i in range(0, 1440, 5)]
    (folder / "nab" / "data" / "real" / "one.csv").write_text("timestamp,value\n" + "\n".join(stamps) + "\n")
    (folder / "nab" / "labels" / "combined_windows.json").write_text('{"real/one.csv": []}')
    for name, module in (("edgewatch", "-m agent"), ("python", "")):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
        program.chmod(0o755)
    return folder


def prepared(command: str, files: Path, port: int) -> list[str]:
    """Arguments of a command, with the test's own broker and port."""
    words = shlex.split(command)
    if words[0] in {"edgewatch", "python"}:
        words[0] = str(files / "bin" / words[0])
    if words[0].startswith("mosquitto_"):
        words[1:1] = ["-h", "127.0.0.1", "-p", str(port)]
        found = shutil.which(words[0])
        assert found, "apt install mosquitto-clients"
        words[0] = found
    if "tools.dashboard" in words:
        words = [word.replace("0.0.0.0", "127.0.0.1") for word in words] + ["--port", str(free_port())]
        if "--config" not in words:
            words += ["--config", "config.yaml"]
    return words


@pytest.mark.parametrize("command", [line for line in shown() if not elsewhere(line)])
def test_a_command_does_what_is_said(
    command: str,
    files: Path,
    broker: Mosquitto,
    run_agent: Callable[..., object],
    subscribe: Callable[..., Subscriber],
    tmp_path: Path,
) -> None:
    config = files / "config.yaml"
    config.write_text(
        f"node: pi4\ninterval_s: 0.2\nstate_dir: {tmp_path / 'state'}\n"
        f"mqtt: {{host: 127.0.0.1, port: {broker.port}, commands: true, discovery: true}}\n"
    )
    if command.startswith("mosquitto_"):
        heard = subscribe(broker.port)
        run_agent(config)
        # The agent subscribes to commands before it publishes its state.
        wait_for(lambda: heard.on("state"), what="the agent")
    if "discover " in command:
        (files / "new").mkdir(exist_ok=True)
        command = command.replace("--output config.yaml", "--output new/config.yaml")
    if "try.csv" in command and "inspect" in command:
        _done(prepared("python -m training simulate --output try.csv", files, broker.port), files)
    words = prepared(command, files, broker.port)
    endless = next((said for name, said in ENDLESS.items() if name in command), None)
    if endless:
        _says(words, files, endless)
    else:
        _done(words, files)


def _environment(files: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{files / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def _done(words: list[str], files: Path) -> None:
    done = subprocess.run(
        words, cwd=files, env=_environment(files), capture_output=True, text=True, timeout=HUNG_S, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def _says(words: list[str], files: Path, wanted: str) -> None:
    lines: list[str] = []
    with subprocess.Popen(
        words, cwd=files, env=_environment(files), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        thread = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        thread.start()
        try:
            wait_for(lambda: any(wanted in line for line in lines), what=f"{wanted!r} in {lines}")
            time.sleep(0.2)
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGTERM)
            thread.join(10)
