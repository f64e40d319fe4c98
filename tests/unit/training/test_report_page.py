from __future__ import annotations

import base64
import json
import re
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from training.reports.page import charts
from training.reports.page.document import Report, Section, html, write
from training.reports.page.interactive import figures
from training.reports.page.table import Table
from training.reports.page.thinning import BUCKETS, thinned

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "</script><script>alert(1)</script> $x_{"


def page(*items: Any) -> str:
    return html(Report("Title", "Summary.", (Section("One", "How to read it.", items),)))


def data_of(text: str) -> list[dict[str, Any]]:
    """The figures of a page."""
    return [json.loads(part) for part in re.findall(r"<script type=application/json>(.*?)</script>", text, re.DOTALL)]


def numbers(array: Any) -> Any:
    if isinstance(array, dict):
        return np.frombuffer(base64.b64decode(array["bdata"]), np.dtype(array["dtype"]))
    return np.array(array)


def series(rows: int = 400, channels: int = 2, *, labelled: bool = True) -> Any:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (rows, channels)).astype(np.float32)
    values[rows // 2] = 50.0
    bounds = np.stack((values * 0, values * 0 - 3, values * 0 + 3))
    labels = np.zeros(rows, bool)
    labels[rows // 2 : rows // 2 + 5] = True
    time = 1.7e9 + np.arange(rows, dtype=float)
    names = [f"c{i}" for i in range(channels)]
    return charts.series_with_detections(time, values, bounds, values > 9, labels if labelled else None, names=names)


CURVE = np.linspace(0, 1, 20)
ALL = {
    "loss": lambda: charts.loss_curves({"forecaster": ([3.0, 2.0, 1.0], [3.0, 1.5, 2.0]), "autoencoder": ([1.0], [])}),
    "reconstructions": lambda: charts.reconstructions(np.ones((3, 8), np.float32), np.zeros((3, 8), np.float32), "abc"),
    "forecast": lambda: charts.forecast_band(
        1.7e9 + np.arange(9.0), *[np.full(9, i, np.float32) for i in (2, 2, 1, 3)], "cpu", unit="%"
    ),
    "errors": lambda: charts.error_distribution(np.array([0.0, 0.1, 0.2]), np.array([2.0]), 1.0),
    "confusion": lambda: charts.confusion_matrix(5, 3, 90, 2),
    "precision_recall": lambda: charts.precision_recall({"range": (CURVE[::-1], CURVE)}, 0.1),
    "roc": lambda: charts.roc({"range": (CURVE, CURVE**0.5)}),
    "detections": series,
    "thresholds": lambda: charts.threshold_sweep(CURVE, CURVE, CURVE, CURVE, CURVE, CURVE * 9, working=0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_every_chart_is_drawn_for_browser_and_paper_with_axes_named_and_a_way_to_read_it(
    name: str, tmp_path: Path
) -> None:
    chart = ALL[name]()
    assert chart.name == name
    assert chart.reading.endswith(".")
    assert all(panel.x.title and panel.y.title for panel in chart.panels)
    write(Report("T", "S", (Section("One", "E", (chart, chart)),)), tmp_path)
    for picture in (f"{name}.png", f"{name}-2.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert escape(chart.reading) in (tmp_path / "report.html").read_text()


def test_a_report_holds_its_data_and_its_library_once_and_asks_nobody_for_anything() -> None:
    text = page(series(), *[make() for make in ALL.values()], Table(("a", "b"), (("x", 1234.5),)), "A paragraph.")
    own = text.replace(_library(), "")
    assert text.count(_library()) == 1
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", own)
    assert "default-src 'none'" in own
    found = [
        numbers(trace["y"]) for figure in data_of(own) for trace in figure["data"] if trace.get("name") == "reading"
    ]
    assert max(y.max() for y in found) == 50.0
    assert "1,234" in own
    assert "<p>A paragraph.</p>" in own


def test_names_in_the_data_stay_text(tmp_path: Path) -> None:
    chart = charts.roc({EVIL: (CURVE, CURVE)})
    report = Report(EVIL, EVIL, (Section(EVIL, EVIL, (chart, Table((EVIL,), ((EVIL,),)), EVIL)),))
    write(report, tmp_path)
    own = (tmp_path / "report.html").read_text().replace(_library(), "")
    assert "<script>alert" not in own
    assert data_of(own)[0]["data"][0]["name"] == escape(EVIL)


def test_a_folded_section_is_there_and_closed() -> None:
    text = html(Report("T", "S", (Section("One", "E", ("inside",), folded=True),)))
    assert re.search(r"<details><summary><h2[^>]*>One</h2></summary><p>E</p><p>inside</p></details>", text)


def test_true_intervals_are_shaded_and_detections_are_points() -> None:
    (figure,) = figures(series())
    assert len(figure.layout.shapes) == 2  # one a channel
    assert all(shape.x1 - shape.x0 == 4000 for shape in figure.layout.shapes)
    points = [trace for trace in figure.data if trace.name == "detection"]
    assert [point.y.tolist() for point in points] == [[50.0], [50.0]]
    (unlabelled,) = figures(series(labelled=False))
    assert not unlabelled.layout.shapes


def test_a_mark_on_a_logarithmic_axis_is_named_where_it_stands() -> None:
    (figure,) = figures(charts.error_distribution(np.array([0.1]), np.array([20.0]), 10.0))
    assert figure.layout.shapes[0].x0 == 10.0
    assert figure.layout.annotations[0].x == pytest.approx(1.0)


def test_a_long_series_is_thinned_and_loses_no_spike() -> None:
    values = np.random.default_rng(0).normal(0, 1, 200_000).astype(np.float32)
    values[123_456], values[77_777] = 40.0, -40.0
    values[150_000:160_000] = np.nan
    kept = thinned(values)
    assert kept.size <= 2 * BUCKETS
    assert {123_456, 77_777} <= set(kept.tolist())
    assert np.isnan(values[kept]).any()
    assert (np.diff(kept) > 0).all()
    assert kept[-1] < values.size


def test_many_true_intervals_are_merged_until_they_can_be_drawn() -> None:
    rows = 20_000
    values = np.zeros((rows, 1), np.float32)
    chart = charts.series_with_detections(
        np.arange(rows, dtype=float), values, np.zeros((3, rows, 1), np.float32), values > 1, np.arange(rows) % 10 == 0,
        names=["a"], timed=False,
    )  # fmt: skip
    spans = chart.panels[0].marks[0]
    assert 0 < len(spans.ends) <= 400
    assert chart.panels[0].x.title == "row"


def test_errors_of_nothing_but_zero_are_drawn() -> None:
    assert charts.error_distribution(np.zeros(5), np.zeros(0), None).panels[0].marks


def test_tables_of_facts_and_networks_take_plain_data() -> None:
    assert charts.data_card({"rows": 12345}).rows == (("rows", "12,345"),)
    table = charts.quantisation_table([{"network": "forecaster", "kB": 12.5}, {"network": "autoencoder", "kB": 20.1}])
    assert table.header == ("network", "kB")
    assert table.rows[1] == ("autoencoder", 20.1)


def _library() -> str:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - five megabytes, for two tests

    return str(get_plotlyjs())
