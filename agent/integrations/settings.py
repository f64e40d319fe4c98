"""The section ``prometheus`` of the configuration."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import msgspec

from agent.core.section import Section

__all__ = ["PrometheusConfig"]


class PrometheusConfig(Section, frozen=True):
    """A page for Prometheus.

    Parameters
    ----------
    port, address
        Where it listens; port 0 is any free one.
    allow_remote
        Addresses other than loopback are allowed: whoever reaches them reads all values; there is no password.
    """

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9469
    address: str = "127.0.0.1"
    allow_remote: bool = False

    def __post_init__(self) -> None:
        address = ipaddress.ip_address(self.address)
        if not (self.allow_remote or address.is_loopback):
            raise ValueError(f"address {self.address} is not loopback; if it is meant, say allow_remote: true")
