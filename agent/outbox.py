"""Alerts wait here, on disk, until the broker has acknowledged them.

An alert is committed before it counts as raised and deleted after its PUBACK, so that neither a crash nor a broker
that is away loses one. The numbering of alerts lives in the same database and advances in the same transaction.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.types import Alert

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Outbox"]

_LOG = logging.getLogger(__name__)
_FILE = "outbox.db"
_MAX_BYTES = 16 << 20
# Dropped first when full: info before warning before critical, oldest first.
_RANK = {"info": 0, "warning": 1, "critical": 2}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS alert (seq INTEGER PRIMARY KEY, rank INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class Outbox:
    """A bounded, durable queue of alerts in order of ``seq``.

    Where the directory cannot be written, or the database is damaged beyond opening, the queue lives in memory, and
    says so once; a damaged file is put aside, not deleted.

    Parameters
    ----------
    directory
        The state directory; created when missing. None keeps everything in memory.
    max_bytes
        Payload bytes held at most; beyond that the oldest alerts of the lowest severity are dropped and counted.
    """

    def __init__(self, directory: Path | None, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        #: Whether alerts survive this process.
        self.durable = directory is not None
        #: Alerts dropped because the queue was full.
        self.dropped = 0
        self._connection = _memory() if directory is None else self._open(directory)
        with self._connection:  # an open transaction would keep the file locked until the first alert
            self.instance = self._meta("instance") or self._set_meta("instance", secrets.token_hex(2))
        #: Alerts waiting.
        self.depth = 0
        self._bytes = 0
        self._recount()
        # Whatever an earlier run left behind will arrive late.
        self._recovered_up_to = self.next_seq - 1

    @property
    def next_seq(self) -> int:
        """Number of the next alert."""
        return int(self._meta("next_seq") or 1)

    def append(self, alerts: Sequence[Alert]) -> None:
        """Commit alerts; when this returns they are raised.

        A disk that cannot be written turns the queue into one in memory, with what it still can be read of the old.
        """
        try:
            self._insert(alerts)
        except sqlite3.Error as error:
            _LOG.error("outbox: cannot write (%s); alerts are kept in memory from now on", error)
            self._move_to_memory()
            self._insert(alerts)

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Waiting alerts with a ``seq`` above ``after``, at most ``limit``, as they are to be published."""
        rows = self._connection.execute(
            "SELECT seq, payload FROM alert WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        ).fetchall()
        return [(seq, self._as_replayed(payload) if seq <= self._recovered_up_to else payload) for seq, payload in rows]

    def mark_late(self) -> None:
        """Say that whatever waits now will be published late: the broker was away."""
        self._recovered_up_to = self.next_seq - 1

    def acknowledge(self, delivered: Iterable[int]) -> None:
        """Delete alerts that the broker has taken, in one transaction."""
        seqs = [(seq,) for seq in delivered]
        if not seqs:
            return
        try:
            with self._connection:
                self._connection.executemany("DELETE FROM alert WHERE seq = ?", seqs)
        except sqlite3.Error as error:
            # They will be published again; receivers drop them by their id.
            _LOG.warning("outbox: cannot delete delivered alerts (%s)", error)
        self._recount()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _insert(self, alerts: Sequence[Alert]) -> None:
        rows = [(alert.seq, _RANK[alert.severity], msgspec.json.encode(alert)) for alert in alerts]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO alert VALUES (?, ?, ?)", rows)
            self._set_meta("next_seq", str(alerts[-1].seq + 1))
        self.depth += len(rows)
        self._bytes += sum(len(payload) for _, _, payload in rows)
        if self._bytes > self._max_bytes:
            self._drop()

    def _drop(self) -> None:
        excess = self._bytes - self._max_bytes
        victims = []
        for seq, size in self._connection.execute("SELECT seq, length(payload) FROM alert ORDER BY rank, seq"):
            if excess <= 0:
                break
            victims.append((seq,))
            excess -= size
        with self._connection:
            self._connection.executemany("DELETE FROM alert WHERE seq = ?", victims)
        self.dropped += len(victims)
        _LOG.warning("outbox: full, %d oldest alerts of the lowest severity dropped", len(victims))
        self._recount()

    def _recount(self) -> None:
        self.depth, self._bytes = self._connection.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM alert"
        ).fetchone()

    def _open(self, directory: Path) -> sqlite3.Connection:
        path = directory / _FILE
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                return _durable(path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                aside = path.with_suffix(".damaged")
                path.replace(aside)
                for tail in ("-wal", "-shm"):
                    Path(f"{path}{tail}").unlink(missing_ok=True)
                _LOG.error("outbox: %s is damaged (%s); put aside as %s, starting afresh", path, error, aside.name)
                return _durable(path)
        except (OSError, sqlite3.Error) as error:
            _LOG.error("outbox: cannot use %s (%s); alerts are kept in memory only", path, error)
            self.durable = False
            return _memory()

    def _move_to_memory(self) -> None:
        old, self._connection = self._connection, _memory()
        self.durable = False
        try:
            rows = old.execute("SELECT seq, rank, payload FROM alert").fetchall()
            meta = old.execute("SELECT key, value FROM meta").fetchall()
            old.close()
        except sqlite3.Error as error:
            _LOG.error("outbox: what waited on disk cannot be read now (%s); it stays there", error)
            rows, meta = [], [("instance", self.instance)]
        with self._connection:
            self._connection.executemany("INSERT INTO alert VALUES (?, ?, ?)", rows)
            self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta)

    def _meta(self, key: str) -> str | None:
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def _set_meta(self, key: str, value: str) -> str:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        return value

    @staticmethod
    def _as_replayed(payload: bytes) -> bytes:
        return msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(payload, type=Alert), replayed=True))


def _durable(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level="IMMEDIATE", timeout=2.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(_SCHEMA)
    return connection


def _memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(_SCHEMA)
    return connection
