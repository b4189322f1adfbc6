"""The benchmarks of samplers over orders. Judges: enumeration, textbook formulas, runs of the commands."""

from __future__ import annotations

import itertools
import json
import statistics

import numpy as np
import pytest
from made_trials import made_trial

from benchmarks import bench
from benchmarks.orders import plot, questions, regret, replay, suggestion, synthetic, table, versus
from benchmarks.orders.contenders import CONTENDERS, Step, search
from benchmarks.orders.landscapes import DEPTH, FAMILIES, Landscape, NoisyLandscape

SIX = list(itertools.permutations(range(6)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_optimum_and_unit_match_enumeration(family):
    for seed in range(3):
        landscape = Landscape(family, 6, seed)
        values = [landscape.value(order) for order in SIX]
        assert landscape.best == pytest.approx(max(values))
        assert statistics.pstdev(values) == pytest.approx(1.0, rel=0.05)
        assert Landscape(family, 6, seed).value(SIX[7]) == values[7]


def test_families_have_the_effects_they_are_named_after():
    late, pairs, near = (Landscape(family, 6, 1) for family in ("recency", "pairwise", "adjacency"))
    values = np.array([late.value(order) for order in SIX])
    spread = [np.ptp([values[[order[index] == item for order in SIX]].mean() for item in range(6)]) for index in (0, 5)]
    assert spread[1] > 1.5 * spread[0]  # the last item matters more than the first
    swaps = [((0, 1, 2, 3, 4, 5), (1, 0, 2, 3, 4, 5)), ((2, 3, 4, 5, 0, 1), (2, 3, 4, 5, 1, 0))]
    first, last = (pairs.value(swapped) - pairs.value(order) for order, swapped in swaps)
    assert first == pytest.approx(last)  # wherever the swapped pair stands
    loops = [near.value(order) for order in ((0, 1, 2, 3, 4, 5), (3, 4, 5, 0, 1, 2), (2, 3, 4, 5, 0, 1))]
    links = [near.value((5, 0)) - near.value((2, 3)), near.value((5, 0)) - near.value((1, 2))]
    assert [loops[1] - loops[0], loops[2] - loops[0]] == pytest.approx(links)


def test_value_grows_with_length_and_misleading_prefixes_are_unrelated():
    true, misleading = Landscape("mixture", 6, 2), Landscape("mixture", 6, 2, misleading=True)
    assert [misleading.value(order) for order in SIX[:9]] == [true.value(order) for order in SIX[:9]]
    assert misleading.best == true.best
    prefixes = list(itertools.permutations(range(6), 3))
    values = [[landscape.value(order) for order in prefixes] for landscape in (misleading, true)]
    found = np.corrcoef(values)[0, 1]
    assert abs(found) < 0.5
    means = [statistics.fmean(true.value(o) for o in itertools.permutations(range(6), n)) for n in (1, 3, 6)]
    assert means == sorted(means)
    assert means[2] - means[0] > DEPTH / 2


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_spends_both_budgets(name):
    landscape = Landscape("recency", 4, 3)
    steps = search(CONTENDERS[name], NoisyLandscape(landscape, 0.0, 3), 3, trials=6, stages=25)
    assert len(steps) >= 6
    assert steps[-1].stages >= 25
    assert [step.stages for step in steps] == sorted(step.stages for step in steps)
    assert [step.regret for step in steps] == sorted((step.regret for step in steps), reverse=True)  # without noise
    assert steps == search(CONTENDERS[name], NoisyLandscape(landscape, 0.0, 3), 3, trials=6, stages=25)


def test_a_curve_has_means_and_t_intervals():
    curve = regret.Curve.of([1, 2], [[1.0, 0.5], [3.0, 0.5], [2.0, 0.5]])
    assert curve.means == [2.0, 0.5]
    assert curve.halves == pytest.approx([4.302653 / 3**0.5, 0.0])  # Student's t with two degrees, SD 1
    assert curve.at(2) == 0.5


def test_regret_is_that_of_the_last_trial_within_the_budget():
    steps = [Step(4, 3.0), Step(7, 2.0), Step(9, 1.0)]
    assert [regret.regret_after(steps, stages) for stages in (4, 6, 7, 8, 100)] == [3.0, 3.0, 2.0, 2.0, 1.0]


@pytest.mark.faults
def test_the_command_writes_numbers_and_plots(tmp_path, capsys):
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
    images = sorted(tmp_path.glob("*.png"))
    assert [image.read_bytes()[:4] for image in images] == [b"\x89PNG"] * 2


def test_suggestions_are_timed(tmp_path):
    path, cases = tmp_path / "found.json", ["7, adjacent types differ", "1 to 7", "10"]
    suggestion.main(["--trials", "5", "--rounds", "2", "--cases", *cases, "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert [row["orders"] for row in rows] == [1968, 13699, 3628800]  # the paper's rule; all of 1 to 7; of 10
    assert all(len(row["s"]["values"]) == 2 and min(row["s"]["values"]) > 0 for row in rows)


# The real table


AUXILIARIES = ("a", "b", "c", "d")


@pytest.fixture
def table_file(tmp_path):
    """A table as collected: two points for 'd' last, a shift per seed, and some noise."""

    def score(order, seed):
        noise = np.random.default_rng([seed, *map(ord, order)]).normal(scale=0.1)
        return 60 + 2.0 * len(order) + 2.0 * (order[-1] == "d") + seed + noise

    orders = [order for length in range(1, 5) for order in itertools.permutations(AUXILIARIES, length)]
    scores = {str(seed): {" > ".join(order): score(order, seed) for order in orders} for seed in (1, 2, 3)}
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"auxiliaries": AUXILIARIES, "scores": scores}))
    return path


def test_a_table_is_judged_by_its_seed_or_by_the_others(table_file):
    scores = json.loads(table_file.read_text())["scores"]
    seen, others = table.tables("seen", table_file)[0], table.tables("others", table_file)[0]
    assert seen.score((1, 3)) == others.score((1, 3)) == seen.value((1, 3)) == scores["1"]["b > d"]
    assert others.value((1, 3)) == pytest.approx((scores["2"]["b > d"] + scores["3"]["b > d"]) / 2)
    assert seen.best == max(scores["1"].values())
    assert replay.stages_of_all(4) == len(scores["1"]) == 64


def test_exhaustive_replays_end_without_regret(table_file, tmp_path):
    path = tmp_path / "replay.json"
    few = ["--repeats", "2", "--samplers", "random", "sorted"]
    replay.main([*few, "--table", str(table_file), "--json", str(path)])
    written = json.loads(path.read_text())
    ends = {(row["judge"], row["sampler"]): row["by_trials"]["means"][-1] for row in written["curves"]}
    assert ends["seen", "random"] == 0
    assert ends["others", "random"] > 0  # the luckiest order is not the best one
    assert len(written["rows"]) == 4


def test_the_questions_find_the_planted_effects(table_file, tmp_path):
    path = tmp_path / "questions.json"
    questions.main(["--table", str(table_file), "--json", str(path)])
    found = {row["question"]: row for row in json.loads(path.read_text())["rows"]}
    last, first = (found[f"share of variance by the auxiliary at position {position}"] for position in (4, 1))
    assert last["value"] > 0.9
    assert last["p"] < 1e-6
    assert first["value"] < 0.3
    assert found["SD of the rest, seeds' means removed"]["value"] == pytest.approx(0.1, rel=0.3)
    assert found["SD between seeds, of their means"]["value"] == pytest.approx(1.0, rel=0.1)
    assert found["F of the orders"]["p"] < 1e-6
    assert found["mean dev F1 after 4 auxiliaries"]["value"] == pytest.approx(60 + 8 + 0.5 + 2, abs=0.2)


def test_the_f_test_matches_the_textbook(table_file):
    report = bench.Results("x", "x", table_file, [])
    scores = np.array([[1.0, 2.0], [2.0, 4.0], [6.0, 6.0]])
    questions.order_anova(report, scores)
    row = report.as_json()["rows"][-1]
    assert row["value"] == pytest.approx(21.0)  # by hand: squares of 21 by order and 1 left, 2 degrees of freedom each
    assert row["p"] == pytest.approx(1 / 22)  # with (2, 2) degrees the tail is 1 / (1 + F)


# Real searches


def test_a_real_search_becomes_a_curve_by_trained_stages():
    orders = [("a", "b"), ("a", "c"), ("b", "c")]
    scores = [61.0, 60.0, 64.0]
    trials = [
        made_trial(number, order, score, stages=(50.0, score), reused=order == ("a", "c"))
        for number, (order, score) in enumerate(zip(orders, scores, strict=True))
    ]
    curve = list(versus.steps(trials[::-1]))
    assert curve == [versus.Step(1, 2, 61.0), versus.Step(2, 3, 61.0), versus.Step(3, 5, 64.0)]
    assert [versus.best_by(curve, stages) for stages in (2, 4, 5)] == [61.0, 61.0, 64.0]
    assert np.isnan(versus.best_by(curve, 1))


@pytest.mark.faults
def test_a_real_search_reports_stages_and_seconds(tmp_path):
    job, path = tmp_path / "job.yaml", tmp_path / "found.json"
    job.write_text("""
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1]
regime: stack
search_space: {order: {of: auxiliaries}}
embeddings: [{train: {characters: forward, hidden_size: 8, epochs: 1}}]
learning_rate: 0.2
max_sentences: {train: 20, dev: 20}
hidden_size: 8
max_epochs: 1
trials: 2
""")
    versus.main(["--work", str(tmp_path / "work"), "--samplers", "grid", "--job", str(job), "--json", str(path)])
    (row,) = json.loads(path.read_text())["rows"]
    assert (row["sampler"], row["trials"], row["stages_trained"], row["stages_reused"]) == ("grid", 2, 4, 0)
    assert row["after 4 stages"] == row["at its end"]
    assert row["wall, s"] > 0
