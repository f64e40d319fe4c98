"""Alerts on disk: an SQLite database that is put together anew from what a damaged file still holds.

Every alert is one *record*: a mark, its length and a checksum around the payload, so that it can be told from noise
wherever it stands in a file. What the database itself cannot read any more is looked for by these marks, in its own
file and in its write-ahead log.
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
_BALLAST = "ballast"
_BALLAST_BYTES = 256 << 10
_SCHEMA = """
CREATE TABLE IF NOT EXISTS alert (place INTEGER PRIMARY KEY, rank INTEGER NOT NULL, size INTEGER NOT NULL,
    record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_STANDING = "standing"
_BUSY_S = 2.0


class Damaged(Exception):  # noqa: N818 - a finding, handled at once
    """The database cannot be read as what it should be."""


class OutboxStore:
    """The database in a state directory.

    Opening puts a damaged file aside and takes over what it still holds. Errors of the medium come as ``OSError``,
    damage found later as `Damaged`: then open a new store.

    Parameters
    ----------
    directory
        The state directory; created when missing.

    Raises
    ------
    OSError
        The directory cannot be used now.
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
        """Commit rows and meta values, all or none."""
        with self._writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO alert VALUES (?, ?, ?, ?)",
                [(row.rowid, row.rank, len(row.payload), pack_record(ALERT_RECORD, row)) for row in rows],
            )
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))

    @staticmethod
    def standing(next_seq: int, state: bytes) -> dict[str, bytes]:
        """What to commit along with alerts so that numbering and incidents go on from them."""
        return {_STANDING: pack_record(INCIDENTS_RECORD, Row(1, next_seq, 0, 0.0, state))}

    @property
    def stands(self) -> tuple[int, bytes] | None:
        """The number of the next alert and the state, as last committed."""
        found = unpack_record(self.meta(_STANDING) or b"", 0)
        return (found[1].seq, found[1].payload) if found else None

    def rows(self, after: int, limit: int) -> list[Row]:
        """Rows in order of their keys; one whose checksum is wrong is deleted and counted."""
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
        """Alerts that were found damaged and removed since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    def delete(self, rowids: Iterable[int]) -> tuple[int, int]:
        """Forget rows; gives how many there were, and their payloads' bytes."""
        count = size = 0
        with self._writing() as connection:
            for rowid in rowids:
                row = connection.execute("SELECT CAST(size AS INTEGER) FROM alert WHERE place = ?", (rowid,)).fetchone()
                if row:
                    connection.execute("DELETE FROM alert WHERE place = ?", (rowid,))
                    count, size = count + 1, size + row[0]
        return count, size

    def oldest(self, *, before: float) -> list[int]:
        """Keys of rows raised before a wall time, those without a believable one left out."""
        found: list[int] = []
        after = 0
        # Rows are in order of time as far as clocks are: the first that is young enough ends the search.
        while rows := self.rows(after, 100):
            for row in rows:
                if row.at >= before:
                    return found
                if row.at:
                    found.append(row.rowid)
            after = rows[-1].rowid
        return found

    def lowest(self, size: int) -> list[int]:
        """Keys of the rows to drop so that so many bytes become free: the lowest rank first, then the oldest."""
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
        """Number of rows and of their payloads' bytes."""
        with self._reading() as connection:
            count, size = connection.execute(
                "SELECT count(*), coalesce(sum(CAST(size AS INTEGER)), 0) FROM alert"
            ).fetchone()
        return int(count), int(size)

    def newest(self) -> int:
        """The largest key, 0 where nothing waits."""
        with self._reading() as connection:
            (rowid,) = connection.execute("SELECT coalesce(max(place), 0) FROM alert").fetchone()
        return min(int(rowid), LARGEST_NUMBER)

    def meta(self, key: str) -> bytes | None:
        """A value that is kept beside the rows."""
        with self._reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row and isinstance(row[0], bytes) else None

    def free_ballast(self) -> bool:
        """Give the reserve back to a full disk, which lets deletes and small inserts pass; False if it is gone."""
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
                # Not zeros, which some file systems do not store.
                self._ballast.write_bytes(os.urandom(_BALLAST_BYTES))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with _told_apart():
            yield self._connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with _told_apart(), self._connection:
            yield self._connection

    def _take_over(self, tail: FoundRecords) -> None:
        """Commit what stands whole in the log but was not read from it: its end was damaged.

        Only as far as the incidents that belong to it are there too, so that numbers and incidents stay in step.
        """
        known = self.stands
        states = [row for (kind, _, _), row in tail.items() if kind == INCIDENTS_RECORD]
        newest = max(states, key=lambda row: row.seq, default=None)
        if known is None or newest is None or newest.seq <= known[0]:
            return
        rows = [row for (kind, _, _), row in tail.items() if kind == ALERT_RECORD and known[0] <= row.seq < newest.seq]
        self.insert(rows, self.standing(newest.seq, newest.payload))
        _LOG.warning("outbox: %d alerts taken over from a damaged log", len(rows))

    def _salvage(self, damage: Damaged, tail: FoundRecords) -> None:
        """Put the damaged file aside and begin a new one with all that can still be read."""
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
            "outbox: %s is damaged (%s); put aside as %s, %d alerts saved", self._path, damage, aside.name, len(rows)
        )
        self._connection = _open(self._path)
        self.insert(rows, meta)


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    """Errors of the medium become ``OSError``; those that say the file is no sound database become `Damaged`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if any(text in str(error) for text in ("no such", "malformed", "decode", "not a database", "unsupported")):
            raise Damaged(str(error)) from error
        raise OSError(str(error)) from error
    except (sqlite3.DatabaseError, TypeError, ValueError, OverflowError) as error:
        raise Damaged(str(error)) from error


def _open(path: Path) -> sqlite3.Connection:
    _check_header(path)
    with _told_apart():
        connection = sqlite3.connect(path, isolation_level="IMMEDIATE", timeout=_BUSY_S, check_same_thread=False)
    # A damaged row may hold text where there should be none.
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        with _told_apart():
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # What is deleted must not come back when a damaged file is searched for what it holds.
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
    """Find damage that SQLite takes for a file of a later version, which it may read but not write."""
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            head = file.read(20)
        if head[:16] != b"SQLite format 3\0" or not {head[18], head[19]} <= {1, 2}:
            raise Damaged("its header is no longer that of a database")


def _readable(path: Path) -> tuple[FoundRecords, dict[str, bytes]]:
    """What the database still gives, row by row from both ends up to the damage, and its meta values."""
    found: FoundRecords = {}
    meta: dict[str, bytes] = {}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        with contextlib.suppress(OSError, Damaged), _told_apart():
            meta = {k: v for k, v in connection.execute("SELECT key, value FROM meta") if isinstance(v, bytes)}
        for order in ("SELECT record FROM alert ORDER BY place", "SELECT record FROM alert ORDER BY place DESC"):
            with contextlib.suppress(OSError, Damaged), _told_apart():
                for (record,) in connection.execute(order):
                    parts = unpack_record(record, 0) if isinstance(record, bytes) else None
                    if parts:
                        found[record_key(*parts)] = parts[1]
    return found, {key: value for key, value in meta.items() if key != _STANDING}
