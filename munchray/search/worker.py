"""One trial inside a Ray worker. It imports only what training needs: every worker's start and memory pay. (ray)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune

from munchray.errors import InputError, WorkError
from munchray.settings import TrialSettings
from munchray.training import memory
from munchray.training.data import DataSpec
from munchray.training.machine import device_for, use_threads
from munchray.training.stages import open_store
from munchray.training.testing import score_test
from munchray.training.trial import run_trial
from munchray.training.watchdog import PULSE, watched


@dataclass(frozen=True)
class Shared:
    """What all trials of a search have in common.

    Args:
        data: what each job of these trials trains on, by the job's name.
        device: as the job has it.
        threads: of each trial.
        stage_folder, stages_gb: the stage store, as the job has it.
        hung_minutes: without progress, after which a trial's process ends.
        checkpoint_minutes: between checkpoints inside a stage.
    """

    data: Mapping[str, DataSpec]
    device: str
    threads: float
    stage_folder: str
    stages_gb: float
    hung_minutes: float
    checkpoint_minutes: float


def train(config: Mapping[str, Any], shared: Shared) -> None:
    """Train the setting of ``config`` in its folder; report every epoch, and at last that it is done.

    Only `ray.tune` may be used in here: `ray.train.report` raises in a Tune trial. A process serves one trial after
    another, so nothing may stay behind.
    """
    settings = TrialSettings(**config["settings"])
    try:
        _train(settings, shared.data[config["job"]], shared, Path(config["folder"]))
    except (InputError, WorkError) as error:  # trying again would end the same way
        tune.report({"failed": str(error)})
    else:
        tune.report({"finished": True})
    finally:
        memory.release()


def _train(settings: TrialSettings, data: DataSpec, shared: Shared, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    use_threads(shared.threads)
    device = device_for(shared.device)
    with memory.advice(settings.batch_size, device), watched(shared.hung_minutes, folder / PULSE) as tick:
        run_trial(
            settings,
            data.open(settings),
            folder,
            device=device,
            stage_store=open_store(shared.stage_folder, shared.stages_gb, print),  # into the worker's log
            checkpoint_minutes=shared.checkpoint_minutes,
            report=lambda report: tune.report(asdict(report)),
            tick=tick,
        )
        if settings.trained_on == "train+dev":  # nothing is left to choose
            score_test(folder, settings, data, device)
