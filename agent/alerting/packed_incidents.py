"""Serialises open incidents, which are stored with each alert and in each snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from agent.alerting.incident import Incident  # noqa: TC001 - msgspec resolves the hint at run time
from agent.core.errors import UNREADABLE
from agent.core.legacy_records import incident_records
from agent.core.persistent_state import Unusable, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from agent.core.persistent_state import Record

__all__ = ["Unpacked", "pack_incidents", "unpack_incidents"]

# Written version; see `_Packed.version`.
_VERSION = 2


class _Packed(msgspec.Struct):
    """File format of open incidents.

    Parameters
    ----------
    belongs_to
        Fingerprint of the channels and configuration.
    arrays
        Packed records of the parts.
    open
        Open incidents.
    version
        1: the records are a mapping of attributes, from agents up to 0.1.0. 2: records by path.
    """

    belongs_to: str
    arrays: bytes
    open: list[Incident]
    version: int = 1


class Unpacked(NamedTuple):
    """Incidents read from disk.

    Parameters
    ----------
    ours
        Incidents that can be continued.
    foreign
        Incidents of other channels or another configuration, which can only be closed.
    records
        Records of the parts by path; None if the incidents are foreign.
    dropped
        One line per incident that cannot be used, with the reason.
    """

    ours: list[Incident]
    foreign: list[Incident]
    records: Mapping[str, Record] | None
    dropped: list[str]


def pack_incidents(incidents: Sequence[Incident], records: Mapping[str, Record], belongs_to: str) -> bytes:
    """Encode open incidents and the records that go with them.

    Parameters
    ----------
    belongs_to
        Fingerprint of the present channels and configuration.
    """
    return msgspec.msgpack.encode(_Packed(belongs_to, pack(records), list(incidents), _VERSION))


def unpack_incidents(packed: bytes, belongs_to: Container[str], n_channels: int) -> Unpacked:
    """Decode incidents packed by this version or an earlier one.

    Parameters
    ----------
    belongs_to
        Accepted fingerprints of the present channels and configuration.
    n_channels
        Number of channels now.

    Raises
    ------
    Unusable
        The data is unreadable or of a newer version.
    """
    try:
        found = msgspec.msgpack.decode(packed, type=_Packed)
    except (*UNREADABLE, TypeError) as error:
        raise Unusable(f"damaged: {error}") from error
    if found.version > _VERSION:
        raise Unusable(f"of version {found.version}, this agent knows {_VERSION}")
    sound = [incident for incident in found.open if incident.is_sound()]
    dropped = [f"incident {i.stem or i.number}: fields are missing" for i in found.open if i not in sound]
    if found.belongs_to not in belongs_to:
        return Unpacked([], sound, None, dropped)
    ours = [incident for incident in sound if all(0 <= channel < n_channels for channel in incident.worst)]
    dropped += [f"incident {i.stem or i.number}: no such channels" for i in sound if i not in ours]
    records = unpack(found.arrays)
    return Unpacked(ours, [], records if found.version > 1 else incident_records(records), dropped)
