"""Growth of memory: resident memory after many steps of the simulated source, less that after few.

Everything but the network runs: source, sampler, detection, incidents, outbox.
"""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.clock import ManualClock
from agent.delivery.outbox import Outbox
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig
from agent.models import loader
from agent.sampling.sampler import Sampler
from agent.service.process_memory import rss_mib
from agent.sources.registry import source_class

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--after", type=int, default=20_000, help="steps before the first measurement")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the steps, and print memory in MiB along the way."""
    models = loader.load_builtin()
    simulated = source_class("simulated")
    source = simulated(simulated.Config(type="simulated"), 1.0)
    sampler = Sampler([("simulated", source)], 1.0, ManualClock())
    ensemble = Ensemble(sampler.channels, models, DetectionConfig(), AlertsConfig(), 1.0)
    figures: dict[str, Any] = {"channels": len(sampler.channels)}
    with tempfile.TemporaryDirectory(prefix="edgewatch-growth-") as folder:
        outbox = Outbox(Path(folder))
        incidents = Incidents(
            sampler.channels, AlertsConfig(), 1.0, node="growth", model=models.label, instance=outbox.instance
        )
        raised = 0
        for frame in sampler.frames():
            alerts = incidents.step(frame, ensemble.step(frame))
            if alerts:
                raised += len(alerts)
                outbox.append(alerts)
                outbox.acknowledge([seq for seq, _ in outbox.pending(0, 100)])
            steps = frame.seq + 1
            if steps in {options.after, options.steps // 2, options.steps}:
                gc.collect()
                figures[f"rss_mib_after_{steps}"] = round(rss_mib(), 3)
                print(f"{steps:>9,} steps {rss_mib():8.2f} MiB, {raised} alerts", flush=True)
            if steps == options.steps:
                break
        outbox.close()
    sampler.close()
    growth = figures[f"rss_mib_after_{options.steps}"] - figures[f"rss_mib_after_{options.after}"]
    figures |= {"growth_mib": round(growth, 3), "alerts": raised}
    print(f"growth: {growth:.3f} MiB")
    return figures
