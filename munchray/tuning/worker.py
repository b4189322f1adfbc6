"""One trial inside a Ray worker. (ray)

It imports only what training needs, since every worker's start and memory pay; and what brings torch only to train,
since the process that leads the search imports this module too and never trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ray import tune

from munchray import disk
from munchray.errors import HaltError, InputError, WorkError
from munchray.settings import TrialSettings
from munchray.storage.path import StoragePath
from munchray.storage.workspace import Workspace, working_in
from munchray.training.data import DataSpec
from munchray.training.stage_cache import open_stage_cache
from munchray.training.watchdog import PULSE, watched


@dataclass(frozen=True)
class Shared:
    """Settings that all trials of a search share.

    Args:
        data: what each job of these trials trains on, by the job's name.
        device: as the job has it.
        threads: of each trial.
        stages, stages_gb: the stage cache, as the job has it.
        hung_minutes: without progress, after which a trial's process ends.
        checkpoint_minutes: between checkpoints inside a stage.
    """

    data: Mapping[str, DataSpec]
    device: str
    threads: float
    stages: StoragePath
    stages_gb: float
    hung_minutes: float
    checkpoint_minutes: float


def train(config: Mapping[str, Any], shared: Shared) -> None:
    """Train the settings of ``config`` in its folder; report every epoch, and the end.

    Only `ray.tune` may be used in here: `ray.train.report` raises in a Tune trial. A process serves one trial after
    another, so nothing may stay behind.
    """
    from munchray.training import memory

    settings = TrialSettings(**config["settings"])
    try:
        with disk.advice(), working_in(StoragePath.at(config["folder"])) as work:
            _train(settings, shared.data[config["job"]], shared, work)
    except HaltError as error:  # so would every other trial
        tune.report({"halted": str(error)})
    except (InputError, WorkError) as error:  # trying again would end the same way
        tune.report({"failed": str(error)})
    else:
        tune.report({"finished": True})
    finally:
        memory.release()


def _train(settings: TrialSettings, data: DataSpec, shared: Shared, work: Workspace) -> None:
    from munchray.training import memory
    from munchray.training.final_evaluation import score_test
    from munchray.training.machine import device_for, use_threads
    from munchray.training.trial import TrialCallbacks, TrialOptions, run_trial

    use_threads(shared.threads)
    device = device_for(shared.device)
    with memory.advice(settings.batch_size, device), watched(shared.hung_minutes, work.folder / PULSE) as tick:
        cache = open_stage_cache(shared.stages, shared.stages_gb, print)  # into the worker's log
        options = TrialOptions(device, cache, shared.checkpoint_minutes)
        callbacks = TrialCallbacks(lambda report: tune.report(asdict(report)), tick, work.upload, print)
        run_trial(settings, data.open(settings), work.folder, options, callbacks)
        if settings.trained_on == "train+dev":  # nothing is left to choose
            score_test(work.folder, settings, data, device)
            work.upload()
