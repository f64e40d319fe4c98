"""The ring buffer gives the newest rows, compared with a list of all rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.ring_buffer import RingBuffer

CHANNELS = 2
ROW = st.tuples(*(st.floats(-1e6, 1e6, width=32) for _ in range(CHANNELS)))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), ROW),
        st.tuples(st.just("amend"), ROW),
        st.tuples(st.just("reset"), st.integers(0, CHANNELS - 1)),
    ),
    max_size=40,
)


@given(st.integers(1, 7), STEPS)
def test_the_view_is_the_end_of_all_rows_in_order(capacity: int, steps: list[tuple[str, object]]) -> None:
    ring = RingBuffer(CHANNELS, capacity)
    rows = [[0.0] * CHANNELS for _ in range(capacity)]
    for what, given_row in steps:
        if what == "push":
            ring.push(np.array(given_row))
            rows.append(list(given_row))  # type: ignore[call-overload]
        elif what == "amend":
            ring.amend(np.array(given_row))
            rows[-1] = list(given_row)  # type: ignore[call-overload]
        else:
            ring.reset(np.array([given_row]))
            for row in rows:
                row[given_row] = 0.0  # type: ignore[call-overload]
        assert ring.view().T.tolist() == rows[-capacity:]


def test_the_view_copies_nothing() -> None:
    assert RingBuffer(3, 8).view().base is not None
