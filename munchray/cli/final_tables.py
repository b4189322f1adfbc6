"""Progress and tables of `finalize` and `reproduce`. (rich)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from munchray.cli import terminal
from munchray.orders import order_text
from munchray.progress import console
from munchray.progress.terminal import TerminalProgress, setting_text

if TYPE_CHECKING:  # the command line starts without torch, optuna and ray
    from munchray.finalization.report import Finalist, FinalReport
    from munchray.finalization.statistics import IntervalEstimate
    from munchray.reproduction.cost import Listing
    from munchray.reproduction.tables import Table
    from munchray.settings import TrialSettings


class TrainingsProgress(TerminalProgress):
    """Progress of trainings of several regimes and main corpora."""

    def describe(self, settings: TrialSettings) -> str:
        """The main corpus, the regime, and the rest."""
        return f"{settings.main}: {settings.regime}  {setting_text(settings)}"


def show_report(report: FinalReport) -> None:
    """Print the report of a finalize."""
    columns = ("setting", "lr", "batch", "searched dev", "re-run dev", "gap", "test", "best", "updates", "order")
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
    for line in (*report.verdicts, *report.ahead):
        console.out.print(Text(line))
    if len(report.seeds) == 1:
        console.out.print(Text("One seed shows no spread: --seeds 5 would."))
    console.out.print(Text(f"\nFinal model: {report.winner}, in {report.final_model}"))


def show_table(table: Table) -> None:
    """Print a table of the paper beside our results, with the missing trainings."""
    terminal.table(table.title, table.columns, table.rows, numeric_from=2)
    for line in table.notes:
        console.out.print(Text(line))
    for line in table.missing:
        console.out.print(Text(f"missing: {line}"))


def show_plan(listing: Listing) -> None:
    """Print every training of a plan, and their cost."""
    rows = []
    for number, planned in enumerate(listing.planned, start=1):
        settings = planned.training.settings
        order = order_text(settings.auxiliaries) or "(no auxiliary)"
        rows.append(
            (
                str(number),
                "all" if settings.regime == "multi_task" else settings.main,
                settings.regime,
                settings.trained_on,
                f"{settings.learning_rate:g}" if planned.decided else "?",
                str(settings.batch_size) if planned.decided else "?",
                str(settings.seed),
                f"{planned.tokens / 1e6:.1f}",
                "done" if planned.done else "",
                order if planned.decided else f"as dev decides, {len(settings.auxiliaries)}",
            )
        )
    columns = ("", "main", "regime", "trained on", "lr", "batch", "seed", "million tokens", "", "auxiliaries")
    terminal.table("Trainings", columns, rows, numeric_from=4)
    console.out.print(Text(f"\n{cost_text(listing)}"))


def cost_text(listing: Listing) -> str:
    """The cost of a plan, in lines."""
    return "\n".join(_cost_lines(listing))


def _cost_lines(listing: Listing) -> Iterator[str]:
    whole, left = listing.whole, listing.left
    saved = 1 - whole.distinct_tokens / whole.tokens
    yield f"{whole.trainings} trainings, {left.trainings} of them still to run"
    yield f"{whole.stages} stages, {whole.distinct} with reuse, which saves {saved:.0%} of the work"
    yield f"{left.distinct_tokens / 1e6:,.0f} million tokens still to train on (epochs x sentences as trained on)"
    hours = left.hours(listing.speed)
    cost = f"{hours:,.1f} hours of one training at {listing.speed:,.0f} tokens/s: {listing.speed_source}"
    yield f"{cost}; {hours * listing.gpu:,.1f} GPU hours at {listing.gpu:g} GPU each" if listing.gpu else cost


def estimate(value: IntervalEstimate, form: str) -> str:
    """A value with its interval, such as ``+0.31 (-0.80 to +1.42)``."""
    if value.low is None or value.high is None:
        return f"{value.value:{form}}"
    return f"{value.value:{form}} ({value.low:{form}} to {value.high:{form}})"


def _line(finalist: Finalist) -> tuple[str, ...]:
    return (
        finalist.name,
        f"{finalist.settings.learning_rate:g}",
        str(finalist.settings.batch_size),
        "-" if finalist.searched is None else f"{finalist.searched:.2f}",
        str(finalist.rerun),
        "-" if finalist.gap is None else f"{finalist.gap:+.2f}",
        str(finalist.test),
        f"{finalist.test.best:.2f}",
        f"{finalist.updates:,.0f}",
        " > ".join(finalist.settings.auxiliaries) or "(no auxiliary)",
    )
