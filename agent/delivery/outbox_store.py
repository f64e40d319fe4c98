"""The outbox on disk: an SQLite database that is rebuilt from its intact records if the file is damaged.

Every alert is stored as a record with mark, length and checksum; see `agent.delivery.outbox_records`. If SQLite cannot
read the file, the file and its write-ahead log are searched for intact records.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from agent.delivery.outbox_records import (
    ALERT_RECORD,
    INCIDENTS_RECORD,
    LARGEST_NUMBER,
    Row,
    found_records,
    pack_record,
    record_key,
    unpack_record,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from agent.delivery.outbox_records import FoundRecords


__all__ = ["Damaged", "OutboxStore"]

_LOG = logging.getLogger(__name__)
_FILE = "outbox.db"
# File that reserves space, deleted on a full disk so that deletions and small inserts still work; bytes chosen by hand.
_BALLAST = "ballast"
_BALLAST_BYTES = 256 << 10
_SCHEMA = """
CREATE TABLE IF NOT EXISTS alert (place INTEGER PRIMARY KEY, rank INTEGER NOT NULL, size INTEGER NOT NULL,
    record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
# Key in `meta` of the record with the number of the next alert and the state of the incidents.
_STANDING = "standing"
# Seconds to wait for a lock that another process holds; chosen by hand.
_BUSY_S = 2.0
# Primary result codes of SQLite (sqlite.org/rescode.html) that are about the content of the file: ERROR (no such table,
# an unsupported format), CORRUPT, SCHEMA, MISMATCH, FORMAT, NOTADB. All others are about the medium, memory or locks.
_CONTENT_CODES = frozenset({1, 11, 17, 20, 24, 26})


class Damaged(Exception):  # noqa: N818 - handled by the outbox, never shown
    """The file is no intact database of an outbox."""


class OutboxStore:
    """The database in a state directory.

    Opening renames a damaged file and recovers its intact records. Later methods raise ``OSError`` for errors of the
    disk, and `Damaged` if the file is found damaged: close the store and open a new one.

    Parameters
    ----------
    directory
        The state directory; created if missing.

    Raises
    ------
    OSError
        The directory cannot be used at present.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / _FILE
        self._ballast = directory / _BALLAST
        self._lost = 0
        tail = dict(found_records(self._wal))
        try:
            self._connection = _open(self._path)
            self._take_over(tail)
        except Damaged as damage:
            self._salvage(damage, tail)
        self._load_ballast()

    @property
    def _wal(self) -> Path:
        return Path(f"{self._path}-wal")

    def insert(self, rows: Sequence[Row], meta: dict[str, bytes]) -> None:
        """Commit rows and meta values in one transaction."""
        with self._writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO alert VALUES (?, ?, ?, ?)",
                [(row.rowid, row.rank, len(row.payload), pack_record(ALERT_RECORD, row)) for row in rows],
            )
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))

    @staticmethod
    def standing(next_seq: int, state: bytes) -> dict[str, bytes]:
        """Meta value to commit with alerts: the number of the next alert and the state of the incidents."""
        return {_STANDING: pack_record(INCIDENTS_RECORD, Row(1, next_seq, 0, 0.0, state))}

    @property
    def stands(self) -> tuple[int, bytes] | None:
        """The number of the next alert and the state of the incidents, as last committed; None before the first."""
        found = unpack_record(self.meta(_STANDING) or b"", 0)
        return (found[1].seq, found[1].payload) if found else None

    def rows(self, after: int, limit: int) -> list[Row]:
        """At most ``limit`` rows with keys above ``after``, in order; damaged rows are deleted and counted."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT place, record FROM alert WHERE place > ? ORDER BY place LIMIT ?", (after, limit)
            ).fetchall()
        rows, broken = [], []
        for rowid, record in found:
            kind, row = (unpack_record(record, 0) if isinstance(record, bytes) else None) or (b"", None)
            if row is None or kind != ALERT_RECORD or row.rowid != rowid:
                broken.append(rowid)
            else:
                rows.append(row)
        if broken:
            self._lost += len(broken)
            _LOG.error("outbox: %d damaged alerts removed", len(broken))
            self.delete(broken)
        return rows

    def take_lost(self) -> int:
        """Number of alerts found damaged and removed since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    def delete(self, rowids: Iterable[int]) -> tuple[int, int]:
        """Delete rows; returns the number of deleted rows and of their payload bytes."""
        count = size = 0
        with self._writing() as connection:
            for rowid in rowids:
                row = connection.execute("SELECT CAST(size AS INTEGER) FROM alert WHERE place = ?", (rowid,)).fetchone()
                if row:
                    connection.execute("DELETE FROM alert WHERE place = ?", (rowid,))
                    count, size = count + 1, size + row[0]
        return count, size

    def oldest(self, *, before: float) -> list[int]:
        """Keys of rows raised before a wall time in seconds since 1970; rows without a wall time are skipped."""
        found: list[int] = []
        after = 0
        # Keys follow the order of time, unless the clock was set back: the first row that is not older ends the search.
        while rows := self.rows(after, 100):
            for row in rows:
                if row.at >= before:
                    return found
                if row.at:
                    found.append(row.rowid)
            after = rows[-1].rowid
        return found

    def lowest(self, size: int) -> list[int]:
        """Keys of the rows to drop to free ``size`` payload bytes: the lowest rank first, then the oldest."""
        victims = []
        with self._reading() as connection:
            for rowid, bytes_ in connection.execute(
                "SELECT place, CAST(size AS INTEGER) FROM alert ORDER BY rank, place"
            ):
                if size <= 0:
                    break
                victims.append(rowid)
                size -= bytes_
        return victims

    def totals(self) -> tuple[int, int]:
        """Number of rows and of their payload bytes."""
        with self._reading() as connection:
            count, size = connection.execute(
                "SELECT count(*), coalesce(sum(CAST(size AS INTEGER)), 0) FROM alert"
            ).fetchone()
        return int(count), int(size)

    def newest(self) -> int:
        """The largest key; 0 without rows."""
        with self._reading() as connection:
            (rowid,) = connection.execute("SELECT coalesce(max(place), 0) FROM alert").fetchone()
        return min(int(rowid), LARGEST_NUMBER)

    def meta(self, key: str) -> bytes | None:
        """A meta value; None if there is none."""
        with self._reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row and isinstance(row[0], bytes) else None

    def free_ballast(self) -> bool:
        """Delete the reserve, so that deletions and small inserts work on a full disk; False if there is none."""
        try:
            self._ballast.unlink()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the database."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _load_ballast(self) -> None:
        with contextlib.suppress(OSError):
            if not self._ballast.exists():
                # Random bytes, since some file systems do not store zeros.
                self._ballast.write_bytes(os.urandom(_BALLAST_BYTES))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with _translated_errors():
            yield self._connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with _translated_errors(), self._connection:
            yield self._connection

    def _take_over(self, tail: FoundRecords) -> None:
        """Commit intact records of the write-ahead log that SQLite ignored because the log's end was damaged.

        Only alerts up to the newest recorded state of the incidents are used, so that both agree.
        """
        known = self.stands
        states = [row for (kind, _, _), row in tail.items() if kind == INCIDENTS_RECORD]
        newest = max(states, key=lambda row: row.seq, default=None)
        if known is None or newest is None or newest.seq <= known[0]:
            return
        rows = [row for (kind, _, _), row in tail.items() if kind == ALERT_RECORD and known[0] <= row.seq < newest.seq]
        self.insert(rows, self.standing(newest.seq, newest.payload))
        _LOG.warning("outbox: %d alerts recovered from a damaged write-ahead log", len(rows))

    def _salvage(self, damage: Damaged, tail: FoundRecords) -> None:
        """Rename the damaged file, and make a new one with all records that can be recovered."""
        aside = self._path.with_suffix(".damaged")
        found, meta = _readable(self._path)
        for file in (self._path, self._wal):
            found |= dict(found_records(file))
        found |= tail
        rows = sorted(row for (kind, _, _), row in found.items() if kind == ALERT_RECORD)
        states = [row for (kind, _, _), row in found.items() if kind == INCIDENTS_RECORD]
        if states:
            newest = max(states, key=lambda row: row.seq)
            meta |= self.standing(newest.seq, newest.payload)
        self._path.replace(aside)
        for end in ("-wal", "-shm"):
            Path(f"{self._path}{end}").unlink(missing_ok=True)
        _LOG.error(
            "outbox: %s is damaged (%s); renamed to %s, %d alerts recovered", self._path, damage, aside.name, len(rows)
        )
        self._connection = _open(self._path)
        self.insert(rows, meta)


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise SQLite's errors as ``OSError`` (the disk failed) or `Damaged` (the file is no intact database)."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise (Damaged if _is_about_content(error) else OSError)(str(error)) from error
    except (sqlite3.DatabaseError, TypeError, ValueError, OverflowError) as error:
        raise Damaged(str(error)) from error


def _is_about_content(error: sqlite3.OperationalError) -> bool:
    """Whether an error is about the content of the file, not about the medium.

    Python 3.10 does not give SQLite's result code, only its text.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _CONTENT_CODES
    return any(text in str(error) for text in ("no such", "malformed", "decode", "not a database", "unsupported"))


def _open(path: Path) -> sqlite3.Connection:
    _check_header(path)
    with _translated_errors():
        connection = sqlite3.connect(path, isolation_level="IMMEDIATE", timeout=_BUSY_S, check_same_thread=False)
    # A damaged row may hold text that is not UTF-8.
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        with _translated_errors():
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # Overwrite deleted records, so that a search of a damaged file does not find them again.
            connection.execute("PRAGMA secure_delete = ON")
            connection.executescript(_SCHEMA)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if _tables(connection) != _tables_of_new():
                verdict = "its tables are not those of an outbox"
    except BaseException:
        connection.close()
        raise
    if verdict != "ok":
        connection.close()
        raise Damaged(verdict)
    return connection


def _tables(connection: sqlite3.Connection) -> list[Any]:
    return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def _tables_of_new() -> list[Any]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return _tables(connection)


def _check_header(path: Path) -> None:
    """Raise `Damaged` for a header that SQLite would take for a later, read-only file format."""
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            head = file.read(20)
        if head[:16] != b"SQLite format 3\0" or not {head[18], head[19]} <= {1, 2}:
            raise Damaged("its header is not that of an SQLite database")


def _readable(path: Path) -> tuple[FoundRecords, dict[str, bytes]]:
    """Records that SQLite can still read, from both ends up to the damage, and the meta values."""
    found: FoundRecords = {}
    meta: dict[str, bytes] = {}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        with contextlib.suppress(OSError, Damaged), _translated_errors():
            meta = {k: v for k, v in connection.execute("SELECT key, value FROM meta") if isinstance(v, bytes)}
        for order in ("SELECT record FROM alert ORDER BY place", "SELECT record FROM alert ORDER BY place DESC"):
            with contextlib.suppress(OSError, Damaged), _translated_errors():
                for (record,) in connection.execute(order):
                    parts = unpack_record(record, 0) if isinstance(record, bytes) else None
                    if parts:
                        found[record_key(*parts)] = parts[1]
    return found, {key: value for key, value in meta.items() if key != _STANDING}
