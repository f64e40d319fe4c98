"""What a run of a scenario gave, as exact hashes and as a summary that a person can read."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tools.behaviour.driving import Heard, Replayed

__all__ = ["PARTS", "Outcome", "Table", "digest", "of_daemon", "of_replay", "rounded", "write"]

#: Parts of an outcome, in the order in which a difference tells most.
PARTS = ("input", "verdicts", "states", "incidents", "texts", "summary")
_BLOCKS = 24
_SHORT = 8
_LEVELS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
_DIGITS = 4
_SCORE_LIMIT = 0.995
_STATES = ("state", "state_score")


class Table(NamedTuple):
    """Rows of cells under named columns; a cell that is missing is empty."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """Each row as a line of CSV, the header first."""
        return [",".join(self.columns), *map(",".join, self.rows)]

    def numbers(self, kind: str) -> list[float]:
        """Numbers of all columns of a kind, which is the last word of their name."""
        places = [place for place, name in enumerate(self.columns) if kind_of(name) == kind]
        return [float(row[place]) for row in self.rows for place in places if row[place]]


class Outcome(NamedTuple):
    """A scenario's outputs.

    Parameters
    ----------
    parts
        Lines of each part; see `PARTS`.
    tables
        The parts that are tables.
    summary
        Numbers and texts to compare where arithmetic differs.
    interval_s
        Seconds between rows.
    """

    parts: Mapping[str, Sequence[str]]
    tables: Mapping[str, Table]
    summary: Mapping[str, Any]
    interval_s: float


def kind_of(column: str) -> str:
    """Kind of a column: ``score`` of ``oven.score``.

    Examples
    --------
    >>> kind_of("boiler.flow.expected"), kind_of("timestamp")
    ('expected', 'timestamp')
    """
    return column.rsplit(".", 1)[-1]


def of_replay(given: str, replayed: Replayed, interval_s: float) -> Outcome:
    """Take the output of ``edgewatch replay`` apart.

    Parameters
    ----------
    given
        Text of the CSV file that was replayed.
    replayed
        The output.
    interval_s
        Seconds between rows.
    """
    header, *rows = csv.reader(replayed.table.splitlines())
    whole = Table(header, rows)
    begin = float(rows[0][0])
    messages = [json.loads(line) for line in replayed.incidents.splitlines()]
    return _outcome(given, whole, messages, replayed.summary.splitlines(), begin, interval_s, {})


def of_daemon(given: str, heard: Heard, interval_s: float, more: Mapping[str, Any] | None = None) -> Outcome:
    """Take what the daemon said apart.

    Parameters
    ----------
    given
        Text of what it read.
    heard
        Its messages.
    interval_s
        Seconds between ticks.
    more
        Goes into the summary, too.
    """
    metrics = heard.messages["metrics"]
    names = sorted({name for message in metrics for name in message["channels"]})
    fields = [name for name in next(iter(metrics[-1]["channels"].values())) if name != "unit"]
    columns = ["timestamp", "seq", "score", "state_score", *(f"{name}.{field}" for name in names for field in fields)]
    rows = []
    for message in metrics:
        row = [message["ts"], message["seq"], message["score"], message["state_score"]]
        for name in names:
            channel = message["channels"].get(name)
            row += [channel[field] if channel else None for field in fields]
        rows.append([_cell(cell) for cell in row])
    said = [
        f"{leaf} {json.dumps(message)}"
        for leaf in sorted(heard.messages.keys() - {"metrics", "alert"})
        for message in heard.messages[leaf]
    ]
    last = {
        "answers": [_answered(message) for message in heard.messages["answer"]],
        "messages": {leaf: len(messages) for leaf, messages in sorted(heard.messages.items()) if messages},
        "states": [message["state"] for message in _changes(heard.messages["state"])][:_BLOCKS],
        "health": {key: value for key, value in _latest(heard.messages["health"]).items() if key != "ts"},
        "held": [held["summary"] for held in _latest(heard.messages["digest"]).get("incidents", ())],
        **(more or {}),
    }
    return _outcome(given, Table(columns, rows), heard.messages["alert"], said, metrics[0]["ts"], interval_s, last)


def _cell(value: float | bool | None) -> str:
    """Text of a number as JSON has it; empty where there is none."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _latest(messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return messages[-1] if messages else {}


def _answered(message: Mapping[str, Any]) -> str:
    return f"{message['id']}: {message['detail'] if message['ok'] else 'refused: ' + message['error']}"


def _changes(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        message
        for number, message in enumerate(messages)
        if not number or message["state"] != messages[number - 1]["state"]
    ]


def _outcome(
    given: str,
    whole: Table,
    messages: Sequence[dict[str, Any]],
    said: Sequence[str],
    begin: float,
    interval_s: float,
    more: Mapping[str, Any],
) -> Outcome:
    verdicts = _columns(whole, states=False)
    states = _columns(whole, states=True)
    texts = [message["summary"] for message in messages]
    bare = [json.dumps({key: value for key, value in message.items() if key != "summary"}) for message in messages]
    scores = verdicts.numbers("score")
    flags = _places(verdicts, "anomalous")
    summary = {
        "rows": len(whole.rows),
        "columns": len(whole.columns),
        "readings": len(verdicts.numbers("value")),
        "anomalous rows": sum(any(row[place] in {"1", "true"} for place in flags) for row in verdicts.rows),
        "anomalous readings": sum(score >= _SCORE_LIMIT for score in scores),
        "score": _quantiles(scores),
        **{kind: _quantiles(verdicts.numbers(kind)) for kind in ("expected", "lower", "upper")},
        "state": _quantiles(states.numbers("state")),
        "state score": _quantiles(states.numbers("state_score")),
        "incidents": [_told(message, begin) for message in messages],
        **({} if more else {"printed": list(said)}),
        **more,
    }
    return Outcome(
        {
            "input": given.splitlines(),
            "verdicts": verdicts.lines(),
            "states": states.lines(),
            "incidents": bare,
            "texts": texts,
            "summary": list(said),
        },
        {"verdicts": verdicts, "states": states},
        rounded(summary),
        interval_s,
    )


def _places(table: Table, kind: str) -> list[int]:
    return [place for place, name in enumerate(table.columns) if kind_of(name) == kind]


def _columns(table: Table, *, states: bool) -> Table:
    places = [place for place, name in enumerate(table.columns) if (kind_of(name) in _STATES) is states]
    return Table([table.columns[place] for place in places], [[row[place] for place in places] for row in table.rows])


def _told(message: Mapping[str, Any], begin: float) -> dict[str, Any]:
    """What an alert or an incident that was held back comes down to."""
    if message["phase"] == "held":
        return {
            "at": message["started"] + message["duration_s"] - begin,
            "phase": "held",
            "reason": message["reason"],
            "channels": " ".join(message["channels"]),
            "strength": message["strength"],
            "text": message["summary"],
        }
    return {
        "at": message["ts"] - begin,
        "phase": message["phase"],
        "reason": message["reason"],
        "severity": message["severity"],
        "channels": " ".join(
            f"{one['channel']}:{one['kind']}" if one.get("kind") else one["channel"] for one in message["contributors"]
        ),
        "strength": message["strength"],
        "text": message["summary"],
    }


def _quantiles(numbers: Sequence[float]) -> list[float]:
    """Quantiles at the levels 0, ¼, ½, ¾, 0.9, 0.99 and 1."""
    ranked = sorted(numbers)
    return [ranked[min(int(level * len(ranked)), len(ranked) - 1)] for level in _LEVELS] if ranked else []


def rounded(tree: Any) -> Any:
    """Round all numbers of a tree to four significant digits; those of texts stay.

    Examples
    --------
    >>> rounded({"a": [1.23456, 7], "b": "1.23456"})
    {'a': [1.235, 7], 'b': '1.23456'}
    """
    if isinstance(tree, float):
        return float(f"{tree:.{_DIGITS}g}") if math.isfinite(tree) else str(tree)
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    return [rounded(value) for value in tree] if isinstance(tree, list | tuple) else tree


def digest(outcome: Outcome) -> dict[str, Any]:
    """Make the digest of an outcome that is stored: a hash of each part and of pieces of it, and the summary."""
    parts = {}
    for name in PARTS:
        lines = outcome.parts[name]
        size = max(1, math.ceil(len(lines) / _BLOCKS))
        pieces = [_hash(lines[begin : begin + size])[:_SHORT] for begin in range(0, len(lines), size)]
        part: dict[str, Any] = {"sha256": _hash(lines), "lines": len(lines), "pieces": " ".join(pieces)}
        table = outcome.tables.get(name)
        if table is not None:
            places = {kind: _places(table, kind) for kind in dict.fromkeys(map(kind_of, table.columns))}
            part["columns"] = {
                kind: _hash([",".join([row[place] for place in own]) for row in table.rows])[:_SHORT]
                for kind, own in places.items()
            }
        parts[name] = part
    return {"interval_s": outcome.interval_s, "parts": parts, "summary": outcome.summary}


def _hash(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write(outcome: Outcome, folder: Path) -> None:
    """Write all parts in full into a folder, for a comparison by ``diff -r``."""
    folder.mkdir(parents=True, exist_ok=True)
    endings = {"input": "csv", "verdicts": "csv", "states": "csv", "incidents": "jsonl"}
    for name in PARTS:
        text = "".join(line + "\n" for line in outcome.parts[name])
        (folder / f"{name}.{endings.get(name, 'txt')}").write_text(text, encoding="utf-8")
    text = json.dumps(outcome.summary, indent=1, ensure_ascii=False)
    (folder / "digest.json").write_text(text + "\n", encoding="utf-8")
