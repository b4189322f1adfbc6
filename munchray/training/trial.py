"""One trial, from settings to scores; knows neither Ray nor MLflow.

Everything a trial leaves lies in its folder, so that whatever dies, it goes on from there:

    settings.json   what was trained        epochs.jsonl   one line an epoch
    checkpoint/     weights and place        model/         the trained tagger
    result.json     written last: the trial is finished
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from munchray.errors import InputError, Problem, WorkError
from munchray.files import read_json, write_json, written_aside
from munchray.settings import TrialSettings
from munchray.tagging import weights
from munchray.tagging.scoring import Counts, total
from munchray.tagging.tagger import Tagger
from munchray.training import loop
from munchray.training.curriculum import Batch, Material, Stage, stages
from munchray.training.data import TrialData
from munchray.training.schedule import Schedule

CHECKPOINT_SECONDS = 180.0
"""Between checkpoints inside a stage: what a crash may cost."""


@dataclass(frozen=True)
class EpochReport:
    """One line of a trial's curve. Scores in percent; ``epoch``, ``updates`` and ``seconds`` count over all stages."""

    epoch: int
    stage: int
    stage_name: str
    stage_epoch: int
    updates: int
    learning_rate: float
    train_loss: float
    dev_precision: float
    dev_recall: float
    dev_f1: float
    tokens_per_second: float
    clipped_share: float
    seconds: float


@dataclass(frozen=True)
class StageResult:
    """Score of the main dev split when a stage had converged."""

    auxiliaries: tuple[str, ...]
    dev_f1: float
    updates: int


@dataclass(frozen=True)
class TrialResult:
    """What a finished trial is worth.

    Args:
        dev: counts on the dev split, of each corpus that the regime scores.
        dev_sentences: counts of each sentence of the main dev split.
        weights_digest: equal for equal weights, bit for bit.
    """

    dev: dict[str, Counts]
    dev_sentences: list[Counts]
    stages: list[StageResult]
    updates: int
    seconds: float
    weights_digest: str

    def dev_f1(self, main: str) -> float:
        """Percent."""
        return self.dev[main].f1


@dataclass
class _Progress:
    """The place of a running trial: finished epochs, and the schedule of the stage it is in."""

    stage: int
    schedule: Schedule
    reports: list[EpochReport]
    stage_results: list[StageResult]

    @property
    def updates(self) -> int:
        return self.reports[-1].updates if self.reports else 0


def run_trial(
    settings: TrialSettings,
    data: TrialData,
    folder: Path,
    *,
    device: str = "cpu",
    report: Callable[[EpochReport], None] = lambda _: None,
    tick: Callable[[], None] = lambda: None,
) -> TrialResult:
    """Train one setting, or go on where a checkpoint in ``folder`` left it; a finished trial is only read.

    On a CPU the result is a function of settings and data, bit for bit, however often it was interrupted.

    Args:
        report: called after every epoch of this process, from a checkpoint on.
        tick: called after every update.

    Raises:
        WorkError: the loss diverged.
    """
    if (folder / "result.json").exists():
        return read_result(folder)
    write_json(folder / "settings.json", settings.model_dump(mode="json"))
    tagger = new_tagger(settings, data).to(device)
    progress = _begin(settings, tagger, folder)
    saved = time.monotonic()
    for stage_number, stage in _stages_left(settings, data, progress):
        for batches in islice(stage.epochs(), progress.schedule.epochs, None):
            _one_epoch(settings, data, tagger, stage_number, stage, batches, progress, tick)
            _append_line(folder / "epochs.jsonl", progress.reports[-1])
            report(progress.reports[-1])
            if progress.schedule.finished:
                break
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                _save(folder, tagger, progress)
                saved = time.monotonic()
        last = progress.reports[-1]
        progress.stage_results.append(StageResult(stage.auxiliaries, last.dev_f1, last.updates))
        progress.stage, progress.schedule = stage_number + 1, Schedule.begin(settings)
        _save(folder, tagger, progress)
    return _finish(settings, data, tagger, folder, progress)


def device_for(wanted: str) -> str:
    """``auto`` is a GPU where there is one.

    Raises:
        InputError: ``cuda`` was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError(Problem("device", "cuda, but torch sees no GPU here", "a GPU", "Set device: auto or cpu"))
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def use_threads(cpus: float) -> None:
    """As many threads as a trial has cores: trials side by side beat threads, and sums depend on their number."""
    torch.set_num_threads(max(1, int(cpus)))


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


def read_result(folder: Path) -> TrialResult:
    """The result of a finished trial.

    Raises:
        WorkError: the trial has not finished.
    """
    path = folder / "result.json"
    if not path.exists():
        raise WorkError(f"{folder} holds no finished trial")
    values = read_json(path)
    return TrialResult(
        dev={corpus: Counts(*counts) for corpus, counts in values["dev"].items()},
        dev_sentences=[Counts(*counts) for counts in values["dev_sentences"]],
        stages=[StageResult(tuple(s["auxiliaries"]), s["dev_f1"], s["updates"]) for s in values["stages"]],
        updates=values["updates"],
        seconds=values["seconds"],
        weights_digest=values["weights_digest"],
    )


def read_epochs(folder: Path) -> list[EpochReport]:
    """The curve of a trial so far; empty before its first epoch."""
    path = folder / "epochs.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [EpochReport(**json.loads(line)) for line in lines]


def _stages_left(settings: TrialSettings, data: TrialData, progress: _Progress) -> Iterator[tuple[int, Stage]]:
    lengths = {name: split.lengths.tolist() for name, split in data.train.items()}
    material = Material(lengths, settings.batch_size, settings.batching, settings.seed)
    whole = stages(settings.regime, settings.main, settings.auxiliaries, material)
    return islice(enumerate(whole), progress.stage, None)


def _one_epoch(
    settings: TrialSettings,
    data: TrialData,
    tagger: Tagger,
    number: int,
    stage: Stage,
    batches: list[Batch],
    progress: _Progress,
    tick: Callable[[], None],
) -> None:
    schedule = progress.schedule
    rate, epoch = schedule.learning_rate, schedule.epochs
    trained = loop.train_epoch(tagger, batches, data.train, settings, rate, (stage.key, epoch), tick)
    dev = total(loop.score(tagger, data.dev[settings.main], settings.main))
    schedule.step(trained.loss)
    progress.reports.append(
        EpochReport(
            epoch=len(progress.reports) + 1,
            stage=number + 1,
            stage_name=stage.key,
            stage_epoch=epoch + 1,
            updates=progress.updates + trained.updates,
            learning_rate=rate,
            train_loss=trained.loss,
            dev_precision=dev.precision,
            dev_recall=dev.recall,
            dev_f1=dev.f1,
            tokens_per_second=trained.tokens / trained.seconds,
            clipped_share=trained.clipped / trained.updates,
            seconds=(progress.reports[-1].seconds if progress.reports else 0.0) + trained.seconds,
        )
    )


def _begin(settings: TrialSettings, tagger: Tagger, folder: Path) -> _Progress:
    """From the checkpoint if there is a whole one, else from the start."""
    checkpoint = folder / "checkpoint"
    if not (checkpoint / "place.json").exists():
        (folder / "epochs.jsonl").unlink(missing_ok=True)
        return _Progress(0, Schedule.begin(settings), [], [])
    weights.load(tagger, checkpoint / "weights.safetensors")
    place = read_json(checkpoint / "place.json")
    progress = _Progress(
        place["stage"],
        Schedule.resume(settings, place["schedule"]),
        [EpochReport(**report) for report in place["reports"]],
        [StageResult(tuple(s["auxiliaries"]), s["dev_f1"], s["updates"]) for s in place["stage_results"]],
    )
    # Epochs after the checkpoint are trained again, so their lines go.
    with written_aside(folder / "epochs.jsonl") as aside:
        aside.write_text("".join(_line(report) for report in progress.reports), encoding="utf-8")
    return progress


def _save(folder: Path, tagger: Tagger, progress: _Progress) -> None:
    with written_aside(folder / "checkpoint") as aside:
        aside.mkdir()
        weights.save(tagger, aside / "weights.safetensors")
        place = {
            "stage": progress.stage,
            "schedule": progress.schedule.state(),
            "reports": [dataclasses.asdict(report) for report in progress.reports],
            "stage_results": [dataclasses.asdict(result) for result in progress.stage_results],
        }
        write_json(aside / "place.json", place)


def _finish(settings: TrialSettings, data: TrialData, tagger: Tagger, folder: Path, progress: _Progress) -> TrialResult:
    sentences = {corpus: loop.score(tagger, split, corpus) for corpus, split in data.dev.items()}
    result = TrialResult(
        dev={corpus: total(counts) for corpus, counts in sentences.items()},
        dev_sentences=sentences[settings.main],
        stages=progress.stage_results,
        updates=progress.updates,
        seconds=progress.reports[-1].seconds,
        weights_digest=weights.digest_of(tagger),
    )
    weights.save_model(folder / "model", tagger, settings)
    write_json(folder / "result.json", _as_json(result))
    shutil.rmtree(folder / "checkpoint")
    return result


def _as_json(result: TrialResult) -> dict[str, Any]:
    values = dataclasses.asdict(result)
    values["dev"] = {corpus: dataclasses.astuple(counts) for corpus, counts in result.dev.items()}
    values["dev_sentences"] = [dataclasses.astuple(counts) for counts in result.dev_sentences]
    return values


def _append_line(path: Path, report: EpochReport) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(_line(report))


def _line(report: EpochReport) -> str:
    return json.dumps(dataclasses.asdict(report)) + "\n"
