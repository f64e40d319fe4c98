"""Names for the arrays that run over channels or lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt


__all__ = ["BoolArray", "Float32Array", "Float64Array", "IntArray"]

# As texts: numpy's types of types are 0.3 MiB that nothing needs when it runs.
BoolArray: TypeAlias = "npt.NDArray[np.bool_]"
Float32Array: TypeAlias = "npt.NDArray[np.float32]"
Float64Array: TypeAlias = "npt.NDArray[np.float64]"
IntArray: TypeAlias = "npt.NDArray[np.int64]"
