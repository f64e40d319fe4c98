"""Arrays from ``.npz`` files and columns of text, for sets without time stamps."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.detection.scaling import ABSURD
from training.data.read_report import ReadReport
from training.data.readers.channels import selected
from training.data.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from agent.core.arrays import BoolArray
    from training.data.readers.options import ReadOptions

__all__ = ["load_npz", "load_text", "untimed"]


def load_npz(path: Path, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Load numeric arrays.

    Raises
    ------
    UserError
        It is no ``.npz``, an array is missing or holds something else than numbers; pickled objects are refused.
    """
    arrays = []
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in names:
                if name not in archive.files:
                    raise UserError(
                        f"no array {name!r}",
                        location=str(path),
                        remedy=f"there are {', '.join(archive.files) or 'none'}",
                    )
                arrays.append(_numeric(archive[name], name, path))
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"not readable as .npz of numbers: {error}", location=str(path), remedy="get the file again from its source"
        ) from error
    return arrays


def _numeric(array: npt.NDArray[Any], name: str, path: Path) -> npt.NDArray[Any]:
    if array.dtype.kind not in "biuf":
        raise UserError(f"array {name!r} is of type {array.dtype}", location=str(path), remedy="numbers are expected")
    return array


def load_text(path: Path) -> npt.NDArray[np.float64]:
    """Load numbers separated by line breaks, blanks or commas, float64[rows, columns]; one line is one column.

    Raises
    ------
    UserError
        The file cannot be read or holds something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
        rows = [line.split() for line in lines if line.strip()]
        array = np.array(rows, np.float64)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", location=str(path), remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise UserError("not a text file", location=str(path), remedy="get the file again from its source") from error
    except ValueError as error:
        raise UserError(
            f"not a table of numbers: {_first_fault(lines)}",
            location=str(path),
            remedy="get the file again from its source",
        ) from error
    if not array.size:
        raise UserError("empty file", location=str(path), remedy="get the file again from its source")
    return array.T if len(array) == 1 else array


def untimed(
    path: Path,
    name: str,
    values: npt.NDArray[Any],
    channels: Sequence[str],
    options: ReadOptions,
    *,
    interval_s: float,
    labels: BoolArray,
    train_rows: int,
) -> Recording:
    """Make a recording of rows that have no time stamps.

    Parameters
    ----------
    path, name
        Of the data, for errors and people.
    values
        float[rows, n_channels].
    channels
        Their names.
    interval_s
        Seconds between rows, unless the options say otherwise.
    labels
        bool[rows].
    train_rows
        Rows from the start without an anomaly.

    Raises
    ------
    UserError
        Names and values do not fit, or a pattern matches no channel.
    """
    if values.ndim != 2 or not values.size or labels.shape != values.shape[:1]:
        raise UserError(
            f"values of shape {values.shape} and labels of shape {labels.shape}",
            location=str(path),
            remedy="rows of numbers, at least one, and a label for each are expected",
        )
    chosen = selected(channels, options.channels, str(path))
    columns = [list(channels).index(channel) for channel in chosen]
    values, labels = values[: options.rows, columns], labels[: options.rows]
    findings = ReadReport("row")
    missing = np.isnan(values)
    with np.errstate(invalid="ignore"):
        absurd = np.abs(values) >= ABSURD
    for kind, found in (("missing", missing), ("too_large", absurd)):
        findings.add(kind, int(np.count_nonzero(found)), int(np.argmax(found.any(axis=1))) + 1)
    interval = options.interval_s or interval_s
    return Recording(
        name=name,
        channels=tuple(map(Channel, chosen)),
        interval_s=interval,
        time=np.arange(len(values), dtype=np.float64) * interval,
        values=np.where(absurd, np.nan, values).astype(np.float32),
        labels=labels,
        train_rows=min(train_rows, len(values)),
        timed=False,
        notes=findings.sentences(),
    )


def _first_fault(lines: Sequence[str]) -> str:
    width = None
    for number, line in enumerate(lines, 1):
        cells = line.split()
        for cell in cells:
            try:
                float(cell)
            except ValueError:
                return f"{cell!r} in line {number}"
        if width not in {None, len(cells)} and cells:
            return f"{len(cells)} instead of {width} fields in line {number}"
        width = width or len(cells)
    return "an unknown fault"
