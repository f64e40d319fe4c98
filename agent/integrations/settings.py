"""The section ``prometheus`` of the configuration."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from msgspec import Meta

from agent.core.section import Section

__all__ = ["PrometheusConfig"]


class PrometheusConfig(Section, frozen=True):
    """A metrics page for Prometheus."""

    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port of the page; 0 chooses any free one.")] = 9469
    address: Annotated[
        str,
        Meta(description="IP address that the page is served on; it must be loopback unless `allow_remote` is true."),
    ] = "127.0.0.1"
    allow_remote: Annotated[
        bool,
        Meta(
            description=(
                "Permit other addresses than loopback. The page has no password: anyone who reaches it can read all "
                "values."
            )
        ),
    ] = False

    def __post_init__(self) -> None:
        address = ipaddress.ip_address(self.address)
        if not (self.allow_remote or address.is_loopback):
            raise ValueError(f"address {self.address} is not loopback; if it is meant, say allow_remote: true")
