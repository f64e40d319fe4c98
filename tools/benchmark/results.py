"""Results of a benchmark: the figures of each detector, and their table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np

from training.reports.page.table import Table, cell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DetectorKind", "Entry", "Results", "markdown", "mean_of", "table"]


#: Edgewatch, a rule without a model, a score that ignores the data, or a published detector.
DetectorKind: TypeAlias = Literal["ours", "no model", "blind", "published"]


class Entry(msgspec.Struct, frozen=True):
    """One detector's figures.

    Parameters
    ----------
    detector
        Name of the detector.
    kind
        Origin of the figures.
    figures
        Figures by name; None if undefined or not published.
    spread
        Standard deviation of each figure over several trained networks or random draws.
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
        Title of the table.
    columns
        Names of the figures in the table, in order, with their decimals.
    entries
        Detectors, one row each.
    series
        Figures by detector and series.
    caption
        Explanation of the table.
    """

    title: str
    columns: dict[str, int]
    entries: tuple[Entry, ...]
    series: dict[str, dict[str, dict[str, Any]]] = {}
    caption: str = ""


def mean_of(detector: str, kind: DetectorKind, draws: Sequence[Mapping[str, float]]) -> Entry:
    """Mean and standard deviation of figures over networks or draws; a NaN makes the figure undefined."""
    values = {name: np.array([draw[name] for draw in draws]) for name in draws[0]}
    means = {name: float(each.mean()) for name, each in values.items()}
    known = {name: each for name, each in values.items() if np.isfinite(means[name])}
    spread = {name: float(each.std(ddof=1)) for name, each in known.items()} if len(draws) > 1 else {}
    return Entry(detector, kind, {name: means[name] if name in known else None for name in means}, spread)


def table(results: Results) -> Table:
    """Make the table of a benchmark."""
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
    """Give title, table and caption as Markdown."""
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
