"""A benchmark's results: figures of each detector, as numbers and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np

from training.reports.page.table import Table, cell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DetectorKind", "Entry", "Results", "markdown", "mean_of", "table"]


#: Ours, a rule that needs no model, what anybody gets who does not look at the data, or somebody else's as published.
DetectorKind: TypeAlias = Literal["ours", "no model", "blind", "published"]


class Entry(msgspec.Struct, frozen=True):
    """One detector's figures.

    Parameters
    ----------
    detector
        Its name.
    kind
        What it stands for.
    figures
        By name; None where it is not defined or not published.
    spread
        Standard deviation over retrained networks or over draws, where there are several.
    """

    detector: str
    kind: DetectorKind
    figures: Mapping[str, float | None]
    spread: dict[str, float] = {}


class Results(msgspec.Struct, frozen=True):
    """All figures of one benchmark.

    Parameters
    ----------
    title
        Of the table.
    columns
        Figures that the table shows, in this order, and with how many decimals.
    entries
        A row each.
    series
        By detector and series: its own figures.
    caption
        What the table means, in a sentence or two.
    """

    title: str
    columns: dict[str, int]
    entries: tuple[Entry, ...]
    series: dict[str, dict[str, dict[str, Any]]] = {}
    caption: str = ""


def mean_of(detector: str, kind: DetectorKind, draws: Sequence[Mapping[str, float]]) -> Entry:
    """Mean and spread over retrained networks, or over draws; NaN stands for what one of them has not defined."""
    values = {name: np.array([draw[name] for draw in draws]) for name in draws[0]}
    means = {name: float(each.mean()) for name, each in values.items()}
    known = {name: each for name, each in values.items() if np.isfinite(means[name])}
    spread = {name: float(each.std(ddof=1)) for name, each in known.items()} if len(draws) > 1 else {}
    return Entry(detector, kind, {name: means[name] if name in known else None for name in means}, spread)


def table(results: Results) -> Table:
    """Show the entries as rows."""
    rows = tuple(
        (entry.detector, entry.kind, *(_shown(entry, name, decimals) for name, decimals in results.columns.items()))
        for entry in results.entries
    )
    return Table(("detector", "kind", *results.columns), rows, results.caption)


def _shown(entry: Entry, name: str, decimals: int) -> str | None:
    figure = entry.figures.get(name)
    if figure is None:
        return None
    spread = f" ± {entry.spread[name]:.{decimals}f}" if name in entry.spread else ""
    return f"{figure:.{decimals}f}{spread}"


def markdown(results: Results) -> str:
    """Write the table as Markdown."""
    shown = table(results)
    lines = [
        f"# {results.title}",
        "",
        "| " + " | ".join(shown.header) + " |",
        "|" + "---|" * 2 + "---:|" * (len(shown.header) - 2),
        *("| " + " | ".join(map(cell, row)) + " |" for row in shown.rows),
    ]
    if results.caption:
        lines += ["", results.caption]
    return "\n".join(lines) + "\n"
