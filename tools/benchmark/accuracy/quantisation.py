"""Effect of int8 and of the fused LSTM operator: scores on real series, file size, and inference time.

Times are measured in turn in one run. The comparison is the default conversion of Keras, the usual way to TFLite.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.alerting.settings import AlertsConfig
from agent.detection.settings import DetectionConfig
from agent.models import loader
from agent.models.tflite import quiet
from training.evaluation.run import judge
from training.export.inference_time import microseconds
from training.optional_imports import importing

if TYPE_CHECKING:
    import argparse

    from agent.models.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="PATH", help="recordings to score, such as the NAB folder"
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="quantised bundle (default: the shipped one)")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="DIR",
        help="the same bundle in float32: `python -m training universal --reference DIR`",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    figures: dict[str, Any] = {"fused": _fused()}
    fused = figures["fused"]
    print("autoencoder (window 32, LSTM 32 + 32), microseconds an inference, measured in turn:")
    for name, each in fused["microseconds"].items():
        print(f"  {name:24} {each:8.1f}   {fused['bytes'][name]:7,} bytes")
    print(f"  Keras' conversion takes {fused['ratio']:.1f} times as long as the fused operator (both int8)")
    if options.reference is None:
        print("without --reference, scores are not compared")
        return figures
    quantised = loader.load(options.bundle) if options.bundle else loader.load_builtin()
    exact = loader.load(options.reference)
    figures["size"] = _sizes(quantised, exact)
    print(
        f"size: {figures['size']['smaller']:.1%} smaller "
        f"({figures['size']['bytes']:,} of {figures['size']['of']:,} bytes)"
    )
    if options.data:
        figures["scores"] = _scores(quantised, exact, options.data)
        found = figures["scores"]
        print(
            f"scores over {found['recordings']} recordings, {found['rows']:,} rows: differ by {found['mean']:.5f} "
            f"on average, {found['max']:.3f} at most; flags differ in {found['flags_differ']:.4%} of rows"
        )
    return figures


def _sizes(quantised: Bundle, exact: Bundle) -> dict[str, Any]:
    sizes = [b.manifest.forecaster.size + b.manifest.autoencoder.size for b in (quantised, exact)]
    return {"bytes": sizes[0], "of": sizes[1], "smaller": 1.0 - sizes[0] / sizes[1]}


def _scores(quantised: Bundle, exact: Bundle, paths: list[Path]) -> dict[str, Any]:
    """Differences of the alert score over all rows of all recordings."""
    with importing("evaluation"):
        from training.data.readers.options import ReadOptions  # noqa: PLC0415 - an extra
        from training.data.readers.registry import read  # noqa: PLC0415 - the same
    total, rows, recordings, largest, flags = 0.0, 0, 0, 0.0, 0
    for recording in read(paths, ReadOptions()):
        ours, theirs = (
            judge(recording, each, DetectionConfig(), AlertsConfig(), first=0) for each in (quantised, exact)
        )
        difference = np.abs(ours.score - theirs.score)
        total += float(difference.sum())
        largest = max(largest, float(difference.max()))
        flags += int(np.count_nonzero(ours.flagged != theirs.flagged))
        rows += recording.rows
        recordings += 1
        print(f"  {recording.name}: {difference.mean():.5f}", flush=True)
    return {
        "recordings": recordings,
        "rows": rows,
        "mean": total / rows,
        "max": largest,
        "flags_differ": flags / rows,
    }


def _fused() -> dict[str, Any]:
    """Time and size of the autoencoder with the fused operator and by Keras' converter, with the same weights."""
    with importing("training"):
        import keras  # noqa: PLC0415 - takes seconds to import
        import tensorflow as tf  # noqa: PLC0415 - the same

        from training.export.tflite import export_autoencoder  # noqa: PLC0415 - the same
        from training.networks.architectures import WINDOW, autoencoder  # noqa: PLC0415 - the same

    keras.utils.set_random_seed(1)
    model = autoencoder()
    window = keras.Input(batch_shape=(1, WINDOW, 1))
    fixed = keras.Model(window, model(window))
    files = {}
    for form in ("int8", "float32"):
        files[f"fused, {form}"] = export_autoencoder(model, 1, form="int8" if form == "int8" else "float32")
        converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
        if form == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        with quiet():
            files[f"Keras' own, {form}"] = converter.convert()
    times = microseconds(files)
    return {
        "microseconds": times,
        "bytes": {name: len(content) for name, content in files.items()},
        "ratio": round(times["Keras' own, int8"] / times["fused, int8"], 2),
    }
