"""Gradient descent in epochs: early stopping, best weights kept, and a checkpoint from which it resumes exactly.

One loop trains all networks. Those of a fitted bundle run over many short epochs with held-back data; those of the
universal bundle over a single epoch, without.
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

_WARM_UP_SHARE = 0.04  # of the steps, in which the rate rises from a tenth
_IMPROVEMENT = 1e-4  # relative; less is standing still
_DIGEST_BYTES = hashlib.sha256().digest_size  # at the beginning of a checkpoint


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast.

    Parameters
    ----------
    epochs, steps
        Epochs at most, and optimiser steps in each.
    patience
        Epochs without a better validation loss after which it ends.
    rate
        Highest learning rate of Adam; it falls as a cosine to 0 at the last step of the last epoch.
    compiled
        Whether XLA compiles a step as a whole: it then takes a third of the time, but the first one takes seconds, and
        sums are rounded differently.
    """

    epochs: int
    steps: int
    patience: int
    rate: float
    compiled: bool = False


class Task(Protocol):
    """Batches to learn from, and the loss to minimise."""

    model: Any

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        """Batches of an epoch, without end; the same for the same generator."""

    def loss(self, batch: tuple[Any, ...], *, training: bool) -> tuple[Any, tuple[Any, ...]]:
        """Mean loss of the model on a batch, a scalar tensor, and tensors for `carry`."""

    def carry(self, state: tuple[Any, ...]) -> None:
        """Take what a training step left for the next batch."""

    def validation(self) -> list[tuple[Float32Array, ...]]:
        """Batches of data that is never learned from; empty if there is none."""


@dataclass
class Curves:
    """How a training went, a number an epoch.

    Parameters
    ----------
    training, validation
        Mean loss over the epoch's steps, and on held-back data after it (the training loss, if there is none).
    best
        The epoch whose weights were kept, from 0.
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
    """Train a task's model, or resume from a checkpoint; it ends with the best weights.

    Everything random depends on the seed and the number of the epoch alone, so that an interrupted training ends with
    the same weights as one that was not.

    Parameters
    ----------
    task
        What to learn; its model is changed in place.
    plan
        How long.
    seed
        Of the batches.
    report
        Called after each step with the number of steps done, of all epochs, and the epoch's loss and validation loss.
    checkpoint
        File that holds the state after the last whole epoch; None keeps none.

    Raises
    ------
    EdgewatchError
        The loss is no longer finite.
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

    # Nothing here needs Python rewritten into graphs, which takes longer than tracing.
    learn = tf.function(step, autograph=False, jit_compile=plan.compiled)
    measure = tf.function(lambda *batch: task.loss(batch, training=False)[0], autograph=False)
    held_back = [tuple(map(tf.constant, batch)) for batch in task.validation()]
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
                f"the training loss of the {task.model.name} is no number any more (epoch {epoch + 1})",
                remedy="look at the data with `python -m training inspect`; nothing was written",
            )
        curves.training.append(total / plan.steps)
        validation = (
            float(np.mean([float(measure(*batch)) for batch in held_back])) if held_back else total / plan.steps
        )
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
    """Adam with clipped gradients, its rate rising to the highest and then falling as a cosine to 0."""
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
    """Restore a checkpoint; a missing or damaged one, or one of another network, is a fresh start."""
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
