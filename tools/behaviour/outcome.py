"""Outputs of a scenario, their exact hashes, and a readable summary of them."""

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

#: Parts of an outcome, in the order of processing: the first part that differs is nearest the cause.
PARTS = ("input", "verdicts", "states", "incidents", "texts", "summary")
# Pieces of a part with a hash each, which locate a difference; chosen by hand to keep the stored file small.
_BLOCKS = 24
# Hexadecimal digits kept of a piece's hash.
_SHORT = 8
_LEVELS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
# Significant digits of numbers in a summary.
_DIGITS = 4
# The agent's `SCORE_THRESHOLD`, repeated because only `driving` imports the agent.
_SCORE_LIMIT = 0.995
_STATES = ("state", "state_score")


class Table(NamedTuple):
    """A table of text cells; the cell of a missing value is empty."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """Lines of CSV, the header first."""
        return [",".join(self.columns), *map(",".join, self.rows)]

    def numbers(self, kind: str) -> list[float]:
        """Numbers in all columns of a kind, row by row; see `kind_of`."""
        indices = [index for index, name in enumerate(self.columns) if kind_of(name) == kind]
        return [float(row[index]) for row in self.rows for index in indices if row[index]]


class Outcome(NamedTuple):
    """Outputs of a scenario.

    Parameters
    ----------
    parts
        Lines of each of `PARTS`.
    tables
        Those parts that are tables.
    summary
        Numbers and texts that are compared within tolerances on a machine with other arithmetic.
    interval_s
        Seconds between rows.
    """

    parts: Mapping[str, Sequence[str]]
    tables: Mapping[str, Table]
    summary: Mapping[str, Any]
    interval_s: float


def kind_of(column: str) -> str:
    """Kind of a column, the last part of its name: ``score`` of ``oven.score``.

    Examples
    --------
    >>> kind_of("boiler.flow.expected"), kind_of("timestamp")
    ('expected', 'timestamp')
    """
    return column.rsplit(".", 1)[-1]


def of_replay(given: str, replayed: Replayed, interval_s: float) -> Outcome:
    """Make an outcome of the output of ``edgewatch replay``.

    Parameters
    ----------
    given
        Text of the replayed CSV file.
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
    """Make an outcome of the messages of the daemon.

    Parameters
    ----------
    given
        Text of its input.
    heard
        Its messages by topic, as objects of JSON.
    interval_s
        Seconds between ticks.
    more
        Further entries of the summary.
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
    other_lines = [
        f"{leaf} {json.dumps(message)}"
        for leaf in sorted(heard.messages.keys() - {"metrics", "alert"})
        for message in heard.messages[leaf]
    ]
    last = {
        "answers": [_answered(message) for message in heard.messages["answer"]],
        "messages": {leaf: len(messages) for leaf, messages in sorted(heard.messages.items()) if messages},
        "states": [message["state"] for message in _changes(heard.messages["state"])][:_BLOCKS],
        "health": {key: value for key, value in _latest(heard.messages["health"]).items() if key != "ts"},
        "held": [incident["summary"] for incident in _latest(heard.messages["digest"]).get("incidents", ())],
        **(more or {}),
    }
    return _outcome(
        given, Table(columns, rows), heard.messages["alert"], other_lines, metrics[0]["ts"], interval_s, last
    )


def _cell(value: float | bool | None) -> str:
    """Text of a number as in JSON; empty for None."""
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
    other_lines: Sequence[str],
    begin: float,
    interval_s: float,
    more: Mapping[str, Any],
) -> Outcome:
    verdicts = _columns(whole, states=False)
    states = _columns(whole, states=True)
    texts = [message["summary"] for message in messages]
    bare = [json.dumps({key: value for key, value in message.items() if key != "summary"}) for message in messages]
    scores = verdicts.numbers("score")
    flags = _indices(verdicts, "anomalous")
    summary = {
        "rows": len(whole.rows),
        "columns": len(whole.columns),
        "readings": len(verdicts.numbers("value")),
        "anomalous rows": sum(any(row[index] in {"1", "true"} for index in flags) for row in verdicts.rows),
        "anomalous readings": sum(score >= _SCORE_LIMIT for score in scores),
        "score": _quantiles(scores),
        **{kind: _quantiles(verdicts.numbers(kind)) for kind in ("expected", "lower", "upper")},
        "state": _quantiles(states.numbers("state")),
        "state score": _quantiles(states.numbers("state_score")),
        "incidents": [_summarised(message, begin) for message in messages],
        **({} if more else {"printed": list(other_lines)}),
        **more,
    }
    return Outcome(
        {
            "input": given.splitlines(),
            "verdicts": verdicts.lines(),
            "states": states.lines(),
            "incidents": bare,
            "texts": texts,
            "summary": list(other_lines),
        },
        {"verdicts": verdicts, "states": states},
        rounded(summary),
        interval_s,
    )


def _indices(table: Table, kind: str) -> list[int]:
    return [index for index, name in enumerate(table.columns) if kind_of(name) == kind]


def _columns(table: Table, *, states: bool) -> Table:
    indices = [index for index, name in enumerate(table.columns) if (kind_of(name) in _STATES) is states]
    return Table([table.columns[index] for index in indices], [[row[index] for index in indices] for row in table.rows])


def _summarised(message: Mapping[str, Any], begin: float) -> dict[str, Any]:
    """Summarise an alert or a suppressed incident."""
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
    """Quantiles at `_LEVELS`."""
    ranked = sorted(numbers)
    return [ranked[min(int(level * len(ranked)), len(ranked) - 1)] for level in _LEVELS] if ranked else []


def rounded(tree: Any) -> Any:
    """Round all floats of a tree to four significant digits; texts are unchanged.

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
    """Compute the digest of an outcome: hashes of each part and of its pieces, and the summary."""
    parts = {}
    for name in PARTS:
        lines = outcome.parts[name]
        size = max(1, math.ceil(len(lines) / _BLOCKS))
        pieces = [_hash(lines[begin : begin + size])[:_SHORT] for begin in range(0, len(lines), size)]
        part: dict[str, Any] = {"sha256": _hash(lines), "lines": len(lines), "pieces": " ".join(pieces)}
        table = outcome.tables.get(name)
        if table is not None:
            indices = {kind: _indices(table, kind) for kind in dict.fromkeys(map(kind_of, table.columns))}
            part["columns"] = {
                kind: _hash([",".join([row[index] for index in own]) for row in table.rows])[:_SHORT]
                for kind, own in indices.items()
            }
        parts[name] = part
    return {"interval_s": outcome.interval_s, "parts": parts, "summary": outcome.summary}


def _hash(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write(outcome: Outcome, folder: Path) -> None:
    """Write all parts in full into a folder, to be compared with ``diff -r``."""
    folder.mkdir(parents=True, exist_ok=True)
    endings = {"input": "csv", "verdicts": "csv", "states": "csv", "incidents": "jsonl"}
    for name in PARTS:
        text = "".join(line + "\n" for line in outcome.parts[name])
        (folder / f"{name}.{endings.get(name, 'txt')}").write_text(text, encoding="utf-8")
    text = json.dumps(outcome.summary, indent=1, ensure_ascii=False)
    (folder / "digest.json").write_text(text + "\n", encoding="utf-8")
