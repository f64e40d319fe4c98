"""Modules that the daemon does not import with paho."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

UNUSED = (
    "ssl",
    "_hashlib",
    "http.client",
    "http.server",
    "email",
    "urllib.request",
    "wsgiref",
    "difflib",
    "statistics",
    "numpy.typing",
)


def run(code: str) -> str:
    # Measuring coverage would import more than the agent does.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_daemon_imports_nothing_that_a_plain_connection_never_uses() -> None:
    code = "import sys, agent.mqtt.slim_paho, agent.service.daemon, agent.sources.host; print(*sys.modules)"
    assert not set(UNUSED) & set(run(code).split())


def test_what_was_spared_can_be_had_by_others() -> None:
    code = (
        "import agent.mqtt.slim_paho, hashlib, ssl, urllib.request, http.client\n"
        "assert ssl.create_default_context() and urllib.request.build_opener()\n"
        "print(hashlib.sha256(b'a').hexdigest()[:8], hashlib.blake2b(b'a', digest_size=4).hexdigest())"
    )
    assert run(code).split() == ["ca978112", "ca234c55"]


def test_tls_is_the_real_one_where_it_is_asked_for_later() -> None:
    code = (
        "from agent.mqtt.slim_paho import mqtt\n"
        "assert not hasattr(mqtt.ssl, 'SSLContext')\n"
        "from agent.mqtt.settings import TlsConfig; from agent.mqtt.tls import ssl_context\n"
        "context = ssl_context(TlsConfig())\n"
        "client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)\n"
        "client.tls_set_context(context)\n"
        "import ssl\n"
        "print(mqtt.ssl is ssl)"
    )
    assert run(code).strip() == "True"


def test_what_is_there_already_stays() -> None:
    code = "import ssl\nfrom agent.mqtt.slim_paho import mqtt\nprint(mqtt.ssl is ssl)"
    assert run(code).strip() == "True"


@pytest.mark.parametrize("name", ["SSLWantReadError", "SSLWantWriteError", "CertificateError"])
def test_the_stand_in_has_the_errors_that_are_looked_for(name: str) -> None:
    code = (
        "from agent.mqtt.slim_paho import mqtt\n"
        "try:\n    raise BlockingIOError\n"
        f"except mqtt.ssl.{name}:\n    print('caught')\n"
        "except OSError:\n    print('passed on')"
    )
    assert run(code).strip() == "passed on"
