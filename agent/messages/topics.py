"""Names of a node's topics."""

from __future__ import annotations

__all__ = ["RETAINED", "topic"]

#: Topics of a node that the broker keeps, besides the discovery message.
RETAINED = ("status", "state", "health", "digest")


def topic(prefix: str, node: str, leaf: str) -> str:
    """Full name of one of the node's topics."""
    return f"{prefix}/{node}/{leaf}"
