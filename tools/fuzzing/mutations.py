"""Mutations of valid inputs: of random bytes, and of trees of values by strategies of hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

if TYPE_CHECKING:
    import random

    from tools.fuzzing.targets import Target

__all__ = ["variations", "varied"]

# Bytes that parsers may mishandle: ends of ranges, marks of formats, deep nesting.
_PIECES = (
    *(
        b"\0",
        b"\xff",
        b"\n",
        b'"',
        b"'",
        b"{",
        b"[",
        b"]",
        b"}",
        b":",
        b",",
        b"-",
        b"#",
        b"&a",
        b"*a",
        b"!!x",
        b"|",
        b"%",
    ),
    *(b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *(
        b"1e999",
        b"-1",
        b"5e-324",
        b"99999999999999999999",
        b"NaN",
        b"1e308",
        b"0x10",
        b"null",
        b"true",
        b"\\ud800",
        b"\\u0000",
    ),
    *(b"[" * 3000, b'{"a":' * 1500, b"9" * 5000, b"- " * 1000, b"a" * 5000, b'"' * 50),
)
# Largest mutated input in bytes.
_MOST_BYTES = 1 << 16


def varied(seed: bytes, rng: random.Random) -> bytes:
    """Flip, replace, delete, repeat and insert bytes at up to eight places.

    Parameters
    ----------
    seed
        A valid input.
    rng
        Source of randomness.
    """
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 1, 2, 4, 16, 256)))
        kind = rng.randrange(6)
        if kind == 0 and start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[start:end] = rng.randbytes(end - start)
        elif kind == 2:
            del data[start:end]
        elif kind == 3:
            data[start:start] = data[start:end] * rng.choice((1, 2, 50))
        elif kind == 4:
            data[start:start] = rng.choice(_PIECES)
        else:
            data[start:end] = rng.choice(_PIECES)
    return bytes(data[:_MOST_BYTES])


_ODD_NUMBERS = (
    *(0, -1, 1, 2, 3, 100, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**40),
    *(0.0, -0.0, 0.5, 5e-324, 1e-9, 1e300, 1.8e308, -1e300, float("inf"), float("-inf"), float("nan")),
)
_ODD_TEXTS = (
    *(
        "",
        " ",
        "\0",
        "\n",
        "a\0b",
        "\ud800",
        "x" * 300,
        "../x",
        "/dev/null",
        "*",
        "[z-a]",
        "[[a]",
        "$x",
        "a/b",
        "+",
        "#",
    ),
    *(
        "any",
        "1e999",
        "5e-324",
        "nan",
        "-",
        '"',
        "9" * 400,
        "2026-12-24",
        "9999-12-31T23:59:59Z",
        "0001-01-01",
        "simulated",
    ),
    *("_next", "step", "__class__", "__dict__", "f4", "O", "3f8", "builtin", "any@host", "::1"),
)
_NUMBERS = st.sampled_from(_ODD_NUMBERS) | st.integers(-3, 300) | st.floats()
_TEXTS = st.sampled_from(_ODD_TEXTS) | st.text(max_size=12)
_ANY = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=4,
)


def variations(target: Target, seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Strategy for inputs of a target: valid ones with replaced parts."""
    if target.tree is None or target.data is None:
        return st.builds(_cut, _one_of(seeds), st.integers(0, 1 << 15), st.integers(0, 64), st.binary(max_size=40))
    tree_of, data_of = target.tree, target.data

    @st.composite
    def grafted(draw: st.DrawFn) -> bytes:
        seed = draw(_one_of(seeds))
        try:
            tree = tree_of(seed)
            for _ in range(draw(st.integers(1, 3))):
                tree = _graft(draw, tree, whole=True)
            return data_of(tree)
        except (ArithmeticError, KeyError, TypeError, ValueError):  # no tree, or not writable
            return seed

    return grafted()


def _one_of(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Draw one of the seeds by index: `sampled_from` would print them all with a failure."""
    return st.integers(0, len(seeds) - 1).map(lambda number: seeds[number])


def _cut(seed: bytes, start: int, length: int, piece: bytes) -> bytes:
    start %= len(seed) + 1
    return seed[:start] + piece + seed[start + length :]


def _graft(draw: st.DrawFn, node: Any, *, whole: bool = False) -> Any:
    """Replace a random part of a tree, mostly a deep one."""
    if isinstance(node, dict | list) and node and (whole or draw(st.integers(0, 5))):
        key = draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        chance = draw(st.integers(0, 11))
        if chance == 0 and len(node) > 1:
            del node[key]
        elif chance == 1 and isinstance(node, list):
            node.append(node[key])
        elif chance == 2 and isinstance(node, dict):
            node[draw(_TEXTS | st.sampled_from(list(node)))] = draw(_ANY)
        else:
            node[key] = _graft(draw, node[key])
        return node
    return draw(_like(node) | _ANY)


def _like(node: Any) -> st.SearchStrategy[Any]:
    """Strategy for unusual values of the same type."""
    if isinstance(node, np.ndarray):
        return st.builds(_altered, st.just(node), st.sampled_from(_ODD_NUMBERS), st.integers(0, 7))
    if isinstance(node, bool):
        return st.booleans()
    if isinstance(node, int):
        return st.sampled_from([odd for odd in _ODD_NUMBERS if isinstance(odd, int)])
    return st.sampled_from(_ODD_NUMBERS).map(float) if isinstance(node, float) else _TEXTS


def _altered(array: Any, odd: float, kind: int) -> Any:
    """Make an array with unusual content, for most ``kind`` of the same type and shape."""
    with np.errstate(all="ignore"):
        content = np.array([odd]).astype(np.float64).astype(array.dtype)[0]
    if kind == 0:
        return array[:0]
    if kind == 1:
        return array.astype(np.float32)
    if kind == 2:
        return np.full_like(array, content)
    changed = array.copy()
    changed.reshape(-1)[kind % max(changed.size, 1) : kind % max(changed.size, 1) + 1] = content
    return changed
