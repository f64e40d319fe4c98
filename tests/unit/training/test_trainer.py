from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="training needs the training extra")

import keras
from keras import ops

from agent.core.errors import EdgewatchError, EnvironmentFault
from training.networks import architectures
from training.networks.architectures import ForecasterShape
from training.networks.trainer import TrainingPlan, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.core.arrays import Float32Array

pytestmark = pytest.mark.training

PLAN = TrainingPlan(epochs=4, steps=5, patience=10, rate=0.01)


def silent(_done: int, _loss: float, _held_back: float) -> None:
    pass


class Echo:
    """A small network that learns to repeat its input."""

    def __init__(self, *, dropout: float = 0.0, start: int = 1) -> None:
        keras.utils.set_random_seed(start)
        layers = keras.layers
        parts = [keras.Input((4,)), layers.Dense(6), layers.Dropout(dropout), layers.Dense(4)]
        self.model = keras.Sequential(parts, name="echo")

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Float32Array, ...]]:
        while True:
            yield (rng.normal(size=(8, 4)).astype(np.float32),)

    def loss(self, batch: tuple[Any, ...], *, training: bool) -> tuple[Any, tuple[Any, ...]]:
        (told,) = batch
        return ops.mean(ops.abs(told - self.model(told, training=training))), ()

    def carry(self, state: tuple[Any, ...]) -> None:
        pass

    def validation(self) -> list[tuple[Float32Array, ...]]:
        return [next(self.batches(np.random.default_rng(k))) for k in (90, 91)]


class RecurrentEcho(Echo):
    """The same task with the production network."""

    def __init__(self, *, dropout: float = 0.0, start: int = 1) -> None:
        keras.utils.set_random_seed(start)
        self.model = architectures.forecaster(ForecasterShape(n_features=1, units=3, dropout=dropout))

    def loss(self, batch: tuple[Any, ...], *, training: bool) -> tuple[Any, tuple[Any, ...]]:
        series, state = batch[0][..., None], ops.zeros((8, 3))
        forecast = self.model([series, state, state], training=training)[0]
        return ops.mean(ops.abs(series - forecast[..., :1])), ()


def weights(task: Echo) -> list[Float32Array]:
    return [np.asarray(v) for v in task.model.variables]


def same(one: Echo, other: Echo) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


class Drift:
    """A single weight, initially 0, that training increases forever; validation data favour 0.02."""

    def __init__(self, held_back: Callable[[Any], Any], *, told: bool = True) -> None:
        self.model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)], name="drift")
        self.model.layers[0].kernel.assign([[0.0]])
        self._held_back = held_back
        self._told = told

    @property
    def weight(self) -> Any:
        return self.model.layers[0].kernel[0, 0]

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Float32Array, ...]]:
        while True:
            yield (np.zeros((1, 1), np.float32),)

    def loss(self, batch: tuple[Any, ...], *, training: bool) -> tuple[Any, tuple[Any, ...]]:
        return -self.weight if training else self._held_back(self.weight), ()

    def carry(self, state: tuple[Any, ...]) -> None:
        pass

    def validation(self) -> list[tuple[Float32Array, ...]]:
        return [next(self.batches(np.random.default_rng()))] if self._told else []


def to_a_point(weight: Any) -> Any:
    return ops.abs(weight - 0.02)


def test_the_weights_of_the_best_epoch_are_kept(tmp_path: Path) -> None:
    task = Drift(to_a_point)
    curves = train(task, TrainingPlan(12, 1, 20, 0.01), seed=1, checkpoint=tmp_path / "c", report=silent)
    assert len(curves.training) == len(curves.validation) == 12
    assert 0 < curves.best < 11
    assert curves.validation[curves.best] == min(curves.validation)
    assert float(to_a_point(task.weight)) == min(curves.validation)


@pytest.mark.parametrize("patience", [1, 3])
def test_it_ends_after_so_many_epochs_without_progress(tmp_path: Path, patience: int) -> None:
    task = Drift(to_a_point)
    curves = train(task, TrainingPlan(50, 1, patience, 0.01), seed=1, checkpoint=tmp_path / "c", report=silent)
    assert len(curves.training) == curves.best + 1 + patience < 50


def test_a_loss_below_zero_that_rises_a_little_is_no_progress(tmp_path: Path) -> None:
    task = Drift(lambda weight: -10.0 + 1e-3 * weight)
    curves = train(task, TrainingPlan(50, 1, 3, 0.01), seed=1, checkpoint=tmp_path / "c", report=silent)
    assert curves.best == 0
    assert len(curves.training) == 4


def test_without_held_back_data_the_training_loss_decides(tmp_path: Path) -> None:
    curves = train(
        Drift(to_a_point, told=False), TrainingPlan(5, 2, 9, 0.01), seed=1, checkpoint=tmp_path / "c", report=silent
    )
    assert curves.validation == curves.training
    assert curves.best == 4


def test_the_rate_rises_to_the_highest_and_falls_as_a_cosine_to_nothing(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    task = Drift(to_a_point)
    plan = TrainingPlan(epochs=2, steps=500, patience=1, rate=3e-3)
    train(task, plan, seed=1, report=lambda done, mean, _: told.append((done, mean)))
    # The loss is the weight with its sign turned, and Adam moves a weight of constant slope by its rate.
    totals = np.array([mean * ((done - 1) % 500 + 1) for done, mean in told]).reshape(2, 500)
    weights_before = -np.diff(totals, axis=1, prepend=0.0).ravel()
    rates = np.diff(weights_before)
    steps = np.arange(40, 999)
    falling = 3e-3 * 0.5 * (1 + np.cos(np.pi * (steps - 40) / 960))
    assert rates[0] == pytest.approx(3e-4, rel=1e-3)
    np.testing.assert_allclose(rates[40:], falling, atol=1e-6)


def test_it_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[int, float, float]] = []
    curves = train(Echo(), PLAN, seed=1, checkpoint=tmp_path / "c", report=lambda *progress: told.append(progress))
    assert [done for done, _, _ in told] == list(range(1, 21))
    assert told[4][1] == pytest.approx(curves.training[0])
    assert np.isnan(told[4][2])
    assert told[5][2] == curves.validation[0]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    curves = train(Echo(), TrainingPlan(6, 20, 6, 0.03), seed=1, checkpoint=tmp_path / "c", report=silent)
    assert curves.validation[-1] < 0.5 * curves.validation[0]


def stopped_at(step: int) -> Callable[[int, float, float], None]:
    def report(done: int, _loss: float, _held_back: float) -> None:
        if done == step:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize(
    ("kind", "dropout", "step"),
    [(Echo, 0.0, 5), (Echo, 0.4, 6), (RecurrentEcho, 0.4, 13)],
)
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    tmp_path: Path, kind: type[Echo], dropout: float, step: int
) -> None:
    whole = kind(dropout=dropout)
    expected = train(whole, PLAN, seed=7, checkpoint=tmp_path / "whole", report=silent)
    with pytest.raises(KeyboardInterrupt):
        train(kind(dropout=dropout), PLAN, seed=7, checkpoint=tmp_path / "c", report=stopped_at(step))
    # Before the first whole epoch there is no checkpoint, and the start decides; afterwards it no longer matters.
    resumed = kind(dropout=dropout, start=1 if step <= PLAN.steps else 99)
    assert train(resumed, PLAN, seed=7, checkpoint=tmp_path / "c", report=silent) == expected
    assert same(resumed, whole)


def test_a_finished_training_is_taken_from_its_checkpoint_without_a_step(tmp_path: Path) -> None:
    whole, again = Echo(), Echo(start=99)
    expected = train(whole, PLAN, seed=7, checkpoint=tmp_path / "c", report=silent)
    assert train(again, PLAN, seed=7, checkpoint=tmp_path / "c", report=stopped_at(1)) == expected
    assert same(again, whole)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    one, other = Echo(), Echo()
    for seed, task in enumerate((one, other)):
        train(task, PLAN, seed=seed, checkpoint=tmp_path / f"c{seed}", report=silent)
    assert not same(one, other)


@pytest.fixture(scope="module", name="content")
def _content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Content of a complete checkpoint."""
    path = tmp_path_factory.mktemp("trained") / "c"
    train(Echo(), PLAN, seed=7, checkpoint=path, report=silent)
    return path.read_bytes()


class TestDamagedCheckpoint:
    def first_step(self, checkpoint: Path | None) -> float | None:
        """Loss of the first step after resuming from a checkpoint; None if training was complete."""
        told: list[float] = []

        def report(_done: int, loss: float, _held_back: float) -> None:
            told.append(loss)
            raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            train(Echo(start=3), PLAN, seed=7, checkpoint=checkpoint, report=report)
        return told[0] if told else None

    def is_fresh(self, content: bytes, folder: Path) -> bool:
        """Whether a training with this checkpoint begins as one without."""
        (folder / "damaged").write_bytes(content)
        return self.first_step(folder / "damaged") == self.first_step(None)

    def test_a_whole_one_is_taken_over(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "whole").write_bytes(content)
        assert self.first_step(tmp_path / "whole") is None

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
    def test_one_that_was_cut_short_is_a_fresh_start(self, content: bytes, tmp_path: Path, share: float) -> None:
        assert self.is_fresh(content[: round(share * len(content))], tmp_path)

    def test_something_else_is_a_fresh_start(self, tmp_path: Path) -> None:
        assert self.is_fresh(b"years of work", tmp_path)

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.9, 0.999])
    def test_one_with_a_flipped_bit_is_a_fresh_start(self, content: bytes, tmp_path: Path, share: float) -> None:
        damaged = bytearray(content)
        damaged[round(share * len(content))] ^= 0x08
        assert self.is_fresh(bytes(damaged), tmp_path)

    def test_one_of_another_network_is_a_fresh_start(self, tmp_path: Path) -> None:
        train(RecurrentEcho(), PLAN, seed=7, checkpoint=tmp_path / "other", report=silent)
        assert self.is_fresh((tmp_path / "other").read_bytes(), tmp_path)


def test_a_loss_that_is_no_number_is_refused_with_the_name_of_the_network(tmp_path: Path) -> None:
    class Spoiled(Echo):
        def batches(self, rng: np.random.Generator) -> Iterator[tuple[Float32Array, ...]]:
            for (told,) in super().batches(rng):
                yield (told * (np.float32("nan") if (tmp_path / "c").exists() else np.float32(1.0)),)

    with pytest.raises(EdgewatchError, match=r"training loss of the echo is not finite in epoch 2") as refused:
        train(Spoiled(), PLAN, seed=1, checkpoint=tmp_path / "c", report=silent)
    assert refused.value.remedy


def test_a_disk_that_is_full_is_named_and_the_former_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    train(Echo(), TrainingPlan(1, 5, 9, 0.01), seed=7, checkpoint=path, report=silent)
    former = path.read_bytes()

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFault, match="No space left on device") as fault:
        train(Echo(), PLAN, seed=7, checkpoint=path, report=silent)
    assert fault.value.location == str(path)
    assert path.read_bytes() == former
