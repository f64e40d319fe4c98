"""Training loop with early stopping, best weights and checkpoints from which training resumes exactly.

Networks of a fitted bundle train for many short epochs with validation data. Networks of the universal bundle train for
a single epoch without validation data.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from agent.core.errors import EdgewatchError
from training.files.disk_errors import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.core.arrays import Float32Array

__all__ = ["Curves", "Task", "TrainingPlan", "train"]

_WARM_UP_SHARE = 0.04  # share of steps in which the learning rate rises from a tenth to its maximum; chosen by hand
_IMPROVEMENT = 1e-4  # smallest relative decrease of the validation loss that counts as progress; chosen by hand
_DIGEST_BYTES = hashlib.sha256().digest_size  # length of the checksum at the start of a checkpoint


@dataclass(frozen=True)
class TrainingPlan:
    """Length and learning rate of a training.

    Parameters
    ----------
    epochs, steps
        Largest number of epochs, and optimiser steps per epoch.
    patience
        Epochs without progress of the validation loss before early stopping.
    rate
        Highest learning rate of Adam, see `train`.
    compiled
        Whether XLA compiles the step. A compiled step takes a third of the time, but compilation takes seconds, and
        sums are rounded differently.
    """

    epochs: int
    steps: int
    patience: int
    rate: float
    compiled: bool = False


class Task(Protocol):
    """A model with its training batches and loss."""

    model: Any

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        """Endless batches of an epoch; the same for the same random generator."""

    def loss(self, batch: tuple[Any, ...], *, training: bool) -> tuple[Any, tuple[Any, ...]]:
        """Mean loss of the model on a batch, a scalar tensor, and the tensors to pass to `carry`."""

    def carry(self, state: tuple[Any, ...]) -> None:
        """Receive the tensors of a training step for the next batch, such as the recurrent state."""

    def validation(self) -> list[tuple[Float32Array, ...]]:
        """Batches of validation data; may be empty."""


@dataclass
class Curves:
    """Learning curves, one number per epoch.

    Parameters
    ----------
    training, validation
        Mean loss over the steps of the epoch; loss on the validation data after it (the training loss if
        there are none).
    best
        Index of the epoch with the best weights, from 0.
    """

    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best: int = 0


def train(
    task: Task,
    plan: TrainingPlan,
    *,
    seed: int,
    report: Callable[[int, float, float], None],
    checkpoint: Path | None = None,
) -> Curves:
    """Train the model of a task, or resume from a checkpoint, and set the best weights.

    The optimiser is Adam with gradients clipped to norm 1. The learning rate rises linearly over the first 4 % of steps
    and then falls to 0 as a cosine. Batches depend only on the seed and the number of the epoch, so that a resumed
    training gives the same weights as an uninterrupted one.

    Parameters
    ----------
    task
        Model, batches and loss; the model is changed in place.
    plan
        Length and learning rate.
    seed
        Seed of the batches.
    report
        Called after each step with the total number of steps done, the mean loss of the epoch so far, and the last
        validation loss (NaN in the first epoch).
    checkpoint
        File for the state after the last complete epoch; None: no checkpoints.

    Returns
    -------
    Learning curves.

    Raises
    ------
    EdgewatchError
        The loss is not finite.
    EnvironmentFault
        The checkpoint cannot be written.
    """
    optimiser = _optimiser(task.model, plan)

    def step(*batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss, state = task.loss(batch, training=True)
        variables = task.model.trainable_variables
        optimiser.apply(tape.gradient(loss, variables), variables)
        return loss, state

    # Autograph is not needed here, and takes longer than tracing.
    learn = tf.function(step, autograph=False, jit_compile=plan.compiled)
    measure = tf.function(lambda *batch: task.loss(batch, training=False)[0], autograph=False)
    validation_data = [tuple(map(tf.constant, batch)) for batch in task.validation()]
    variables = [*task.model.variables, *optimiser.variables]
    best = [np.asarray(v) for v in task.model.variables]
    curves = _resume(checkpoint, variables, best) if checkpoint else Curves()
    for epoch in range(len(curves.training), plan.epochs):
        if epoch - curves.best > plan.patience:
            break
        rng = np.random.default_rng([seed, epoch])
        total = 0.0
        for done, batch in zip(range(plan.steps), task.batches(rng), strict=False):
            loss, state = learn(*map(tf.constant, batch))
            task.carry(state)
            total += float(loss)
            past = curves.validation[-1] if curves.validation else float("nan")
            report(epoch * plan.steps + done + 1, total / (done + 1), past)
        if not np.isfinite(total):
            raise EdgewatchError(
                f"the training loss of the {task.model.name} is not finite in epoch {epoch + 1}; nothing was written",
                remedy="check the data with `python -m training inspect`",
            )
        curves.training.append(total / plan.steps)
        losses = [float(measure(*batch)) for batch in validation_data]
        validation = float(np.mean(losses)) if losses else total / plan.steps
        curves.validation.append(validation)
        former = curves.validation[curves.best]
        if epoch == 0 or validation < former - _IMPROVEMENT * abs(former):
            curves.best = epoch
            best[:] = [np.asarray(v) for v in task.model.variables]
        if checkpoint:
            _save(checkpoint, variables, best, curves)
    for variable, value in zip(task.model.variables, best, strict=True):
        variable.assign(value)
    return curves


def _optimiser(model: Any, plan: TrainingPlan) -> Any:
    """Adam with clipped gradients, warm-up and cosine decay."""
    steps = plan.epochs * plan.steps
    rising = max(1, round(_WARM_UP_SHARE * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        plan.rate / 10, max(1, steps - rising), warmup_target=plan.rate, warmup_steps=rising
    )
    optimiser = keras.optimizers.Adam(schedule, global_clipnorm=1.0)
    optimiser.build(model.trainable_variables)
    return optimiser


def _save(path: Path, variables: list[Any], best: list[Any], curves: Curves) -> None:
    arrays = {f"now_{k}": np.asarray(v) for k, v in enumerate(variables)}
    arrays |= {f"best_{k}": np.asarray(v) for k, v in enumerate(best)}
    arrays["curves"] = np.frombuffer(json.dumps(asdict(curves)).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    partial = path.with_name(path.name + ".partial")
    with writing(path):
        with partial.open("wb") as file:
            file.write(hashlib.sha256(buffer.getbuffer()).digest())
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def _resume(path: Path, variables: list[Any], best: list[Any]) -> Curves:
    """Restore a checkpoint; start anew if it is missing, damaged, or of another architecture."""
    try:
        raw = path.read_bytes()
    except OSError:
        return Curves()
    digest, content = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return Curves()
    with np.load(io.BytesIO(content), allow_pickle=False) as saved:
        shapes = {f"now_{k}": tuple(variable.shape) for k, variable in enumerate(variables)}
        if {name: saved[name].shape for name in saved.files if name.startswith("now_")} != shapes:
            return Curves()
        for k, variable in enumerate(variables):
            variable.assign(saved[f"now_{k}"])
        best[:] = [saved[f"best_{k}"] for k in range(len(best))]
        return Curves(**json.loads(saved["curves"].tobytes()))
