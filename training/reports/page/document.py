"""A report as a self-contained HTML page, and its charts as pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from html import escape
from string import Template
from typing import TYPE_CHECKING, TypeAlias

from plotly.offline import get_plotlyjs

from training.reports.page.chart import Chart
from training.reports.page.interactive import figures
from training.reports.page.still import draw
from training.reports.page.table import Table, cell

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Item", "Moment", "Player", "Report", "Section", "html", "write"]


@dataclass(frozen=True)
class Moment:
    """A message at a point in time.

    Parameters
    ----------
    at
        Seconds since 1970.
    word, text
        Kind of the message, and its text.
    """

    at: float
    word: str
    text: str


@dataclass(frozen=True)
class Player:
    """A stacked chart over time with playback and messages.

    Parameters
    ----------
    chart
        Chart to play.
    begin, end
        Range of time in seconds since 1970.
    moments
        Messages in order of time.
    """

    chart: Chart
    begin: float
    end: float
    moments: tuple[Moment, ...]


#: A table, a chart, a chart with playback, or a paragraph.
Item: TypeAlias = Table | Chart | Player | str


@dataclass(frozen=True)
class Section:
    """A titled part of a report.

    Parameters
    ----------
    title, explanation
        Title, and a sentence on how to read the section.
    items
        Content in order.
    folded
        Whether only the title is visible until the section is opened.
    """

    title: str
    explanation: str
    items: tuple[Item, ...]
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """A titled page of sections.

    Parameters
    ----------
    title
        Title of the page.
    summary
        Paragraph at the top.
    sections
        Sections in order.
    """

    title: str
    summary: str
    sections: tuple[Section, ...]


def write(report: Report, folder: Path) -> None:
    """Write ``report.html`` and a PNG picture of every chart into a folder.

    Pictures have the names of their charts; further charts of the same name get a number.
    """
    (folder / "report.html").write_text(html(report), encoding="utf-8")
    names: dict[str, int] = {}
    for section in report.sections:
        for item in section.items:
            if isinstance(item, Chart):
                names[item.name] = number = names.get(item.name, 0) + 1
                draw(item, folder / (f"{item.name}.png" if number == 1 else f"{item.name}-{number}.png"))


def html(report: Report) -> str:
    """Report as one page with styles, data and plotting library inside."""
    return _PAGE.substitute(
        title=escape(report.title),
        summary=escape(report.summary),
        links="".join(f'<a href="#s{i}">{escape(s.title)}</a>' for i, s in enumerate(report.sections)),
        sections="\n".join(_section(section, i) for i, section in enumerate(report.sections)),
        style=_STYLE,
        library=get_plotlyjs(),
        script=_SCRIPT,
    )


def _section(section: Section, position: int) -> str:
    body = f"<p>{escape(section.explanation)}</p>" + "\n".join(map(_item, section.items))
    title = f'<h2 id="s{position}">{escape(section.title)}</h2>'
    if section.folded:
        return f"<details><summary>{title}</summary>{body}</details>"
    return f"<section>{title}{body}</section>"


def _item(item: Item) -> str:
    if isinstance(item, Table):
        return _table(item)
    if isinstance(item, Chart):
        return _chart(item)
    if isinstance(item, Player):
        return _player(item)
    return f"<p>{escape(item)}</p>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join(
        "<tr>" + "".join(f'<td class="{_kind(value)}">{escape(cell(value))}</td>' for value in row) + "</tr>"
        for row in table.rows
    )
    caption = f"<p class=note>{escape(table.caption)}</p>" if table.caption else ""
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{caption}"


def _kind(value: object) -> str:
    return "number" if value is None or isinstance(value, (int, float)) else "text"


def _chart(chart: Chart) -> str:
    panels = "".join(
        (f"<figure><figcaption>{escape(panel.title)}</figcaption>" if panel.title else "<figure>")
        + f'<div class=plot style="height:{figure.layout.height}px">'
        # to_json escapes <, > and /, so that no name in the data can end the element.
        f"<script type=application/json>{figure.to_json()}</script></div></figure>"
        for panel, figure in zip(chart.panels, figures(chart), strict=False)
    )
    return (
        f"<article><h3>{escape(chart.title)}</h3><p class=note>{escape(chart.reading)}</p>"
        f"<div class=panels>{panels}</div></article>"
    )


def _player(player: Player) -> str:
    messages = "".join(
        f'<li data-at="{moment.at * 1e3:.0f}"><time>{_clock(moment.at)}</time> <b>{escape(moment.word)}</b> '
        f"{escape(moment.text)}</li>"
        for moment in player.moments
    )
    return (
        f'<div class=player data-begin="{player.begin * 1e3:.0f}" data-end="{player.end * 1e3:.0f}">'
        "<p><button type=button>Play</button> "
        '<label>position <input type=range min=0 max=1000 value=1000 aria-label="position in time"></label> '
        "<label>in <select><option value=20>20 s</option><option value=60 selected>a minute</option>"
        f"<option value=300>five minutes</option></select></label> <output></output></p>{_chart(player.chart)}"
        f"<ol>{messages}</ol></div>"
    )


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


# The content security policy forbids loading anything from outside.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
<p>$summary</p>
<nav>$links</nav>
$sections
</main>
<noscript><p>The charts need JavaScript; the same charts are in the folder of this file as pictures.</p></noscript>
<script>$library</script>
<script>$script</script>
</body>
</html>
""")

_STYLE = """
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff}
main{max-width:1100px;margin:auto;padding:1rem}
h1{font-size:1.6rem;line-height:1.2}h2{font-size:1.25rem;margin:2rem 0 .3rem}h3{font-size:1rem;margin:1.2rem 0 0}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1rem;font-size:.9rem}a{color:#0072B2}
summary{cursor:pointer}summary h2{display:inline-block;margin:1rem 0 0}
.note{color:#555;font-size:.9rem;margin:.2rem 0 .5rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid #e6e6e6;text-align:left;vertical-align:top}
th{border-bottom:2px solid #888}td.number{text-align:right;white-space:nowrap}
td:first-child,th:first-child{position:sticky;left:0;background:#fff}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:.5rem}
.player p{position:sticky;top:0;background:#fff;z-index:2;padding:.4rem 0}.player input{width:40vw}
.player li[hidden]{display:none}time{font-variant-numeric:tabular-nums}
figure{margin:0;min-width:0}figcaption{font-size:.85rem;font-weight:600}
"""

# A chart is drawn when it comes near the visible area, so that a long page opens quickly.
_SCRIPT = """
const draw = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    draw.unobserve(target);
    const { data, layout } = JSON.parse(target.querySelector("script").textContent);
    target.textContent = "";
    Plotly.newPlot(target, data, layout, { responsive: true, displaylogo: false });
  }
}, { rootMargin: "600px" });
document.querySelectorAll(".plot").forEach((plot) => draw.observe(plot));
// Playback: a window moves over the chart up to the current time; messages appear at their times.
document.querySelectorAll(".player").forEach((player) => {
  const part = (name) => player.querySelector(name);
  const [button, slider, pace, output] = ["button", "input", "select", "output"].map(part);
  const [begin, end] = [Number(player.dataset.begin), Number(player.dataset.end)];
  const width = (end - begin) / 5, moments = [...player.querySelectorAll("li")];
  let now = end, last = null, drawn = 0;
  const show = (whole) => {
    const plot = part(".plot");
    if (plot.layout) Plotly.relayout(plot, { "xaxis.range": whole ? [begin, end] : [now - width, now] });
    for (const moment of moments) moment.hidden = !whole && Number(moment.dataset.at) > now;
    slider.value = 1000 * (now - begin) / (end - begin);
    output.textContent = new Date(now).toISOString().replace("T", " ").slice(0, 19);
  };
  const step = (at) => {
    if (last === null) return;
    now = Math.min(end, now + (at - last) * (end - begin) / (1000 * Number(pace.value)));
    last = at;
    if (at - drawn > 80 || now === end) { drawn = at; show(false); }
    if (now < end) requestAnimationFrame(step); else stop();
  };
  const stop = () => { last = null; button.textContent = "Play"; };
  button.addEventListener("click", () => {
    if (last !== null) return stop();
    if (now >= end) now = begin;
    button.textContent = "Pause";
    last = performance.now();
    requestAnimationFrame(step);
  });
  slider.addEventListener("input", () => { now = begin + slider.value / 1000 * (end - begin); show(false); });
  show(true);
});
"""
