"""The service in a booted Debian 12 container: installed, delivering over TLS, killed, frozen, reloaded, removed.

Each test goes on from where the one before left the machine. `make test-service` runs them.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.support import debian
from tests.support.paths import ROOT
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.booted, pytest.mark.timeout(1800)]

PACKAGES = ("systemd", "systemd-sysv", "dbus", "libnss-systemd", "python3", "python3-venv", "procps")
BROKER = ("mosquitto", "mosquitto-clients", "openssl")
PASSWORD = "from a credential"
# A test certificate authority, certificates for the broker and for clients, a broker that demands both
# certificate and password, and no other listener.
SET_UP_BROKER = f"""
set -e
grep -qs localhost /etc/hosts || echo '127.0.0.1 localhost' >>/etc/hosts
mkdir -p /etc/edgewatch-test && cd /etc/edgewatch-test
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
for name in localhost client; do
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
    echo "subjectAltName=DNS:$name,IP:127.0.0.1" >"$name.ext"
    openssl x509 -req -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial \\
        -in "$name.csr" -extfile "$name.ext" -out "$name.pem"
done
mosquitto_passwd -b -c passwords edgewatch '{PASSWORD}'
chown mosquitto passwords localhost.key
cat >/etc/mosquitto/conf.d/test.conf <<END
listener 8883 127.0.0.1
cafile /etc/edgewatch-test/ca.pem
certfile /etc/edgewatch-test/localhost.pem
keyfile /etc/edgewatch-test/localhost.key
require_certificate true
allow_anonymous false
password_file /etc/edgewatch-test/passwords
END
systemctl restart mosquitto
"""
SUBSCRIBE = f"mosquitto_sub -h 127.0.0.1 -p 8883 -u edgewatch -P '{PASSWORD}' " + " ".join(
    f"--{option} /etc/edgewatch-test/{file}"
    for option, file in (("cafile", "ca.pem"), ("cert", "client.pem"), ("key", "client.key"))
)
CONFIG = """
node: booted
interval_s: 0.1
sources:
  - {type: host}
  - {type: latency, targets: [{name: here, icmp: 127.0.0.1}]}
  - {type: simulated, quiet_s: 20, anomalies_per_hour: 600, kinds: [level_shift]}
detection: {block_s: 0.1}
alerts: {learning_s: 10, confirm_s: 0.5, clear_s: 1, merge_s: 1, cooldown_s: 1, budget_per_day: 1e9}
mqtt:
  host: localhost
  username: edgewatch
  metrics_interval_s: 1
  tls:
    ca_file: /etc/edgewatch/ca.pem
    cert_file: /etc/edgewatch/client.pem
    key_file: /run/credentials/edgewatch.service/mqtt_key
"""


class Machine:
    """A booted container with its own network, on a read-only tree."""

    def __init__(self, tree: Path, wheels: Path, log: Path) -> None:
        self._log = log.open("wb")
        # Isolated: only a loopback network, and of the host only checkout and wheels.
        self._nspawn = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"),
                *("--volatile=overlay", "--machine=edgewatch-test", f"--directory={tree}"),
                *(f"--bind-ro={ROOT}:/checkout", f"--bind-ro={wheels}:/wheels"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            wait_for(self._booted, 90, f"the machine to boot, see {log}")
        except BaseException:
            self.close()
            raise

    def _booted(self) -> bool:
        assert self._nspawn.poll() is None, "systemd-nspawn ended"
        return "running" in self.run("systemctl is-system-running", check=False)

    def run(self, command: str, *, check: bool = True, timeout_s: float = 300) -> str:
        """Run a shell command in the container; return its output."""
        leader = [child.pid for child in psutil.Process(self._nspawn.pid).children()]
        if not leader:
            return ""
        done = subprocess.run(
            ["nsenter", f"--target={leader[0]}", "--all", "/bin/sh", "-c", command],
            env={
                "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": "/wheels",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def show(self, name: str) -> str:
        """A systemd property of the service."""
        return self.run(f"systemctl show edgewatch --property={name} --value").strip()

    def alert(self, phase: str = "open") -> dict[str, Any]:
        """Wait for the next alert of a phase."""
        found = self.run(f'{SUBSCRIBE} -t edgewatch/booted/alert -W 60 | grep -m 1 \'"phase":"{phase}"\'')
        return dict(json.loads(found))

    def journal(self) -> str:
        return self.run("journalctl -u edgewatch --no-pager -o cat")

    def files(self) -> set[str]:
        """All files, except those that a running system writes itself."""
        places = "proc sys dev run tmp checkout wheels var/log var/tmp var/cache var/lib/systemd var/lib/mosquitto"
        prune = " -o ".join(f"-path /{place}" for place in places.split())
        return set(self.run(f"find / \\( {prune} \\) -prune -o -print").splitlines())

    def close(self) -> None:
        if self._nspawn.poll() is None:
            self.run("systemctl poweroff", check=False)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._log.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    debian.need("debootstrap", "systemd-nspawn", "nsenter")
    tree = debian.tree("amd64", *PACKAGES, *BROKER)
    wheels = debian.wheels("x86_64", "hatchling", *debian.dependencies())
    made = Machine(tree, wheels, tmp_path_factory.mktemp("booted") / "console.log")
    made.run(SET_UP_BROKER)
    yield made
    made.close()


@pytest.fixture(scope="module")
def bare(machine: Machine) -> set[str]:
    """The files before the installation."""
    return machine.files()


def instance(alert: dict[str, Any]) -> str:
    """Instance part of an alert id."""
    return str(alert["id"]).split("-")[1]


def test_it_installs_and_runs_as_a_user_that_nobody_else_is(machine: Machine, bare: set[str]) -> None:
    said = machine.run("sh /checkout/install.sh")
    assert "is running and starts at boot" in said
    assert "active (running)" in machine.run("systemctl status edgewatch --no-pager")
    assert machine.show("StatusText").startswith("learning, open incidents: 0")
    assert machine.run("systemctl is-enabled edgewatch").strip() == "enabled"
    uid = int(machine.run(f"stat -c %u /proc/{machine.show('MainPID')}"))
    assert 61184 <= uid <= 65519  # systemd's range of dynamic users
    assert "edgewatch" not in machine.run("cat /etc/passwd")


def test_it_is_exposed_no_more_than_promised_where_it_runs(machine: Machine) -> None:
    assert machine.run("systemd-analyze verify /etc/systemd/system/edgewatch.service") == ""
    said = machine.run("systemd-analyze security edgewatch.service --no-pager")
    assert float(re.findall(r"exposure level for \S+: ([\d.]+)", said)[0]) <= 1.1


def test_an_alert_arrives_over_tls_with_a_client_certificate_and_a_password_from_a_credential(machine: Machine) -> None:
    machine.run(
        f"install -m 600 /etc/edgewatch-test/client.key /etc/edgewatch/credentials/key"
        f" && echo '{PASSWORD}' | install -m 600 /dev/stdin /etc/edgewatch/credentials/password"
        f" && install -m 644 /etc/edgewatch-test/ca.pem /etc/edgewatch-test/client.pem /etc/edgewatch"
        f" && cat >/etc/edgewatch/config.yaml <<'END'\n{CONFIG}\nEND\n"
    )
    machine.run("systemctl restart edgewatch")
    opened = machine.alert()
    assert opened["node"] == "booted"
    assert opened["contributors"]
    assert "mqtt: connected to $.mqtt: localhost:8883 with MQTT 5" in machine.journal()


def test_what_it_reads_is_not_closed_off(machine: Machine) -> None:
    found = json.loads(machine.run(f"{SUBSCRIBE} -t edgewatch/booted/metrics -C 1 -W 60"))
    values = {name: channel["value"] for name, channel in found["channels"].items()}
    assert values["latency.here"] is not None  # an unprivileged ping
    assert values["processes"] == pytest.approx(int(machine.run("ls /proc | grep -c '^[0-9]'")), abs=4)
    for name in ("cpu.percent", "load.1m", "memory.percent", "disk.percent"):
        assert values[name] is not None


def test_killed_it_is_back_within_five_seconds_and_goes_on_where_it_was(machine: Machine) -> None:
    before, old = instance(machine.alert()), machine.show("MainPID")
    # One is written each minute.
    wait_for(lambda: "recent.snapshot" in machine.run("ls /var/lib/edgewatch/"), 90, "a snapshot")
    assert "continuing with learned state" not in machine.journal()
    killed = time.monotonic()
    machine.run(f"kill -KILL {old}")
    wait_for(
        lambda: machine.show("ActiveState") == "active" and machine.show("MainPID") not in {old, "0"}, 5, "its return"
    )
    took = time.monotonic() - killed
    assert instance(machine.alert()) == before
    assert "continuing with learned state" in machine.journal()
    print(f"\nback {took:.1f} s after kill -9")  # noqa: T201 - a figure to report


def test_frozen_it_is_restarted_by_the_watchdog(machine: Machine) -> None:
    old = machine.show("MainPID")
    frozen = time.monotonic()
    machine.run(f"kill -STOP {old}")
    wait_for(
        lambda: machine.show("ActiveState") == "active" and machine.show("MainPID") not in {old, "0"}, 90, "a restart"
    )
    print(f"\nrestarted {time.monotonic() - frozen:.1f} s after it froze")  # noqa: T201 - a figure to report
    assert "Watchdog timeout" in machine.journal()


def test_a_reload_takes_the_new_configuration_into_the_same_process(machine: Machine) -> None:
    old = machine.show("MainPID")
    machine.run("sed -i 's/metrics_interval_s: 1$/metrics_interval_s: 2/' /etc/edgewatch/config.yaml")
    machine.run("systemctl reload edgewatch")
    wait_for(lambda: "reload: done; learning continues" in machine.journal(), 10, "the reload")
    assert machine.show("MainPID") == old
    wait_for(lambda: machine.show("ActiveState") == "active", 10, "the end of the reload")


def test_a_mistake_in_the_configuration_is_retried_at_leisure_until_it_is_mended(machine: Machine) -> None:
    machine.run("cp /etc/edgewatch/config.yaml /root/good.yaml && echo 'intervall_s: 1' >>/etc/edgewatch/config.yaml")
    machine.run("systemctl restart edgewatch", check=False)
    before = int(machine.show("NRestarts"))
    time.sleep(25)
    tries = int(machine.show("NRestarts")) - before
    assert 1 <= tries <= 3
    assert "unknown key; did you mean 'interval_s'?" in machine.journal()
    machine.run("mv /root/good.yaml /etc/edgewatch/config.yaml")
    wait_for(lambda: machine.show("ActiveState") == "active", what="it to run again by itself")


def test_an_upgrade_keeps_configuration_and_state(machine: Machine) -> None:
    config, before = machine.run("cat /etc/edgewatch/config.yaml"), instance(machine.alert())
    old = machine.run("readlink /opt/edgewatch/current")
    machine.run("sh /checkout/install.sh")
    assert machine.run("readlink /opt/edgewatch/current") != old
    assert machine.run("cat /etc/edgewatch/config.yaml") == config
    assert instance(machine.alert()) == before


def test_uninstalled_only_configuration_and_state_are_left_and_purged_nothing_is(
    machine: Machine, bare: set[str]
) -> None:
    said = machine.run("sh /checkout/install.sh --uninstall")
    left = machine.files() - bare
    assert {
        path for path in left if not re.match("/etc/edgewatch($|/)|/var/lib/(private/)?edgewatch($|/)", path)
    } == set()
    assert {"/etc/edgewatch/config.yaml", "/var/lib/private/edgewatch/outbox.db"} <= left
    assert "kept: /etc/edgewatch\n" in said
    assert "kept: /var/lib/edgewatch\n" in said
    machine.run("sh /checkout/install.sh --purge")
    assert machine.files() - bare == set()
    assert "could not be found" in machine.run("systemctl status edgewatch", check=False)
