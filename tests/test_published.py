"""Consistency of the published scores."""

from statistics import fmean

import pytest

from munchray.corpora.catalogue import TABLE_1
from munchray.reproduction.plan import MODELS, SORTED
from munchray.reproduction.published import published

ROUNDED = 0.0051  # two decimals, and binary floats


@pytest.mark.parametrize("model", [*MODELS, *SORTED])
def test_printed_macro_averages_recompute(model):
    row = published().models[model]
    assert row.macro_over(published().corpora) == pytest.approx(row.macro, abs=ROUNDED)


@pytest.mark.parametrize("system", published().prior_systems)
def test_table_6_follows_from_tables_2_and_5(system):
    row, models = published().prior_systems[system], published().models
    assert fmean(row.f1.values()) == pytest.approx(row.macro, abs=ROUNDED)
    for model, printed in (("iteration", row.iteration), ("stack", row.stack)):
        assert models[model].macro_over(list(row.f1)) == pytest.approx(printed, abs=ROUNDED)


def test_published_tables_are_complete():
    figures = published()
    assert set(figures.corpora) == set(TABLE_1)
    assert set(figures.dev.single_aux) == set(TABLE_1) - {figures.dev.main}
    cells = {(size, rate) for size in (16, 32) for rate in (0.05, 0.1)}
    for row in (*figures.dev.single_aux.values(), *figures.dev.sorted_models.values()):
        assert set(row) == cells
