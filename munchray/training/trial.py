"""One trial, from settings to scores; knows neither Ray nor MLflow.

All state of a trial lies in its folder, from which it resumes after any crash:

    settings.json   what was trained        epochs.jsonl   one line an epoch
    checkpoint/     weights and state        model/         the trained tagger
    result.json     written last: the trial is finished
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from munchray.disk import patiently
from munchray.files import digest, read_json, write_json, written_aside
from munchray.settings import TrialSettings
from munchray.tagging import weights
from munchray.tagging.scoring import total
from munchray.tagging.tagger import Tagger
from munchray.training import loop
from munchray.training.curriculum import Batch, BatchSource, Stage, stages
from munchray.training.data import TrialData
from munchray.training.lr_scheduler import LRScheduler
from munchray.training.machine import check_precision
from munchray.training.stage_cache import CachedStage, StageCache
from munchray.training.trial_results import (
    EpochMetrics,
    StageResult,
    TrialResult,
    append_epoch,
    read_result,
    write_epochs,
    write_result,
)


@dataclass(frozen=True)
class TrialCallbacks:
    """What a trial calls while it runs.

    Args:
        epoch_ended: after every epoch of this process, from a checkpoint on.
        update_made: after every parameter update, and while another process trains a stage that this one needs.
        upload: when the folder holds something to resume from: after a checkpoint, and at the end.
        warn: when the disk is full or away, and the trial waits for it.
    """

    epoch_ended: Callable[[EpochMetrics], None] = lambda report: None
    update_made: Callable[[], None] = lambda: None
    upload: Callable[[], None] = lambda: None
    warn: Callable[[str], None] = lambda message: None


@dataclass(frozen=True)
class TrialOptions:
    """How a trial is run; nothing of it changes the result of a machine.

    Args:
        device: ``cpu`` or ``cuda``.
        stage_cache: stages of Stack and single_aux are taken from it if they are there, and left in it.
        checkpoint_minutes: between checkpoints inside a stage, what a crash may cost; every stage ends with one.
    """

    device: str = "cpu"
    stage_cache: StageCache | None = None
    checkpoint_minutes: float = math.inf


def run_trial(
    settings: TrialSettings,
    data: TrialData,
    folder: Path,
    options: TrialOptions = TrialOptions(),
    callbacks: TrialCallbacks = TrialCallbacks(),
) -> TrialResult:
    """Train one setting in a folder, or resume it there; a finished trial is only read.

    Raises:
        InputError: the device cannot do the precision.
        HaltError: the disk has not come back.
        WorkError: the loss diverged.
    """
    if (folder / "result.json").exists():
        return read_result(folder)
    check_precision(settings.precision, options.device)
    described = settings.model_dump(mode="json")
    patiently(lambda: write_json(folder / "settings.json", described), callbacks.warn, callbacks.update_made)
    run = _Run(settings, data, folder, options, callbacks)
    for stage in run.stages_left():
        run.pass_stage(stage)
    return run.finish()


def new_tagger(settings: TrialSettings, data: TrialData) -> Tagger:
    """The tagger of a trial with fresh weights."""
    tagger = Tagger(
        data.train[settings.main].features.width,
        data.tag_sets,
        hidden_size=settings.hidden_size,
        word_dropout=settings.word_dropout,
        locked_dropout=settings.locked_dropout,
        precision=settings.precision,
    )
    tagger.initialise(settings.seed)
    return tagger


def stage_key(settings: TrialSettings, data: TrialData, stage: Stage, device: str) -> str:
    """Names a stage by everything that decides its weights and scores: another key, another result."""
    decided = settings.model_dump(mode="json", exclude={"regime", "auxiliaries"})
    texts = [data.fingerprints[name] for name in (settings.main, *stage.auxiliaries)]
    arithmetic = f"torch {torch.__version__} on {device}, {torch.get_num_threads()} threads"
    return digest(json.dumps(decided, sort_keys=True), stage.key, *texts, arithmetic)


@dataclass
class _Progress:
    """The state of a running trial: finished epochs, and the schedule of the stage it is in.

    Args:
        stage: how many stages are behind.
    """

    stage: int
    schedule: LRScheduler
    reports: list[EpochMetrics]
    stage_results: list[StageResult]

    @property
    def updates(self) -> int:
        return self.reports[-1].updates if self.reports else 0


class _Run:
    """A trial that is being trained; resumes its checkpoint if there is a complete one."""

    def __init__(
        self, settings: TrialSettings, data: TrialData, folder: Path, options: TrialOptions, callbacks: TrialCallbacks
    ) -> None:
        self._settings, self._data, self._folder = settings, data, folder
        self._device, self._cache = options.device, options.stage_cache
        self._call = callbacks
        self._interval = 60 * options.checkpoint_minutes
        self._tagger = new_tagger(settings, data).to(options.device)
        self._progress = self._begin()
        self._saved = time.monotonic()

    def stages_left(self) -> list[Stage]:
        """The stages from the checkpoint on."""
        settings = self._settings
        lengths = {name: split.lengths.tolist() for name, split in self._data.train.items()}
        source = BatchSource(lengths, settings.batch_size, settings.batching, settings.seed)
        return stages(settings.regime, settings.main, settings.auxiliaries, source)[self._progress.stage :]

    def pass_stage(self, stage: Stage) -> None:
        """Train a stage, or take it from the store."""
        progress = self._progress
        with self._turn(stage) as kept:
            if kept is None:
                self._train(stage)
            else:
                self._adopt(kept, stage)
            last = progress.reports[-1]
            progress.stage_results.append(
                StageResult(stage.auxiliaries, last.dev_f1, last.updates, reused=kept is not None)
            )
            progress.stage, progress.schedule = progress.stage + 1, LRScheduler(self._settings)
            self._save()
            if kept is None and self._cache and stage.reusable:
                self._publish(stage, self._cache)

    def finish(self) -> TrialResult:
        """Score the dev splits, write model and result."""
        main, progress = self._settings.main, self._progress
        sentences = {corpus: loop.score(self._tagger, split, corpus) for corpus, split in self._data.dev.items()}
        result = TrialResult(
            dev={corpus: total(counts) for corpus, counts in sentences.items()},
            dev_sentences=sentences.get(main, []),
            stages=progress.stage_results,
            updates=progress.updates,
            seconds=progress.reports[-1].seconds,
            weights_digest=weights.digest_of(self._tagger),
        )
        self._write(lambda: weights.save_tagger(self._folder / "model", self._tagger, self._settings))
        self._write(lambda: write_result(self._folder, result))
        shutil.rmtree(self._folder / "checkpoint")
        self._call.upload()
        return result

    def _train(self, stage: Stage) -> None:
        progress = self._progress
        for batches in islice(stage.epochs(), progress.schedule.epochs, None):
            progress.reports.append(self._one_epoch(stage, batches))
            self._write(lambda: append_epoch(self._folder, progress.reports[-1]))
            self._call.epoch_ended(progress.reports[-1])
            if progress.schedule.finished:
                break
            if time.monotonic() - self._saved > self._interval:
                self._save()

    def _one_epoch(self, stage: Stage, batches: list[Batch]) -> EpochMetrics:
        settings, progress, schedule = self._settings, self._progress, self._progress.schedule
        rate, epoch = schedule.learning_rate, schedule.epochs
        scope = (stage.key, epoch)
        ticking = loop.tick_after_each(batches, self._call.update_made)
        trained = loop.train_epoch(self._tagger, ticking, self._data.train, settings, rate, scope)
        precision, recall, f1 = self._dev_scores()
        schedule.step(trained.loss)
        return EpochMetrics(
            epoch=len(progress.reports) + 1,
            stage=progress.stage + 1,
            stage_name=stage.key,
            stage_epoch=epoch + 1,
            updates=progress.updates + trained.updates,
            learning_rate=rate,
            train_loss=trained.loss,
            dev_precision=precision,
            dev_recall=recall,
            dev_f1=f1,
            tokens_per_second=trained.tokens / trained.seconds,
            clipped_share=trained.clipped / trained.updates,
            seconds=(progress.reports[-1].seconds if progress.reports else 0.0) + trained.seconds,
        )

    def _dev_scores(self) -> tuple[float, float, float]:
        main = self._settings.main
        if main not in self._data.dev:  # it is trained on
            return math.nan, math.nan, math.nan
        dev = total(loop.score(self._tagger, self._data.dev[main], main))
        return dev.precision, dev.recall, dev.f1

    def _turn(self, stage: Stage) -> AbstractContextManager[CachedStage | None]:
        if self._cache is None or not stage.reusable:
            return contextlib.nullcontext()
        return self._cache.get_or_lock(
            stage_key(self._settings, self._data, stage, self._device), self._call.update_made
        )

    def _adopt(self, kept: CachedStage, stage: Stage) -> None:
        """Go on as if the stage had been trained here; what was trained of it before an interruption goes."""
        progress = self._progress
        weights.load(self._tagger, kept.weights, (self._settings.main, *stage.auxiliaries))
        reports = [EpochMetrics(**report) for report in kept.record["epochs"]]
        # Equal prefixes have equal counts of epochs and updates, so the kept curve continues ours.
        progress.reports[:] = [r for r in progress.reports if r.stage <= progress.stage] + reports
        self._write(lambda: write_epochs(self._folder, progress.reports))
        for report in reports:
            self._call.epoch_ended(report)

    def _publish(self, stage: Stage, store: StageCache) -> None:
        settings, progress = self._settings, self._progress
        corpora = (settings.main, *stage.auxiliaries)
        record = {
            "corpora": corpora,
            "settings": settings.model_dump(mode="json", exclude={"regime", "auxiliaries"}),
            "dev_f1": progress.stage_results[-1].dev_f1,
            "epochs": [dataclasses.asdict(r) for r in progress.reports if r.stage == progress.stage],
        }
        key = stage_key(settings, self._data, stage, self._device)
        store.publish(key, record, lambda path: weights.save(self._tagger, path, corpora))

    def _begin(self) -> _Progress:
        """From the checkpoint if there is a whole one, else from the start."""
        checkpoint = self._folder / "checkpoint"
        if not (checkpoint / "progress.json").exists():
            (self._folder / "epochs.jsonl").unlink(missing_ok=True)
            return _Progress(0, LRScheduler(self._settings), [], [])
        weights.load(self._tagger, checkpoint / "weights.safetensors")
        state = read_json(checkpoint / "progress.json")
        schedule = LRScheduler(self._settings)
        schedule.load_state_dict(state["schedule"])
        progress = _Progress(
            state["stage"],
            schedule,
            [EpochMetrics(**report) for report in state["reports"]],
            [StageResult(**{**s, "auxiliaries": tuple(s["auxiliaries"])}) for s in state["stage_results"]],
        )
        # Epochs after the checkpoint are trained again, so their lines go.
        self._write(lambda: write_epochs(self._folder, progress.reports))
        return progress

    def _write(self, write: Callable[[], None]) -> None:
        """Write, and wait while the disk is full or away: what is trained is not given up for that."""
        patiently(write, self._call.warn, self._call.update_made)

    def _save(self) -> None:
        self._write(self._write_checkpoint)
        self._call.upload()
        self._saved = time.monotonic()

    def _write_checkpoint(self) -> None:
        progress = self._progress
        with written_aside(self._folder / "checkpoint") as aside:
            aside.mkdir()
            weights.save(self._tagger, aside / "weights.safetensors")
            state = {
                "stage": progress.stage,
                "schedule": progress.schedule.state_dict(),
                "reports": [dataclasses.asdict(report) for report in progress.reports],
                "stage_results": [dataclasses.asdict(result) for result in progress.stage_results],
            }
            write_json(aside / "progress.json", state)
