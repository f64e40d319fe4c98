"""Checks of a bundle: the manifest's values are valid, and the networks reproduce their recorded outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.errors import UserError
from agent.models.features import FEATURES, LEVEL, NORMALISATION_ROWS, SEASON_FEATURES, TIME_FEATURES
from agent.models.manifest import MAX_INTERVAL_S, QUANTILES, RunningScaling

if TYPE_CHECKING:
    from pathlib import Path

    from agent.models.bundle import Bundle
    from agent.models.manifest import Golden, Manifest, Start


__all__ = ["check_golden", "check_meaning", "golden_answers"]

# Largest accepted deviation from a recorded output. Runtimes and processors round differently; a wrong weight
# causes far more. Chosen by hand.
GOLDEN_TOLERANCE = 0.02


def golden_answers(bundle: Bundle, golden: Golden) -> tuple[list[list[list[float]]], list[list[float]]]:
    """Run the golden inputs and return forecasts, [rows, batch, width], and reconstructions, [n, window · channels].

    All windows run through one network, so that a hidden state that is not cleared in between shows.
    """
    features = np.array(golden.features, np.float32)
    network = bundle.forecaster(features.shape[1])
    forecasts = [network.advance(row).tolist() for row in features]
    autoencoder = bundle.autoencoder(1)
    windows = np.array(golden.windows, np.float32)
    reconstructions = [autoencoder.reconstruct(window[None, :])[0].tolist() for window in windows]
    return forecasts, reconstructions


def check_meaning(manifest: Manifest, path: Path) -> None:
    """Refuse a manifest with values that this agent does not support.

    Raises
    ------
    UserError
        A value is out of range or inconsistent; the error's location names it.
    """
    golden, spec = manifest.golden, manifest.autoencoder
    points = spec.window * manifest.lanes
    expectations: tuple[tuple[str, bool], ...] = (
        *_check_scaling(manifest),
        ("forecaster.quantiles", manifest.forecaster.quantiles == QUANTILES),
        ("forecaster.units", 1 <= manifest.forecaster.units <= 4096),
        ("forecaster.horizon", 1 <= manifest.forecaster.horizon <= 4096),
        ("autoencoder.window", 2 <= spec.window <= 4096),
        ("autoencoder.block", 1 <= spec.block <= 1 << 16),
        ("autoencoder.stride", 1 <= spec.stride <= spec.window * spec.block),
        ("autoencoder.judged", 1 <= spec.judged <= spec.window),
        ("golden.features", _is_block(golden.features, manifest.width)),
        ("golden.forecast", _is_block(golden.forecast, len(QUANTILES) * manifest.lanes) and _same_rows(golden)),
        ("golden.windows", bool(golden.windows) and {len(w) for w in golden.windows} == {points}),
        ("golden.reconstruction", [len(w) for w in golden.reconstruction] == [len(w) for w in golden.windows]),
    )
    for name, holds in expectations:
        if not holds:
            raise UserError(
                "this value is not supported by this version of the agent",
                location=f"{path}: $.{name}",
                remedy="export the bundle with a matching version of edgewatch",
            )


def _check_scaling(manifest: Manifest) -> tuple[tuple[str, bool], ...]:
    """Conditions that differ between universal and fitted bundles, by name of the value."""
    scaling, channels = manifest.scaling, manifest.channels
    if isinstance(scaling, RunningScaling):
        return (
            ("scaling.rows", scaling.rows == NORMALISATION_ROWS),
            ("features", manifest.features == [*FEATURES, *SEASON_FEATURES]),
            ("layout", manifest.layout == "shared"),
            ("channels", channels == "any"),
            ("start", manifest.start is None),
        )
    n = len(channels)
    named = channels != "any" and n == len(set(channels))
    lists = (scaling.log_reference, scaling.effect, scaling.centre, scaling.spread)
    start = manifest.start
    interval_s = manifest.interval_s
    return (
        ("channels", named and 1 <= n <= 4096),
        ("interval_s", interval_s != "any" and 0 < interval_s <= MAX_INTERVAL_S),
        ("features", manifest.features[:1] == [LEVEL] and set(manifest.features[1:]) <= set(TIME_FEATURES)),
        ("scaling", all(len(numbers) == n and np.isfinite(numbers).all() for numbers in lists)),
        ("scaling.spread", min(scaling.spread, default=0.0) > 0),
        ("start", start is not None and _is_start(start, n)),
    )


def _is_start(start: Start, n_channels: int) -> bool:
    levels = np.array(start.levels)
    if start.rows < 1 or levels.size < 2 or levels[0] < 0 or levels[-1] > 1 or not (np.diff(levels) > 0).all():
        return False
    tables = (start.forecast_error, start.reconstruction_error)
    return all(len(table) == n_channels and {len(row) for row in table} == {levels.size} for table in tables)


def _is_block(block: list[list[list[float]]], width: int) -> bool:
    """Whether nested lists form a non-empty array [rows, batch, width]."""
    batches = {len(row) for row in block}
    return len(batches) == 1 and batches != {0} and {len(cell) for row in block for cell in row} == {width}


def _same_rows(golden: Golden) -> bool:
    return [len(row) for row in golden.features] == [len(row) for row in golden.forecast]


def check_golden(bundle: Bundle) -> None:
    """Refuse a bundle whose networks do not reproduce the recorded outputs within `GOLDEN_TOLERANCE`.

    Raises
    ------
    UserError
        A network cannot be run, or its outputs deviate.
    """
    golden = bundle.manifest.golden
    try:
        with np.errstate(all="ignore"):  # NaN in the outputs is refused below
            forecast, reconstruction = golden_answers(bundle, golden)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the models cannot be run: {' '.join(str(error).split())[:300]}",
            location=str(bundle.directory),
            remedy="export the bundle again",
        ) from error
    pairs = (
        (bundle.manifest.forecaster.file, forecast, golden.forecast),
        (bundle.manifest.autoencoder.file, reconstruction, golden.reconstruction),
    )
    for file, found, recorded in pairs:
        given, expected = np.array(found), np.array(recorded)
        with np.errstate(all="ignore"):
            deviation = float(np.max(np.abs(given - expected))) if given.shape == expected.shape else np.inf
        if not deviation <= GOLDEN_TOLERANCE:  # NaN must fail too
            raise UserError(
                f"outputs deviate by {deviation:.3g} from the recorded ones (tolerance {GOLDEN_TOLERANCE})",
                location=str(bundle.directory / file),
                remedy="the model or the TFLite runtime differs from those at export; export the bundle again",
            )
