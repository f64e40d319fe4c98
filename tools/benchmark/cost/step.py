"""Time of a step, relative to its bare TFLite invokes and to ``model.predict`` of the same networks.

The three are measured in turn, round by round, so that a drifting clock rate favours none of them. Keras runs in a
separate process, which is idle while the agent is measured, since the agent never runs beside TensorFlow.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.errors import EnvironmentFault
from agent.core.frame import Frame
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig
from agent.models import loader
from training.commands.arguments import natural

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

__all__ = ["add_arguments", "agent_step", "run", "step_us"]

# Rows of learning before a step counts as warm, chosen by hand.
_LEARNING_ROWS = 100
# Blocks a forecast of each coarse time scale.
_COARSE = (12, 24, 48)
_BLOCKS_A_ROUND = 96  # a multiple of these and of the autoencoder's stride: every round runs the same invokes
_PREDICTS_A_ROUND = 3
# Seconds for TensorFlow's threads to stop spinning, chosen by hand.
_REST_S = 0.5
# Random readings kept in memory, 4 bytes each.
_MOST_READINGS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    parser.add_argument("--channels", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--block", type=natural, default=round(DetectionConfig().block_s), metavar="ROWS",
        help="rows a block (default: of the default configuration at 1 Hz); 1 is slowest",
    )  # fmt: skip
    parser.add_argument("--without-keras", action="store_true", help="leave out model.predict, which needs TensorFlow")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print times in microseconds a step."""
    step, invokes = agent_step(options.channels, options.block), _invokes(options.channels, options.block)
    steps = _BLOCKS_A_ROUND * options.block
    pairs: list[tuple[float, float]] = []
    predicts: list[float] = []
    with contextlib.ExitStack() as stack:
        predict = None if options.without_keras else stack.enter_context(_predicting(options.channels))
        for _ in range(options.rounds):
            pairs.append((step_us(step, steps), step_us(invokes, steps)))
            if predict:
                predicts.append(predict())
                time.sleep(_REST_S)
    figures = {
        "channels": options.channels,
        "rows_a_block": options.block,
        "step_us": round(statistics.median(pair[0] for pair in pairs), 1),
        "invokes_us": round(statistics.median(pair[1] for pair in pairs), 1),
        "step_over_invokes": round(statistics.median(a / b for a, b in pairs), 2),
    }
    print(f"one step of {options.channels} channels      {figures['step_us']:>12,} µs")
    print(f"its bare invokes             {figures['invokes_us']:>12,} µs")
    print(f"step over invokes            {figures['step_over_invokes']:>12}")
    if predicts:
        figures["predict_us"] = round(statistics.median(predicts))
        figures["predict_over_step"] = round(
            statistics.median(p / a for p, (a, _) in zip(predicts, pairs, strict=True))
        )
        print(f"model.predict, both networks {figures['predict_us']:>12,} µs")
        print(f"predict over step            {figures['predict_over_step']:>12,}")
    return figures


def agent_step(n_channels: int, block: int, warm_rows: int = 0) -> Callable[[], object]:
    """Make a warm production step that judges random readings.

    Parameters
    ----------
    n_channels
        Number of channels.
    block
        Rows a block.
    warm_rows
        Rows run before it is returned; by default four times the learning time.
    """
    models = loader.load_builtin()
    channels = [Channel(f"channel.{i}", log_reference=float(i % 3 == 0)) for i in range(n_channels)]
    alerts = AlertsConfig(learning_s=_LEARNING_ROWS)
    ensemble = Ensemble(channels, models, DetectionConfig(block_s=float(block)), alerts, 1.0)
    incidents = Incidents(channels, alerts, 1.0, node="benchmark", model=models.label, instance="0")
    rows = np.random.default_rng(0).normal(50.0, 5.0, (min(4096, max(1, _MOST_READINGS // n_channels)), n_channels))
    rows = rows.astype(np.float32)
    seq = 0

    def step() -> None:
        nonlocal seq
        frame = Frame(seq, seq, float(seq), rows[seq % len(rows)])
        incidents.step(frame, ensemble.step(frame))
        seq += 1

    for _ in range(warm_rows or 4 * _LEARNING_ROWS * block):
        step()
    return step


def _invokes(n_channels: int, block: int) -> Callable[[], object]:
    """Make a function that runs only the TFLite invokes of a step."""
    models = loader.load_builtin()
    spec = models.manifest.autoencoder
    forecaster = models.forecaster(n_channels)
    autoencoder = models.autoencoder(n_channels)
    turn = 0

    def invokes() -> None:
        nonlocal turn
        turn += 1
        if turn % block:
            return
        blocks = turn // block
        for scale in (1, *_COARSE):
            if blocks % scale == 0:
                forecaster.invoke()
        if blocks % spec.stride == 0:
            autoencoder.invoke()

    return invokes


@contextlib.contextmanager
def _predicting(n_channels: int) -> Iterator[Callable[[], float]]:
    """Start Keras in another process; yield a function that times predictions there, in microseconds."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_predictions, args=(theirs, n_channels), daemon=True)
    process.start()
    theirs.close()

    def predict() -> float:
        ours.send(_PREDICTS_A_ROUND)
        return float(ours.recv())

    try:
        ours.recv()
        yield predict
    except EOFError:
        raise EnvironmentFault(
            "Keras failed to start", remedy="pip install 'edgewatch[training]', or use --without-keras"
        ) from None
    finally:
        ours.close()
        process.join()


def _serve_predictions(connection: Connection, n_channels: int) -> None:
    """Time ``model.predict`` of both networks on request, as a typical script calls it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.networks.architectures import UNITS, WINDOW, autoencoder, forecaster  # noqa: PLC0415 - in this process only

    step_model, window_model = forecaster(), autoencoder()
    state = np.zeros((n_channels, UNITS), np.float32)
    features = np.zeros((n_channels, 1, step_model.inputs[0].shape[-1]), np.float32)
    windows = np.zeros((n_channels, WINDOW, 1), np.float32)

    def predict() -> None:
        step_model.predict([features, state, state], verbose=0)
        window_model.predict(windows, verbose=0)

    predict()
    connection.send(None)
    with contextlib.suppress(EOFError):
        while True:
            connection.send(step_us(predict, connection.recv()))


def step_us(function: Callable[[], object], repeats: int) -> float:
    """Mean microseconds of a call over ``repeats`` calls."""
    begin = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - begin) / repeats * 1e6
