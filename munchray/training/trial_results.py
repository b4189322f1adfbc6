"""Results of a trial: metrics per epoch, scores per stage, final scores; and their files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from munchray.disk import appended_whole
from munchray.errors import WorkError
from munchray.files import read_json, write_json, written_aside
from munchray.tagging.scoring import SpanCounts


@dataclass(frozen=True)
class EpochMetrics:
    """Metrics of one epoch. Scores in percent; ``epoch``, ``updates`` and ``seconds`` accumulate over all stages.

    Dev scores are NaN where the trial trains on dev.
    """

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
    """Score on the main dev split at the end of a stage.

    Args:
        auxiliaries: those used up to and including this stage.
        updates: over all stages so far.
        reused: loaded from the stage cache instead of trained.
    """

    auxiliaries: tuple[str, ...]
    dev_f1: float
    updates: int
    reused: bool = False


@dataclass(frozen=True)
class TrialResult:
    """Scores and costs of a finished trial.

    Args:
        dev: counts on the dev split of each scored corpus; empty where the trial trains on dev.
        dev_sentences: counts of each sentence of the main dev split.
        weights_digest: hash of the weights; equal if and only if they are equal bit for bit.
    """

    dev: dict[str, SpanCounts]
    dev_sentences: list[SpanCounts]
    stages: list[StageResult]
    updates: int
    seconds: float
    weights_digest: str

    def dev_f1(self, main: str) -> float:
        """F1 on the dev split of ``main``, in percent."""
        return self.dev[main].f1


def write_result(folder: Path, result: TrialResult) -> None:
    """Write ``result.json``, which marks the trial as finished."""
    values = dataclasses.asdict(result)
    values["dev"] = {corpus: dataclasses.astuple(counts) for corpus, counts in result.dev.items()}
    values["dev_sentences"] = [dataclasses.astuple(counts) for counts in result.dev_sentences]
    write_json(folder / "result.json", values)


def read_result(folder: Path) -> TrialResult:
    """Read the result of a finished trial.

    Raises:
        WorkError: the trial has not finished.
    """
    path = folder / "result.json"
    if not path.exists():
        raise WorkError(f"{folder} holds no finished trial")
    values = read_json(path)
    return TrialResult(
        dev={corpus: SpanCounts(*counts) for corpus, counts in values["dev"].items()},
        dev_sentences=[SpanCounts(*counts) for counts in values["dev_sentences"]],
        stages=[StageResult(**{**s, "auxiliaries": tuple(s["auxiliaries"])}) for s in values["stages"]],
        updates=values["updates"],
        seconds=values["seconds"],
        weights_digest=values["weights_digest"],
    )


def write_error(folder: Path, details: str) -> Path:
    """Write ``error.txt``: the last lines that the process of a failed trial printed."""
    path = folder / "error.txt"
    with written_aside(path) as aside:
        aside.write_text(details, encoding="utf-8")
    return path


def read_error(folder: Path) -> str:
    """What `write_error` wrote; empty if the trial left nothing."""
    path = folder / "error.txt"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def read_epochs(folder: Path) -> list[EpochMetrics]:
    """Read the metrics of all epochs so far; empty before the first epoch."""
    path = folder / "epochs.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [EpochMetrics(**json.loads(line)) for line in lines]


def append_epoch(folder: Path, metrics: EpochMetrics) -> None:
    """Append the metrics of one epoch to ``epochs.jsonl``."""
    path = folder / "epochs.jsonl"
    with appended_whole(path), path.open("a", encoding="utf-8") as stream:
        stream.write(_line(metrics))


def write_epochs(folder: Path, epochs: Sequence[EpochMetrics]) -> None:
    """Rewrite ``epochs.jsonl``."""
    with written_aside(folder / "epochs.jsonl") as aside:
        aside.write_text("".join(map(_line, epochs)), encoding="utf-8")


def _line(metrics: EpochMetrics) -> str:
    return json.dumps(dataclasses.asdict(metrics)) + "\n"
