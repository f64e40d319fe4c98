"""Targets of fuzzing: each parser of foreign bytes, with a check that it uses or refuses them as documented."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import signal
import struct
import tempfile
import zlib
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import yaml

from agent.config.loader import parse
from agent.config.schema import Config
from agent.core.clock import ManualClock
from agent.core.errors import EnvironmentFault, UserError
from agent.core.frame import Frame
from agent.core.persistent_state import Unusable, capture, pack, restore, unpack
from agent.delivery.outbox import Outbox
from agent.delivery.outbox_records import Row
from agent.delivery.outbox_store import OutboxStore
from agent.delivery.publisher import Publisher
from agent.integrations.inbox import Inbox
from agent.messages.alert import Alert
from agent.messages.command import Acknowledge, Silence, Unsilence
from agent.models import loader, signature
from agent.mqtt.received import Received
from agent.mqtt.secrets import read_secret
from agent.mqtt.settings import MqttConfig
from agent.sampling import recording
from agent.sampling.recorder import Recorder
from agent.service import snapshot_file
from agent.service.pipeline import Pipeline
from agent.service.snapshot_file import FORMAT, Moment, Saved
from agent.sources.csv_reader import CsvReader
from agent.sources.mqtt import TopicConfig, readings
from agent.sources.payload import NoReading
from agent.sources.prometheus_text import sample_lines
from agent.sources.push_buffer import ArrivalsConfig, PushBuffer
from agent.sources.simulated import SimulatedConfig
from agent.sources.stream import Lines
from tools.testing.alerts import alert

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from agent.messages.command import Command
    from agent.models.bundle import Bundle

    #: Raises an exception if an input is neither used nor refused as documented.
    Check: TypeAlias = Callable[[bytes], None]

__all__ = ["TARGETS", "Target"]


class Target(NamedTuple):
    """A parser of foreign bytes.

    Parameters
    ----------
    open
        Makes the check; takes a working folder.
    seeds
        Gives small valid inputs.
    tree, data
        Conversions from bytes to a tree of values and back; None if inputs are no trees.
    """

    open: Callable[[Path], Check]
    seeds: Callable[[], list[bytes]]
    tree: Callable[[bytes], Any] | None = None
    data: Callable[[Any], bytes] | None = None


_INSTANCE = "7f3a"
# Seconds until a model's process is ended, chosen by hand.
_MODEL_S = 20
_ROWS = 48  # blocks of the coarsest time scale: the next step computes all scales
_SIMULATED = SimulatedConfig(type="simulated", channels=2)


def _config(folder: Path) -> Check:
    models = [loader.load_builtin()]
    started: set[bytes] = set()

    def check(data: bytes) -> None:
        try:
            config = parse(data)
            Publisher(config.mqtt, config.node, _INSTANCE, Inbox(config.mqtt, config.node, repr).filters)
        except (UserError, EnvironmentFault):
            return
        ours = tuple(s for s in config.sources if isinstance(s, SimulatedConfig) and s.channels <= 8)
        config = msgspec.structs.replace(config, state_dir=str(folder), sources=ours[:1] or (_SIMULATED,))
        # An accepted configuration must start; this takes milliseconds and is tried once for each.
        normalised = msgspec.json.encode(msgspec.structs.replace(config, node="", mqtt=MqttConfig()))
        if normalised not in started:
            started.add(normalised)
            _step(Pipeline(config, models, ManualClock(), _Delivery(), _INSTANCE))  # type: ignore[arg-type]
            Recorder(folder, (), config.interval_s, 1 << 20)

    return check


class _Delivery:
    """Delivery worker that runs jobs at once."""

    @staticmethod
    def do(job: Callable[[], None]) -> None:
        job()


def _step(pipeline: Pipeline, rows: int = 1) -> None:
    """Run ticks of the daemon's pipeline."""
    for number in range(rows):
        values = np.full(len(pipeline.sampler.channels), 50.0 + number % 7, np.float32)
        values[-1] = 99.0
        frame = Frame(pipeline.sampler.first_seq + number, number * 10**9, 1.7e9 + number, values)
        verdict, alerts = pipeline.judge(frame)
        verdict.bounds(), verdict.score(), verdict.progress(), verdict.provisional()
        pipeline.incidents.budget.needed(frame.seq * 1.0)
        pipeline.packed()
        msgspec.json.encode(alerts)


def _config_seeds() -> list[bytes]:
    channels = b"sources: [{type: simulated, channels: 2, day_s: 60, quiet_s: 5, kinds: [spike]}, {type: host}]\n"
    return [
        b"",
        b"node: pi4\ninterval_s: 0.5\n" + channels,
        b"sources:\n- type: latency\n  targets: [{name: a, tcp: 'x:1', timeout_s: 1}]\n- {type: csv, path: a.csv}\n",
        b"detection: {block_s: 5, memory_s: 1e6, threshold: {method: spot, risk: 1e-4}}\nmodels: [builtin]\n",
        b"alerts: {learning_s: 60, confirm_s: 5, clear_s: 9, merge_s: 3, cooldown_s: 1, budget_per_day: 3}\n",
        b"alerts:\n  silences: [{channels: ['disk.*'], from: 2026-12-24T18:00, until: 2026-12-27}]\n",
        b"alerts: {maintenance: [{days: [sun], at: '02:00', for_s: 60}]}\noutbox: {max_mb: 1, max_age_s: 9}\n",
        b"mqtt: {host: h, port: 1, username: u, password_file: p, prefix: a/b, discovery: true, commands: true}\n",
        b"mqtt: {tls: {ca_file: a, cert_file: b, key_file: c}, keepalive_s: 5, metrics_interval_s: 1}\n",
        b"history: {directory: d, max_mb: 2}\nprometheus: {port: 0, address: '::1'}\ntrusted_keys: [AAAA]\n",
    ]


def _config_tree(data: bytes) -> Any:
    return yaml.safe_load(data) or {}


def _csv(folder: Path) -> Check:
    path = folder / "readings.csv"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(UserError), CsvReader(path) as reader:
            for frame in reader:
                if frame.values.shape != (len(reader.channels),) or not frame.seq >= 0:
                    raise AssertionError(frame)
            reader.report.summary()

    return check


def _csv_seeds() -> list[bytes]:
    return [
        b"t,a,b\n0,1,2\n1,3,\n2,x,1e999\n",
        b"time;a\r\n2026-05-04T12:30:00Z;4,5\r\n2026-05-04 12:30:01.5+02:00;nan\r\n",
        b'\xef\xbb\xbft,"a ""b"""\n1777897800,-inf\n1777897799,0\n1777897900,7\n',
    ]


def _csv_tree(data: bytes) -> Any:
    return [row.split(",") for row in data.decode("utf-8", "replace").split("\n")]


def _csv_data(tree: Any) -> bytes:
    rows = (row if isinstance(row, list) else [row] for row in tree)
    return "\n".join(",".join(map(str, row)) for row in rows).encode("utf-8", "replace")


def _command(folder: Path) -> Check:
    config = Config(
        node="pi4",
        state_dir=str(folder),
        sources=(_SIMULATED,),
        mqtt=MqttConfig(commands=True, discovery=True),
    )
    pipeline = Pipeline(config, [loader.load_builtin()], ManualClock(), _Delivery(), _INSTANCE)  # type: ignore[arg-type]
    _step(pipeline, _ROWS)
    frame = Frame(_ROWS, 0, 0.0, np.zeros(2, np.float32))

    def carry_out(command: Command) -> str:
        """Execute a command like the daemon, except for slow ones."""
        silences = pipeline.incidents.silences
        if isinstance(command, Silence):
            return str(silences.add(command.channels, command.for_s, 0, include_limits=command.include_limits))
        if isinstance(command, Acknowledge):
            return str(pipeline.incidents.acknowledge(command.incident, frame))
        return str(silences.lift(command.channels)) if isinstance(command, Unsilence) else ""

    link = _Link()
    remote = Inbox(config.mqtt, config.node, carry_out)
    topics = (*remote.filters, "homeassistant/status", "edgewatch/pi4/cmd/answer")
    now_s = 0.0

    def check(data: bytes) -> None:
        nonlocal now_s
        now_s += 60.0
        payload, _, rest = data.partition(b"\0")
        response, _, correlation = rest.partition(b"\0")
        kind = correlation[0] if correlation else 0
        topic = topics[kind % len(topics)]
        link.waiting = [Received(topic, payload, kind > 127, response.decode("utf-8", "replace"), correlation)]
        link.sent = []
        remote.hear(link, now_s)  # type: ignore[arg-type]
        remote.announce(link, now_s)  # type: ignore[arg-type]
        for name, content in link.sent:
            if not name.startswith(("edgewatch/", "homeassistant/device/edgewatch_pi4/")) or "#" in name:
                raise AssertionError(name)
            msgspec.json.decode(content)

    return check


class _Link:
    """Fake publisher without a broker."""

    def __init__(self) -> None:
        self.waiting: list[Received] = []
        self.sent: list[tuple[str, bytes]] = []

    def received(self) -> list[Received]:
        return self.waiting

    @staticmethod
    def renewed() -> bool:
        return False

    def send(self, name: str, payload: bytes, **_: Any) -> None:
        self.sent.append((name, payload))


def _command_seeds() -> list[bytes]:
    return [
        b'{"command":"silence","channels":["simulated.*"],"for_s":60,"include_limits":true,"id":"1"}',
        b'{"command":"unsilence","channels":["*"]}\0edgewatch/answers/me\0abc',
        b'{"command":"acknowledge","incident":"pi4-7f3a-000001"}',
        b'{"command":"relearn","channels":["*"],"id":"\\u00e9"}\0\0\xff',
        b'{"command":"reload"}\0edgewatch/+/x\0\0',
        b"online\0\0\1",
    ]


def _json_tree(data: bytes) -> Any:
    return json.loads(data.partition(b"\0")[0])


def _json_data(tree: Any) -> bytes:
    """Encode JSON with NaN, long numbers and lone surrogates, which msgspec refuses."""
    return json.dumps(tree).encode()


def _manifest(folder: Path) -> Check:
    directory = folder / "bundle"
    shutil.copytree(loader.builtin_directory(), directory)

    def check(data: bytes) -> None:
        (directory / "manifest.json").write_bytes(data)
        with contextlib.suppress(UserError):
            loader.load(directory)

    return check


def _manifest_seeds() -> list[bytes]:
    manifest = json.loads((loader.builtin_directory() / "manifest.json").read_bytes())
    trained = manifest | {
        "channels": ["a"],
        "interval_s": 1.0,
        "layout": "joint",
        "features": ["level", "hour_sin"],
        "scaling": {
            "kind": "fixed",
            "method": "robust",
            "log_reference": [0.0],
            "effect": [1.0],
            "centre": [0.0],
            "spread": [1.0],
        },
        "start": {"rows": 9, "levels": [0.0, 1.0], "forecast_error": [[0, 1]], "reconstruction_error": [[0, 1]]},
    }
    return [_json_data(manifest), _json_data(trained)]


def _model(folder: Path) -> Check:
    """Check a damaged model with a correct hash: only the runtime and the recorded answers can refuse it.

    It may crash the runtime, therefore a new bundle is first tried in a separate process. A model that passes there
    must not fail later.
    """
    directory, loaded = folder / "bundle", folder / "loaded"
    shutil.copytree(loader.builtin_directory(), directory)
    manifest = json.loads((directory / "manifest.json").read_bytes())
    sound = {name: (directory / f"{name}.tflite").read_bytes() for name in ("forecaster", "autoencoder")}

    def check(data: bytes) -> None:
        name = "forecaster" if len(data) < 16_000 else "autoencoder"
        for file, content in (sound | {name: data}).items():
            (directory / f"{file}.tflite").write_bytes(content)
        entry = manifest[name] | {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (directory / "manifest.json").write_bytes(_json_data(manifest | {name: entry}))
        loaded.unlink(missing_ok=True)
        status = _in_a_child(lambda: _use_model(directory, folder, loaded))
        if status > 0 or (status < 0 and loaded.exists()):
            raise AssertionError(f"ended with {status}, loaded: {loaded.exists()}")

    return check


def _use_model(directory: Path, folder: Path, loaded: Path) -> None:
    try:
        model = loader.load(directory)
    except UserError:
        return
    loaded.touch()
    _step(_pipeline(folder, model), 2 * _ROWS)


def _in_a_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a child process; return 0 on success, 1 after an exception, -n if killed by signal n."""
    child = os.fork()
    if not child:
        signal.alarm(_MODEL_S)  # ends the process
        try:
            work()
        except BaseException:  # noqa: BLE001 - reported by the exit status
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _model_seeds() -> list[bytes]:
    return [(loader.builtin_directory() / f"{name}.tflite").read_bytes() for name in ("forecaster", "autoencoder")]


def _signature(folder: Path) -> Check:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - an extra
            Ed25519PrivateKey,
        )
    except ImportError as error:
        raise EnvironmentFault("cryptography is not installed", remedy="pip install 'edgewatch[signed]'") from error
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    keys = [b64encode(private.public_key().public_bytes_raw()).decode(), b64encode(bytes(32)).decode()]
    genuine = b64encode(private.sign(b"manifest"))

    def check(data: bytes) -> None:
        (folder / signature.FILE).write_bytes(data)
        with contextlib.suppress(UserError):
            signature.check(folder, b"manifest", keys[:1])
            if data[:1024].strip() != genuine:
                raise AssertionError("accepted a forged signature")
        with contextlib.suppress(ValueError):
            signature.read_key(data.decode("utf-8", "replace"))

    return check


def _signature_seeds() -> list[bytes]:
    return [b64encode(bytes(range(64))), b64encode(bytes(32)) + b"\n"]


_SAVED = Saved(FORMAT, "1", {"models": "m"}, Moment("boot", 1, 2.0), 3, 4, _INSTANCE)


def _snapshot(folder: Path) -> Check:
    path = folder / "s"

    def check(data: bytes) -> None:
        digest = hashlib.blake2b(data, digest_size=32).digest()
        for body in (data, data + digest, data[:-32] + hashlib.blake2b(data[:-32], digest_size=32).digest()):
            path.write_bytes(body)
            with contextlib.suppress(Unusable):
                snapshot_file.read(path)
        with contextlib.suppress(Unusable):
            unpack(data)

    return check


def _snapshot_seeds() -> list[bytes]:
    content = {"array": np.arange(6.0).reshape(2, 3), "part": {"list": [{"x": 1}], "text": "t", "none": None}}
    raw = pack(content)
    header = msgspec.msgpack.encode(_SAVED)
    body = b"EWSNAP\r\n" + struct.pack("<II", len(header), len(raw)) + header + zlib.compress(raw)
    return [raw, body, body + bytes(32)]


def _pipeline(folder: Path, model: Bundle | None = None) -> Pipeline:
    config = Config(
        node="pi4",
        state_dir=str(folder),
        sources=(_SIMULATED,),
        detection=parse(b"detection: {block_s: 1}").detection,
        alerts=parse(b"alerts: {learning_s: 0, confirm_s: 2, budget_per_day: 1e9}").alerts,
    )
    models = [model or loader.load_builtin()]
    return Pipeline(config, models, ManualClock(), _Delivery(), _INSTANCE)  # type: ignore[arg-type]


def _learned(folder: Path) -> Check:
    """Check the content of a snapshot with correct checksum and header, but arbitrary values."""
    pipeline = _pipeline(folder)
    _step(pipeline)
    pipeline.keep_all(0)
    path = folder / "whole.snapshot"
    saved, _ = snapshot_file.read(path)
    fresh = _pipeline(folder)
    ensemble = fresh.monitor
    initial = capture(ensemble)

    def check(data: bytes) -> None:
        try:
            content = unpack(data)
        except Unusable:
            return
        snapshot_file.write(path, saved, content)
        restore(ensemble, [initial])
        fresh.monitor, fresh.incidents = ensemble, fresh._new_incidents()  # noqa: SLF001 - a new pipeline takes a hundred times as long
        fresh.resume(1, None)
        _step(fresh, 2)

    return check


def _learned_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        pipeline = _pipeline(Path(folder))
        _step(pipeline, 3 * _ROWS - 1)
        pipeline.incidents.silences.add(["*"], 60.0, 0)
        pipeline.keep_all(0)
        return [pack(snapshot_file.read(Path(folder) / "whole.snapshot")[1])]


def _outbox(folder: Path) -> Check:
    state = folder / "state"

    def check(data: bytes) -> None:
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        (state / "outbox.db").write_bytes(data)
        (state / "ballast").write_bytes(b"")  # otherwise it would be created each time
        _use(state)

    return check


def _use(state: Path) -> None:
    """Open an outbox, store an alert, deliver all pending ones, and check that none is left."""
    outbox = Outbox(state)
    outbox.append([alert(outbox.next_seq)], b"incidents")
    waiting = outbox.pending(0, 1000)
    for _, payload in waiting:
        msgspec.json.decode(payload, type=Alert)
    outbox.acknowledge([rowid for rowid, _ in waiting])
    outbox.tend()
    left, durable = outbox.depth, outbox.durable
    outbox.close()
    if left or not durable:
        raise AssertionError(f"{left} left, durable: {durable}")


def _outbox_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder))
        outbox.append([alert(seq) for seq in range(1, 5)], b"incidents")
        outbox.close()
        return [(Path(folder) / "outbox.db").read_bytes()]


def _queued(folder: Path) -> Check:
    """Check records of the outbox with correct checksums, but arbitrary payload, state and count of dropped alerts."""
    state = folder / "state"

    def check(data: bytes) -> None:
        shutil.rmtree(state, ignore_errors=True)
        parts = (data + b"\0\0").split(b"\0", 2)
        rowid = max(1, int.from_bytes(data[:8], "big") % (1 << 62))
        store = OutboxStore(state)
        store.insert(
            [Row(rowid, 1, 0, 0.0, parts[0]), Row(3, 2, 0, 1.7e9, parts[0])],
            {"dropped": parts[2], **store.standing(rowid, parts[1])},
        )
        store.close()
        _use(state)

    return check


def _queued_seeds() -> list[bytes]:
    return [msgspec.json.encode(alert(1)) + b"\x007f3a\nincidents\x0012", b"{}\0\n\0-1"]


def _history(folder: Path) -> Check:
    path = folder / "000001.ewh"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            for block in recording.read(path):
                if block.values.shape != (len(block.wall), len(block.channels)):
                    raise AssertionError(block)

    return check


def _block(folder: Path) -> Check:
    """Check a block of the history with a correct checksum."""
    check_segment = _history(folder)

    def check(data: bytes) -> None:
        header, _, rest = data.partition(b"\n")
        payload = rest[2:]
        (rows,) = struct.unpack("<H", rest[:2].ljust(2, b"\0"))
        for body in (payload, zlib.compress(payload, 1)):
            head = struct.pack("<4sIII", b"EWHB", rows, len(body), zlib.crc32(body))
            check_segment(header + b"\n" + head + body)

    return check


_SEGMENT = {"format": "edgewatch-history", "v": 1, "interval_s": 1.0, "channels": [{"name": "a"}, {"name": "b"}]}


def _history_seeds() -> list[bytes]:
    payload = zlib.compress(bytes(3 * 16), 1)
    block = struct.pack("<4sIII", b"EWHB", 3, len(payload), zlib.crc32(payload)) + payload
    return [_json_data(_SEGMENT) + b"\n" + block + block]


def _block_seeds() -> list[bytes]:
    payload = bytes(3 * 16)
    return [_json_data(_SEGMENT) + b"\n\3\0" + payload, _json_data(_SEGMENT) + b"\n\3\0" + zlib.compress(payload)]


def _segment_tree(data: bytes) -> Any:
    header, _, rest = data.partition(b"\n")
    return {"header": json.loads(header), "rest": rest.decode("latin-1")}


def _segment_data(tree: Any) -> bytes:
    return _json_data(tree["header"]) + b"\n" + str(tree["rest"]).encode("latin-1", "replace")


def _secret(folder: Path) -> Check:
    path = folder / "password"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            secret = read_secret(str(path))
            if not secret or "\n" in secret:
                raise AssertionError(repr(secret))

    return check


def _payload(folder: Path) -> Check:
    """Check an MQTT payload of a sensor."""
    del folder
    specs = (TopicConfig("#"), TopicConfig("#", values=("a.b", "0.t")), TopicConfig("#", ignore=("*.b",)))

    def check(data: bytes) -> None:
        for spec in specs:
            with contextlib.suppress(NoReading):
                found = readings("topic", data, spec)
                if not found or not all(map(math.isfinite, dict(found).values())):
                    raise AssertionError(found)

    return check


def _line(folder: Path) -> Check:
    """Check lines of a stream and pages in the Prometheus format."""
    del folder
    config = ArrivalsConfig(type="stream", max_channels=4)

    def check(data: bytes) -> None:
        arrivals = PushBuffer(config)
        lines = Lines(arrivals, "auto")
        lines.feed(data)
        lines.feed(b"\n")
        arrivals.row()
        for name, labels, _ in sample_lines(data.decode("utf-8", "replace")):
            if not name or not all(labels):
                raise AssertionError(name)

    return check


_LINES = (
    b'boiler,room=attic,unit=2 t=21.5,p=12i,on=true,name="a b" 1700000000\nmy\\ boiler te\\=mp=1e3\n',
    b"queue:12|g\nqueue:+3|g\nrequests:1|c|@0.1\n",
    b'{"a": {"b": 1}, "c": [true, null, "on"]}\nattic.t 21.5 C\ndoor: open\n',
    b'# HELP up x\nup{job="a\\"b",i="1",} 1 1700000000\nload 0.5\n',
)


#: Targets by name.
TARGETS: dict[str, Target] = {
    "config": Target(_config, _config_seeds, _config_tree, _json_data),
    "csv": Target(_csv, _csv_seeds, _csv_tree, _csv_data),
    "command": Target(_command, _command_seeds, _json_tree, _json_data),
    "manifest": Target(_manifest, _manifest_seeds, _json_tree, _json_data),
    "model": Target(_model, _model_seeds),
    "signature": Target(_signature, _signature_seeds),
    "snapshot": Target(_snapshot, _snapshot_seeds),
    "learned": Target(_learned, _learned_seeds, unpack, pack),
    "outbox": Target(_outbox, _outbox_seeds),
    "queued": Target(_queued, _queued_seeds),
    "history": Target(_history, _history_seeds, _segment_tree, _segment_data),
    "block": Target(_block, _block_seeds, _segment_tree, _segment_data),
    "payload": Target(
        _payload,
        lambda: [
            b"21.5",
            b'{"a": {"b": 1, "t": "21.5 C"}, "metrics": [{"name": "x", "value": true}]}',
            b"ON",
            b'[{"t": 5}]',
        ],
        _json_tree,
        _json_data,
    ),
    "line": Target(_line, lambda: list(_LINES)),
    "secret": Target(_secret, lambda: [b"secret\n", "gehe\u00efm\r\nmore".encode()]),
}
