"""What a person sees of `finalize` and `reproduce`. (rich)"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text

from munchray.console import terminal
from munchray.console.progress import SearchView, setting_text

if TYPE_CHECKING:  # the command line starts without torch, optuna and ray
    from munchray.protocol.report import Finalist, Report
    from munchray.protocol.statistics import Estimate, Spread


class TrainingsView(SearchView):
    """Trainings as they go; test scores are shown when all are there, not before."""

    def expect(self, trials: int) -> None:
        """How many there will be, once that is known."""
        self._progress.update(self._task, total=trials)

    def trial_finished(self, number: int, dev_f1: float) -> None:
        """A training ended; its score is not a number where it trained on dev."""
        settings, _ = self._running.pop(number)
        self._advance()
        score = "on train and dev" if math.isnan(dev_f1) else f"dev F1 {dev_f1:6.2f}"
        self._say(f"trained  {score:<16}  {settings.main}: {settings.regime}  {setting_text(settings)}")


def show_report(report: Report) -> None:
    """What a finalize found."""
    columns = ("setting", "lr", "batch", "searched dev", "re-run dev", "gap", "test", "best", "order")
    title = f"{report.main}: dev after training on train, test after train and dev; {len(report.seeds)} fresh seeds"
    terminal.table(title, columns, [_line(finalist) for finalist in report.finalists])
    rows = [
        (
            f"{pair.a} - {pair.b}",
            estimate(pair.across.difference, "+.2f"),
            "-" if pair.p_holm is None else f"{pair.p_holm:.3f}",
            estimate(pair.a_above_b, ".2f"),
            f"{sum(p < 0.05 for p in pair.within)} of {len(pair.within)}",
        )
        for pair in report.pairs
    ]
    heads = ("pair on test", "difference", "p (Holm)", "P(A > B)", "seeds with p < .05 over sentences")
    terminal.table("Pairs, with 95 % intervals", heads, rows)
    for verdict in report.verdicts:
        terminal.out.print(Text(verdict))
    if len(report.seeds) == 1:
        terminal.out.print(Text("One seed shows no spread: --seeds 5 would."))
    terminal.out.print(Text(f"\nFinal model: {report.winner}, in {report.final_model}"))


def estimate(value: Estimate, form: str) -> str:
    """``+0.31 (-0.80 to +1.42)``."""
    if value.low is None or value.high is None:
        return f"{value.value:{form}}"
    return f"{value.value:{form}} ({value.low:{form}} to {value.high:{form}})"


def spread(value: Spread) -> str:
    """``71.20 ± 0.80``; a single seed has no spread."""
    return f"{value.mean:.2f}" if value.sd is None else f"{value.mean:.2f} ± {value.sd:.2f}"


def _line(finalist: Finalist) -> tuple[str, ...]:
    return (
        finalist.name,
        f"{finalist.settings.learning_rate:g}",
        str(finalist.settings.batch_size),
        "-" if finalist.searched is None else f"{finalist.searched:.2f}",
        spread(finalist.rerun),
        "-" if finalist.gap is None else f"{finalist.gap:+.2f}",
        spread(finalist.test),
        f"{finalist.test.best:.2f}",
        " > ".join(finalist.settings.auxiliaries) or "(no auxiliary)",
    )
