"""Runs TFLite models; the only file that imports a TFLite runtime.

There are two kinds of network: a *step* network, whose recurrent state is carried as explicit tensors, and a *window*
network built on the fused LSTM op, whose hidden state must be cleared before every invoke.
"""

from __future__ import annotations

import contextlib
import copy
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.core.errors import EnvironmentFault, UserError
from agent.core.persistent_state import CHANNEL, Part, State, array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["StepNetwork", "WindowNetwork", "bare_invoke", "quiet", "runtime_name"]


def _interpreter_class() -> tuple[str, Any]:
    """Name and class of the installed runtime: ai-edge-litert, else tflite-runtime (32-bit ARM has no other)."""
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - either runtime may be installed
    except ImportError:
        try:
            from tflite_runtime.interpreter import (  # noqa: PLC0415 - the same
                Interpreter as OldInterpreter,
            )
        except ImportError:
            raise EnvironmentFault(
                "no TFLite runtime is installed",
                remedy="pip install ai-edge-litert (or tflite-runtime on 32-bit ARM)",
            ) from None
        return "tflite-runtime", OldInterpreter
    return "ai-edge-litert", Interpreter


def runtime_name() -> str:
    """Name of the TFLite runtime in use.

    Raises
    ------
    EnvironmentFault
        No TFLite runtime is installed.
    """
    return _interpreter_class()[0]


class _Network:
    """A TFLite model whose tensors are found by name."""

    def __init__(self, model: bytes, location: str) -> None:
        _, interpreter_class = _interpreter_class()
        try:
            with quiet():
                self._interpreter = interpreter_class(model_content=model, num_threads=1)
            runner = self._interpreter.get_signature_runner("serving_default")
            self._inputs: dict[str, dict[str, Any]] = runner.get_input_details()
            self._outputs: dict[str, dict[str, Any]] = runner.get_output_details()
        except (ValueError, RuntimeError) as error:  # also for tensor names that are not text
            raise _refused(location, error) from error
        self._location = location

    def _index(self, name: str, *, width: tuple[int, ...], output: bool = False) -> int:
        """Index of a named input or output tensor; checks its type and its shape without the batch axis."""
        details = (self._outputs if output else self._inputs).get(name)
        kind = "output" if output else "input"
        if details is None:
            raise UserError(
                f"the model has no {kind} {name!r}", location=self._location, remedy="export the bundle again"
            )
        shape = tuple(int(n) for n in details["shape"][1:])
        if details["dtype"] is not np.float32 or shape != width:
            raise UserError(
                f"{kind} {name!r} is {details['dtype'].__name__}{list(shape)} a row, expected float32{list(width)}",
                location=self._location,
                remedy="export the bundle again",
            )
        return int(details["index"])

    def _allocate(self) -> None:
        try:
            with quiet():
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise _refused(self._location, error) from error

    def invoke(self) -> None:
        """Run the network on the present contents of its inputs, to time the runtime alone."""
        self._interpreter.invoke()


def bare_invoke(model: bytes, location: str) -> Callable[[], None]:
    """Load any model with a batch of one and return a function that runs it on zeros, to time the runtime alone.

    Raises
    ------
    UserError
        The runtime refuses the model.
    """
    network = _Network(model, location)
    network._allocate()  # noqa: SLF001 - same module
    return network.invoke


class StepState(State):
    """Recurrent state (hidden `h`, cell `c`) of a `StepNetwork`; it outlives a restart."""

    h: Float32Array = array("activation", CHANNEL, "unit", dtype=np.float32)
    c: Float32Array = array("activation", CHANNEL, "unit", dtype=np.float32)


class StepNetwork(_Network):
    """One step of a recurrent network over a batch, with the recurrent state saved outside the interpreter.

    Parameters
    ----------
    model
        Content of the TFLite file.
    batch
        Rows per step.
    n_features, units, n_outputs
        Expected widths of features, recurrent state and forecast.
    location
        File name, for error messages.

    Raises
    ------
    UserError
        The runtime refuses the model, or a tensor differs from the expected name, type or shape.
    EnvironmentFault
        No TFLite runtime is installed.
    """

    def __init__(self, model: bytes, batch: int, n_features: int, units: int, n_outputs: int, location: str) -> None:
        super().__init__(model, location)
        self._features = self._index("features", width=(n_features,))
        self._state_h = self._index("state_h", width=(units,))
        self._state_c = self._index("state_c", width=(units,))
        self._forecast = self._index("forecast", width=(n_outputs,), output=True)
        self._next_h = self._index("next_h", width=(units,), output=True)
        self._next_c = self._index("next_c", width=(units,), output=True)
        for index, width in ((self._features, n_features), (self._state_h, units), (self._state_c, units)):
            self._interpreter.resize_tensor_input(index, [batch, width])
        self._allocate()
        self._shape = batch, units
        self._state = StepState(channel=batch, unit=units)

    def twin(self) -> StepNetwork:
        """Make a network of the same batch that shares the interpreter and has its own recurrent state."""
        batch, units = self._shape
        other = copy.copy(self)
        other._state = StepState(channel=batch, unit=units)  # noqa: SLF001 - same class
        return other

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, rows: IntArray) -> None:
        """Set the recurrent state of these rows of the batch, int64[m], to zero."""
        self._state.reset(rows)

    @property
    def h(self) -> Float32Array:
        """Hidden state after the newest step, float32[batch, units]."""
        return self._state.h

    @property
    def c(self) -> Float32Array:
        """Cell state after the newest step, float32[batch, units]."""
        return self._state.c

    def advance(self, features: Float32Array, which: BoolArray | None = None) -> Float32Array:
        """Run one step and store the new recurrent state.

        Parameters
        ----------
        features
            float32[batch, n_features].
        which
            bool[batch], rows whose state advances; all by default.

        Returns
        -------
        Forecast, float32[batch, n_outputs].
        """
        state = self._state
        forecast, next_h, next_c = self.step(features)
        if which is not None:
            next_h = np.where(which[:, None], next_h, state.h)
            next_c = np.where(which[:, None], next_c, state.c)
        state.h, state.c = next_h, next_c
        return forecast

    def step(self, features: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Run one step from the present recurrent state without changing it.

        Parameters
        ----------
        features
            float32[batch, n_features].

        Returns
        -------
        forecast, next_h, next_c
            Forecast, float32[batch, n_outputs], and the recurrent state after it, float32[batch, units] each.
        """
        interpreter = self._interpreter
        interpreter.set_tensor(self._features, features)
        interpreter.set_tensor(self._state_h, self._state.h)
        interpreter.set_tensor(self._state_c, self._state.c)
        interpreter.invoke()
        return (
            interpreter.get_tensor(self._forecast),
            interpreter.get_tensor(self._next_h),
            interpreter.get_tensor(self._next_c),
        )


class WindowNetwork(_Network):
    """A network over a window of points, built on the fused LSTM op.

    The op keeps its hidden state in variable tensors from one invoke to the next. They must be cleared before every
    invoke, else the second result is silently wrong. They must also be resized with the batch; the runtime does not.

    Parameters
    ----------
    model
        Content of the TFLite file.
    batch
        Windows per invoke.
    shape
        Points per window, channels per point.
    state_tensors
        Indices of the variable tensors, recorded at export.
    location
        File name, for error messages.

    Raises
    ------
    UserError, EnvironmentFault
        As for `StepNetwork`.
    """

    def __init__(
        self, model: bytes, batch: int, shape: tuple[int, int], state_tensors: Sequence[int], location: str
    ) -> None:
        super().__init__(model, location)
        self._window = self._index("window", width=shape)
        self._reconstruction = self._index("reconstruction", width=shape, output=True)
        shapes = {int(d["index"]): [int(n) for n in d["shape"]] for d in self._interpreter.get_tensor_details()}
        try:
            for index in (self._window, *state_tensors):
                self._interpreter.resize_tensor_input(index, [batch, *shapes[index][1:]])
        except (KeyError, ValueError, RuntimeError) as error:
            raise _refused(location, error) from error
        self._allocate()
        self._input = np.zeros((batch, *shape), np.float32)
        self._flat = self._input.reshape(batch, -1)

    def reconstruct(self, windows: Float32Array | Float64Array) -> Float32Array:
        """Reconstruct windows.

        Parameters
        ----------
        windows
            float[n, window · channels], n up to the batch size; oldest point first, channels of a point adjacent.

        Returns
        -------
        float32[n, window · channels], in the same order.
        """
        n = len(windows)
        self._flat[:n] = windows
        interpreter = self._interpreter
        interpreter.reset_all_variables()
        interpreter.set_tensor(self._window, self._input)
        interpreter.invoke()
        reconstruction: Float32Array = interpreter.get_tensor(self._reconstruction).reshape(self._flat.shape)[:n]
        return reconstruction


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard the runtime's messages about its delegates; its errors are exceptions.

    The runtime writes to file descriptor 2 directly, so the descriptor itself is redirected meanwhile.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def _refused(location: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:300]
    return UserError(
        f"the TFLite runtime refuses the model: {reason}", location=location, remedy="export the bundle again"
    )
