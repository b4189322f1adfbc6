"""The synthetic benchmark of samplers. Judges: every order looked at, sums over repeats, a run on the command line."""

from __future__ import annotations

import itertools
import json
import statistics

import numpy as np
import pytest

from benchmarks.orders import plot, synthetic
from benchmarks.orders.contenders import CONTENDERS, search
from benchmarks.orders.landscapes import DEPTH, FAMILIES, Landscape

SIX = list(itertools.permutations(range(6)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_best_order_is_worth_what_looking_at_all_says_and_the_unit_is_their_spread(family):
    for seed in range(3):
        landscape = Landscape(family, 6, seed)
        values = [landscape.value(order) for order in SIX]
        assert landscape.best == pytest.approx(max(values))
        assert statistics.pstdev(values) == pytest.approx(1.0, rel=0.05)
        assert Landscape(family, 6, seed).value(SIX[7]) == values[7]


def test_families_are_what_they_are_called():
    late, pairs, near = (Landscape(family, 6, 1) for family in ("recency", "pairwise", "adjacency"))
    values = np.array([late.value(order) for order in SIX])
    spread = [np.ptp([values[[order[place] == item for order in SIX]].mean() for item in range(6)]) for place in (0, 5)]
    assert spread[1] > 1.5 * spread[0]  # who is last decides more than who is first
    base = pairs.value((0, 1, 2, 3, 4, 5))
    assert pairs.value((1, 0, 2, 3, 4, 5)) - base == pytest.approx(  # only the pair turned round, wherever it stands
        pairs.value((2, 3, 4, 5, 1, 0)) - pairs.value((2, 3, 4, 5, 0, 1))
    )
    loops = [near.value(order) for order in ((0, 1, 2, 3, 4, 5), (3, 4, 5, 0, 1, 2), (2, 3, 4, 5, 0, 1))]
    links = [near.value((5, 0)) - near.value((2, 3)), near.value((5, 0)) - near.value((1, 2))]
    assert [loops[1] - loops[0], loops[2] - loops[0]] == pytest.approx(links)


def test_longer_orders_are_worth_more_and_misleading_beginnings_something_else():
    true, lies = Landscape("mixture", 6, 2), Landscape("mixture", 6, 2, misleading=True)
    assert [lies.value(order) for order in SIX[:9]] == [true.value(order) for order in SIX[:9]]
    assert lies.best == true.best
    starts = list(itertools.permutations(range(6), 3))
    found = np.corrcoef([lies.value(order) for order in starts], [true.value(order) for order in starts])[0, 1]
    assert abs(found) < 0.5
    means = [statistics.fmean(true.value(o) for o in itertools.permutations(range(6), n)) for n in (1, 3, 6)]
    assert means == sorted(means)
    assert means[2] - means[0] > DEPTH / 2


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_searches_until_both_budgets_are_spent(name):
    landscape = Landscape("recency", 4, 3)
    steps = search(CONTENDERS[name], landscape, 0.0, 3, trials=6, stages=25)
    assert len(steps) >= 6
    assert steps[-1].stages >= 25
    assert [step.stages for step in steps] == sorted(step.stages for step in steps)
    assert [step.regret for step in steps] == sorted((step.regret for step in steps), reverse=True)  # without noise
    assert steps == search(CONTENDERS[name], landscape, 0.0, 3, trials=6, stages=25)


def test_a_curve_is_the_mean_with_its_interval():
    curve = synthetic.Curve.of([1, 2], [[1.0, 0.5], [3.0, 0.5], [2.0, 0.5]])
    assert curve.means == [2.0, 0.5]
    assert curve.halves == pytest.approx([4.302653 / 3**0.5, 0.0])  # Student's t with two degrees, SD 1
    assert curve.at(2) == 0.5


def test_regret_at_a_budget_is_that_of_the_last_trial_it_sufficed_for():
    steps = [synthetic.Step(4, 3.0), synthetic.Step(7, 2.0), synthetic.Step(9, 1.0)]
    assert [synthetic._regret_after(steps, stages) for stages in (4, 6, 7, 8, 100)] == [3.0, 3.0, 2.0, 2.0, 1.0]


@pytest.mark.slow
def test_the_command_writes_numbers_and_pictures(tmp_path, capsys):
    path = tmp_path / "found.json"
    few = ["--repeats", "2", "--budget", "8", "--jobs", "2", "--families", "recency", "misleading"]
    synthetic.main(
        [*few, "--auxiliaries", "4", "--noise", "0.5", "--samplers", "random", "order_gp", "--json", str(path)]
    )
    found = json.loads(path.read_text())
    assert "order_gp" in capsys.readouterr().out
    assert len(found["rows"]) == len(found["curves"]) == 4
    assert found["command"].startswith("python -m benchmarks.orders.synthetic --repeats 2")
    assert found["curves"][0]["by_trials"]["points"] == list(range(1, 9))
    plot.main([str(path)])
    pictures = sorted(tmp_path.glob("*.png"))
    assert [picture.read_bytes()[:4] for picture in pictures] == [b"\x89PNG"] * 2
