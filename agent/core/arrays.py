"""Type aliases of arrays with one entry per channel, or per lane (channel × kind of error)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt


__all__ = ["BoolArray", "Float32Array", "Float64Array", "IntArray"]

# Strings, evaluated by type checkers only: `numpy.typing` would take 0.3 MiB at run time.
BoolArray: TypeAlias = "npt.NDArray[np.bool_]"
Float32Array: TypeAlias = "npt.NDArray[np.float32]"
Float64Array: TypeAlias = "npt.NDArray[np.float64]"
IntArray: TypeAlias = "npt.NDArray[np.int64]"
