"""Arrays from ``.npz`` and text files, for data sets without time stamps."""

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
    """Load the named numeric arrays from an ``.npz`` file.

    Raises
    ------
    UserError
        The file is not an ``.npz``, or an array is missing or not numeric; pickled objects are refused.
    """
    arrays = []
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in names:
                if name not in archive.files:
                    raise UserError(
                        f"there is no array {name!r}",
                        location=str(path),
                        remedy=f"the file must hold it; it holds {', '.join(archive.files) or 'no arrays'}",
                    )
                arrays.append(_numeric(archive[name], name, path))
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"not readable as .npz of numbers: {error}", location=str(path), remedy="download the file again"
        ) from error
    return arrays


def _numeric(array: npt.NDArray[Any], name: str, path: Path) -> npt.NDArray[Any]:
    if array.dtype.kind not in "biuf":
        raise UserError(f"array {name!r} has the type {array.dtype}", location=str(path), remedy="write it as numbers")
    return array


def load_text(path: Path) -> npt.NDArray[np.float64]:
    """Load numbers separated by line breaks, blanks or commas, float64[rows, columns].

    A file of a single line becomes a single column.

    Raises
    ------
    UserError
        The file cannot be read, is empty, or is not a table of numbers.
    """
    try:
        lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
        rows = [line.split() for line in lines if line.strip()]
        array = np.array(rows, np.float64)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", location=str(path), remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise UserError("not a text file", location=str(path), remedy="download the file again") from error
    except ValueError as error:
        raise UserError(
            f"not a table of numbers: {_first_fault(lines)}",
            location=str(path),
            remedy="download the file again",
        ) from error
    if not array.size:
        raise UserError("the file is empty", location=str(path), remedy="download the file again")
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
    """Build a recording from rows without time stamps.

    Parameters
    ----------
    path
        File of the data, for errors.
    name
        Name of the recording.
    values
        float[rows, n_channels], NaN where missing.
    channels
        Names of the columns.
    options
        Channels, number of rows and interval to take.
    interval_s
        Seconds between rows, unless the options define another interval.
    labels
        bool[rows], True where anomalous.
    train_rows
        Rows from the start that the data set reserves for training.

    Raises
    ------
    UserError
        The shapes of values and labels do not match, or a pattern matches no channel.
    """
    if values.ndim != 2 or not values.size or labels.shape != values.shape[:1]:
        raise UserError(
            f"values of shape {values.shape} and labels of shape {labels.shape}",
            location=str(path),
            remedy="the data needs at least one row of numbers, and one label per row",
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
    return "unknown reason"
