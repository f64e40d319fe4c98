"""The commands ``check``, which tests each part of a configuration, and ``probe``, which prints readings."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from agent.core.channel import NOBODY
from agent.core.clock import SystemClock
from agent.core.errors import EdgewatchError
from agent.core.text import quantity
from agent.detection.ensemble import Ensemble
from agent.models import bundle
from agent.models.last_good import load_bundles
from agent.models.tflite import runtime_name
from agent.mqtt import one_shot
from agent.service.pipeline import open_sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.config.schema import Config
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.models.bundle import Bundle

__all__ = ["check", "probe"]

# Ticks that the sources are read: rates need two.
_CHECK_STEPS = 2
# Longest sampling interval of the check, in seconds, to keep it short.
_CHECK_INTERVAL_S = 1.0


def check(load_config: Callable[[], Config], say: Callable[[str], object]) -> int:
    """Check configuration, models, sources and broker; report success or the error of each.

    Parameters
    ----------
    load_config
        Loads the configuration; its `EdgewatchError` is reported.
    say
        Receives each line of the report.

    Returns
    -------
    int
        0 if all parts work, otherwise the exit code of the first error: 2 user error, 3 environment fault.
    """
    try:
        config = load_config()
    except EdgewatchError as error:
        say(f"config   {error}")
        return error.exit_code
    say(f"config   fine: node {config.node}, every {config.interval_s:g} s")

    loaded: list[Bundle] = []

    def models() -> str:
        loaded.extend(load_bundles(config))
        return f"{bundle.labels(loaded)} on {runtime_name()}"

    def sources() -> str:
        *_, (channels, frame) = _ticks(config, _CHECK_STEPS, min(config.interval_s, _CHECK_INTERVAL_S))
        silent = [
            channel.name
            for channel, value in zip(channels, frame.values.tolist(), strict=True)
            if channel is not NOBODY and not math.isfinite(value)
        ]
        if loaded:
            # Raises if a bundle was trained for other channels.
            Ensemble(channels, loaded, config.detection, config.alerts, config.interval_s)
        count = sum(channel is not NOBODY for channel in channels)
        return f"{count} channels" + (f", without a reading: {', '.join(silent)}" if silent else "")

    def broker() -> str:
        spoken = one_shot.probe(config.mqtt, config.node)
        host, port = config.mqtt.address
        return f"{host}:{port} speaks {spoken}"

    code = 0
    for name, part in (("models", models), ("sources", sources), ("broker", broker)):
        try:
            say(f"{name:<8} fine: {part()}")
        except EdgewatchError as error:
            say(f"{name:<8} {error}")
            code = code or error.exit_code
    return code


def probe(config: Config, steps: int, say: Callable[[str], object]) -> None:
    """Read the sources for `steps` ticks and report every reading.

    Parameters
    ----------
    say
        Receives each line.

    Raises
    ------
    UserError
        The sources cannot be opened.
    """
    for channels, frame in _ticks(config, steps, config.interval_s):
        say(f"tick {frame.seq}")
        for channel, value in zip(channels, frame.values.tolist(), strict=True):
            if channel is NOBODY:
                continue
            say(f"  {channel.name:<28} {quantity(value, channel.unit)}")


def _ticks(config: Config, steps: int, interval_s: float) -> Iterator[tuple[tuple[Channel, ...], Frame]]:
    """Yield channels and frame of each of `steps` ticks."""
    sampler = open_sampler(config, SystemClock(), interval_s)
    try:
        for frame in itertools.islice(sampler.frames(), steps):
            sampler.changes()
            yield sampler.channels, frame
    finally:
        sampler.close()
