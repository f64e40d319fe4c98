"""The publisher with real brokers: authentication, refusals and reconnection."""

from __future__ import annotations

import datetime
import gc
import ipaddress
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from agent.cli.main import main
from agent.core.errors import EnvironmentFault, UserError
from agent.delivery.outbox import Outbox
from agent.delivery.publisher import Publisher
from agent.messages import topics
from agent.mqtt.one_shot import probe
from agent.mqtt.settings import MqttConfig, TlsConfig
from tests.support.alerts import alert
from tests.support.waiting import wait_for
from tools.testing.mosquitto import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.broker


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    path = tmp_path / "passwords"
    path.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(path), "agent", "secret"], check=True, capture_output=True)
    return path


@pytest.fixture
def make_publisher() -> Iterator[Callable[..., tuple[Publisher, Outbox]]]:
    made: list[tuple[Publisher, Outbox]] = []

    def make(config: MqttConfig) -> tuple[Publisher, Outbox]:
        made.append((Publisher(config, "pi4", "7f3a"), Outbox(None)))
        made[-1][0].start()
        return made[-1]

    yield make
    for one, outbox in made:
        one.stop(outbox)


def local(port: int, **more: Any) -> MqttConfig:
    return MqttConfig(host="127.0.0.1", port=port, **more)


def secret(folder: Path, text: str) -> str:
    (folder / "secret").write_text(text)
    return str(folder / "secret")


def test_no_broker_is_said_with_address_and_remedy() -> None:
    port = free_port()
    with pytest.raises(EnvironmentFault, match=rf"127\.0\.0\.1:{port}: Connection refused – is a broker running there"):
        probe(local(port), "pi4")


def test_a_publisher_that_is_over_leaves_no_descriptors_to_the_garbage_collector(broker: Any) -> None:
    def connect() -> int:
        one = Publisher(local(broker.port), "pi4", "7f3a")
        one.start()
        wait_for(lambda: one.connected)
        one.stop(Outbox(None))
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()
    gc.disable()
    try:
        connect()
        assert connect() >= connect()
    finally:
        gc.enable()


def test_the_right_password_is_let_in_and_a_wrong_one_is_named(
    make_mosquitto: Callable[..., Any], passwords: Path, tmp_path: Path
) -> None:
    broker = make_mosquitto("allow_anonymous false", f"password_file {passwords}", "user root")
    right = local(broker.port, username="agent", password_file=secret(tmp_path, "secret\n"))
    assert probe(right, "pi4") == "MQTT 5"
    wrong = local(broker.port, username="agent", password_file=secret(tmp_path, "guess\n"))
    with pytest.raises(EnvironmentFault, match=r"refused: Not authorized – check \$\.mqtt\.username"):
        probe(wrong, "pi4")


def test_a_broker_that_only_speaks_3_1_1_is_spoken_to_so(
    make_publisher: Callable[..., Any], subscribe: Callable[..., Any], port_of_an_older_broker: int
) -> None:
    subscriber = subscribe(port_of_an_older_broker, version=MQTTProtocolVersion.MQTTv311)
    one, outbox = make_publisher(local(port_of_an_older_broker))
    wait_for(lambda: one.connected, what="the connection")
    outbox.append([alert(1)])
    wait_for(lambda: one.pump(outbox) or not outbox.depth, what="the acknowledgement")
    wait_for(lambda: subscriber.on("alert"), what="the alert")
    one.stop(outbox)
    wait_for(lambda: subscriber.texts("status")[-1:] == ["offline"], what="the farewell")


def test_an_alert_leaves_the_outbox_only_when_the_broker_has_it(
    broker: Any, subscribe: Callable[..., Any], make_publisher: Callable[..., Any]
) -> None:
    subscriber = subscribe(broker.port)
    one, outbox = make_publisher(local(broker.port))
    outbox.append([alert(seq) for seq in range(1, 101)])
    wait_for(lambda: one.pump(outbox) or not outbox.depth, what="all acknowledgements")
    wait_for(lambda: len(subscriber.on("alert")) == 100, what="all alerts")
    assert [a["seq"] for a in subscriber.json("alert")] == list(range(1, 101))


def test_after_a_broker_restart_everything_retained_is_said_again(
    broker: Any, subscribe: Callable[..., Any], make_publisher: Callable[..., Any]
) -> None:
    one, outbox = make_publisher(local(broker.port))
    wait_for(one.renewed, what="the first connection")
    broker.stop()
    wait_for(lambda: not one.connected, what="the loss")
    outbox.append([alert(1)])
    one.pump(outbox)
    assert outbox.depth == 1
    broker.start()
    subscriber = subscribe(broker.port)
    wait_for(one.renewed, what="the second connection")
    wait_for(lambda: "online" in subscriber.texts("status"), what="the birth message")
    wait_for(lambda: one.pump(outbox) or not outbox.depth, what="the acknowledgement")
    assert one.reconnects >= 1  # a busy broker may drop the first attempt
    wait_for(lambda: subscriber.json("alert"), what="the alert")
    assert [a["seq"] for a in subscriber.json("alert")] == [1]


def test_an_alert_that_the_broker_refuses_stays_and_is_said(
    make_mosquitto: Callable[..., Any], make_publisher: Callable[..., Any], tmp_path: Path, caplog: Any
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic write edgewatch/+/status\n")
    rules.chmod(0o600)
    broker = make_mosquitto("allow_anonymous true", f"acl_file {rules}", "user root")
    one, outbox = make_publisher(local(broker.port))
    wait_for(lambda: one.connected, what="the connection")
    outbox.append([alert(1)])
    wait_for(lambda: one.pump(outbox) or "refused an alert" in caplog.text, what="the refusal")
    assert outbox.depth == 1
    assert "check its ACL" in caplog.text


def certificates(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, made with openssl."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=edgewatch-test"),
            *("-addext", f"subjectAltName=IP:{ipaddress.ip_address('127.0.0.1')}"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_connects_when_trusted_and_never_falls_back_when_not(
    make_mosquitto: Callable[..., Any], tmp_path: Path
) -> None:
    cert, key = certificates(tmp_path)
    secure = make_mosquitto("allow_anonymous true", f"certfile {cert}", f"keyfile {key}", "user root")
    assert probe(local(secure.port, tls=TlsConfig(ca_file=str(cert))), "pi4") == "MQTT 5"
    with pytest.raises(EnvironmentFault, match=r"certificate is not trusted: .*self.signed.*check \$\.mqtt\.tls"):
        probe(local(secure.port, tls=TlsConfig()), "pi4")
    wrong_name = MqttConfig(host="localhost", port=secure.port, tls=TlsConfig(ca_file=str(cert)))
    with pytest.raises(EnvironmentFault, match=r"certificate is not trusted: .*[Hh]ostname mismatch"):
        probe(wrong_name, "pi4")
    with pytest.raises(EnvironmentFault, match=r"A TLS port needs a section \$\.mqtt\.tls"):
        probe(local(secure.port), "pi4")
    plain = make_mosquitto()
    with pytest.raises(EnvironmentFault, match=r"check \$\.mqtt\.tls\.ca_file, that the port is the broker's TLS port"):
        probe(local(plain.port, tls=TlsConfig(ca_file=str(cert))), "pi4")


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        (TlsConfig(ca_file="/nowhere/ca.pem"), r"\$\.mqtt\.tls\.ca_file: /nowhere/ca\.pem: cannot use the TLS file"),
        (TlsConfig(cert_file="/nowhere/cert.pem"), r"\$\.mqtt\.tls\.cert_file: /nowhere/cert\.pem"),
    ],
)
def test_tls_files_that_cannot_be_used_are_named(tls: TlsConfig, told: str) -> None:
    with pytest.raises(UserError, match=told):
        probe(local(1, tls=tls), "pi4")


def test_stopping_takes_less_than_a_second_even_when_the_broker_hangs(
    broker: Any, make_publisher: Callable[..., Any]
) -> None:
    one, outbox = make_publisher(local(broker.port))
    wait_for(lambda: one.connected, what="the connection")
    broker._process.send_signal(19)
    outbox.append([alert(1)])
    begin = time.monotonic()
    one.stop(outbox)
    assert time.monotonic() - begin < 1.5
    broker._process.send_signal(18)


def test_a_broker_that_hangs_makes_nothing_grow_and_no_alert_late(
    broker: Any, subscribe: Callable[..., Any], make_publisher: Callable[..., Any]
) -> None:
    subscriber = subscribe(broker.port)
    one, outbox = make_publisher(local(broker.port))
    wait_for(lambda: one.connected, what="the connection")
    broker._process.send_signal(19)
    for number in range(500):
        one.send("edgewatch/pi4/state", b"%d" % number, qos=1, retain=True)
    assert len(one._connection.session._client._out_messages) <= 40
    outbox.append([alert(1), alert(2)])
    one.pump(outbox)
    broker._process.send_signal(18)
    wait_for(lambda: one.pump(outbox) or not outbox.depth, what="the acknowledgements")
    wait_for(lambda: len(subscriber.on("alert")) == 2, what="the alerts")


def test_check_tells_every_part_and_exits_by_the_first_problem(
    broker: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"interval_s: 0.1\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    assert main(["check", "--config", str(path)]) == 0
    told = capsys.readouterr().out
    assert all(f"{part} fine" in told.replace("  ", " ").replace("  ", " ") for part in ("config", "models", "broker"))
    assert "speaks MQTT 5" in told
    path.write_text(f"mqtt: {{host: 127.0.0.1, port: {free_port()}}}\nmodels: [/nowhere]\ninterval_s: 0.1\n")
    assert main(["check", "--config", str(path)]) == 2
    told = capsys.readouterr().out
    assert "/nowhere/manifest.json: cannot read the bundle's manifest" in told
    assert "Connection refused" in told
    path.write_text(f"mqtt: {{host: 127.0.0.1, port: {free_port()}}}\ninterval_s: 0.1\n")
    assert main(["check", "--config", str(path)]) == 3


def test_messages_carry_their_time_and_nothing_but_json(
    broker: Any, subscribe: Callable[..., Any], make_publisher: Callable[..., Any]
) -> None:
    subscriber = subscribe(broker.port)
    one, outbox = make_publisher(local(broker.port))
    wait_for(lambda: one.connected, what="the connection")
    when = datetime.datetime.now(tz=datetime.timezone.utc).timestamp()
    outbox.append([msgspec.structs.replace(alert(1), ts=when, score=float("nan"))])
    wait_for(lambda: one.pump(outbox) or subscriber.on("alert"), what="the alert")
    assert subscriber.json("alert")[0]["ts"] == when
    assert subscriber.json("alert")[0]["score"] is None
    assert topics.topic(one.config.prefix, "pi4", "alert") == subscriber.on("alert")[0].topic
