"""The paper's experiments as a plan: selection on dev, tested trainings, equal budgets, cost."""

from pathlib import Path

import pytest
from fake_trainings import JOB

from munchray.errors import InputError
from munchray.finalization.trainings import SimulatedScores
from munchray.orders import OrderRule
from munchray.reproduction.cost import cost_of, sizes_of
from munchray.reproduction.plan import ALL, MODELS, SORTED, TABLES, make_plan
from munchray.reproduction.published import published
from munchray.reproduction.scales import SCALES, scale_file
from munchray.settings import load_job
from munchray.training.curriculum import BatchSource, stages


@pytest.fixture(autouse=True)
def _a_folder_of_embeddings(monkeypatch, tmp_path):
    monkeypatch.setenv("MUNCHRAY_EMBEDDINGS", str(tmp_path))


def plan_of(scale, *tables, seeds=3, mains=()):
    return make_plan(load_job(scale_file(scale)), SCALES[scale], mains, tables, seeds)


class Printed:
    """Dev scores as printed in Table 3; all others are unknown."""

    def dev_score(self, training):
        settings, table = training.settings, published().dev
        cell = (settings.batch_size, settings.learning_rate)
        if settings.main != table.main or settings.trained_on != "train":
            return None
        if settings.regime == "single_aux":
            return table.single_aux[settings.auxiliaries[0]][cell]
        return table.sorted_models.get(f"{settings.regime}_sorted", {}).get(cell)


def test_the_full_scale_tunes_over_the_papers_grid():
    assert set(plan_of("full", 2).cells) == set(published().dev.single_aux["s800"])
    job = load_job(scale_file("full"))
    assert (job.hidden_size, job.anneal, job.patience, job.max_epochs) == (256, "plateau", 4, 200)


def test_the_sorted_iteration_of_table_3_is_chosen_as_printed():
    chosen = plan_of("full", 4).chosen("chemdner", "iteration_sorted", Printed())
    cell, order = published().dev.chosen["iteration_sorted"]
    assert (chosen.cell, chosen.order) == (cell, order)


def test_the_sorted_stack_is_chosen_as_printed_but_its_printed_order_contradicts_table_3():
    chosen = plan_of("full", 4).chosen("chemdner", "stack_sorted", Printed())
    cell, printed = published().dev.chosen["stack_sorted"]
    assert chosen.cell == cell
    column = {name: scores[cell] for name, scores in published().dev.single_aux.items()}
    assert [column[name] for name in chosen.order] == sorted(column.values())
    assert [column[name] for name in printed] != sorted(column.values())
    assert column["bc5cdr-chem"] < column["linnaeus"]
    assert printed.index("bc5cdr-chem") > printed.index("linnaeus")


def test_a_sorted_model_waits_for_its_single_auxiliaries():
    plan = plan_of("reduced", 4)

    class Nothing:
        def dev_score(self, training):
            return None

    trained = {(t.settings.regime, t.settings.trained_on) for t in plan(Nothing())}
    assert trained == {("iteration", "train+dev"), ("stack", "train+dev"), ("single_aux", "train")}
    assert plan.test_trainings("ncbi-disease", "stack_sorted", Nothing()) == []


@pytest.mark.parametrize("scale", SCALES)
def test_train_alone_has_the_jobs_seed_and_tests_have_fresh_ones(scale):
    plan = plan_of(scale, 2, 3, 4)
    for training in plan(SimulatedScores()):
        if training.settings.trained_on == "train":
            assert training.settings.seed == plan.job.seed
        else:
            assert training.settings.seed in plan.test_seeds
    assert plan.job.seed not in plan.test_seeds
    assert len(set(plan.test_seeds)) == 3


def test_random_orders_obey_the_rule_and_differ_between_seeds():
    plan = plan_of("full", 2)
    rule = OrderRule(plan.job.entity_types(), adjacent_differ=True)
    orders = [plan.random_order("bc2gm", seed) for seed in range(200)]
    assert all(rule.allows(order) and len(order) == 7 for order in orders)
    assert len(set(orders)) > 150


def test_table_2_has_every_model_and_multi_task_is_one_for_all_corpora():
    plan = plan_of("full", 2)
    trainings = list(dict.fromkeys(plan(SimulatedScores())))
    tested = [t for t in trainings if t.settings.trained_on == "train+dev"]
    assert len(tested) == 8 * 5 * 3 + 3
    assert {t.settings.regime for t in tested} == set(MODELS)
    assert len([t for t in tested if t.job == ALL]) == 3
    # on dev: 4 cells for each of four models, 4 x 7 single auxiliaries, and 4 of multi_task
    assert len(trainings) - len(tested) == 8 * (4 * 4 + 4 * 7) + 4


def test_the_number_of_trainings_does_not_depend_on_dev():
    plan = plan_of("full", 2, 3, 4)
    assert len(list(plan(SimulatedScores()))) == len(list(plan(SimulatedScores(Printed()))))


def test_the_tables_share_their_trainings():
    alone = [set(plan_of("reduced", table)(SimulatedScores())) for table in TABLES]
    assert set(plan_of("reduced", 2, 3, 4, 6)(SimulatedScores())) == set().union(*alone)
    assert alone[3] <= alone[0]  # Table 6 needs nothing that Table 2 does not have


def test_at_the_reduced_scale_all_models_but_multi_task_make_the_same_number_of_updates():
    plan = plan_of("reduced", 2, 4)
    updates = {}
    for training in plan(SimulatedScores()):
        settings = training.settings
        if settings.trained_on == "train" or settings.main != "ncbi-disease":
            continue
        lengths = {name: [5] * 40 for name in (settings.main, *settings.auxiliaries)}
        source = BatchSource(lengths, settings.batch_size, settings.batching, settings.seed)
        made = stages(settings.regime, settings.main, settings.auxiliaries, source)
        updates[settings.regime] = sum(len(next(stage.epochs())) * settings.max_epochs for stage in made)
    assert len({n for regime, n in updates.items() if regime != "multi_task"}) == 1
    assert set(updates) == set(MODELS)


def test_cost_counts_a_stage_that_two_trainings_share_once():
    plan = plan_of("full", 3)
    trainings = list(dict.fromkeys(plan(SimulatedScores())))
    cost = cost_of(trainings, sizes_of(plan.job))
    assert cost.trainings == 4 * 7 + 4 * 2
    assert cost.stages == 4 * 7 + 4 + 4 * 7
    assert cost.distinct == cost.stages - 4  # a sorted Stack begins with a single_aux that is there
    sentences, tokens = 30_682, 893_685  # of CHEMDNER, Table 1; each main sentence beside one of the auxiliary
    single = next(t for t in trainings if t.settings.auxiliaries == ("s800",))
    assert cost_of([single], sizes_of(plan.job)).tokens == pytest.approx(60 * (tokens + sentences * 147_291 / 5_733))


def test_all_problems_are_raised_at_once(tmp_path):
    (tmp_path / "j.yaml").write_text(JOB)
    job = load_job(tmp_path / "j.yaml")
    with pytest.raises(InputError) as caught:
        make_plan(job, SCALES["full"], ["ncbi-disease"], [2], 0)
    assert "--main: ncbi-disease is not a corpus of the job" in str(caught.value)
    assert "--seeds: 0" in str(caught.value)
    with pytest.raises(InputError, match="none of the scale's main corpora"):
        make_plan(job, SCALES["full"], [], [2], 1)
    ranged = load_job(tmp_path / "j.yaml", ["search_space.learning_rate={low: 0.1, high: 0.2}"])
    with pytest.raises(InputError, match="a range cannot be tuned over"):
        make_plan(ranged, SCALES["full"], ["sample-gene-1"], [2], 1)
    with pytest.raises(InputError, match="one of full, reduced"):
        scale_file("ful")


def test_corpora_without_a_feasible_order_are_refused(tmp_path):
    (tmp_path / "j.yaml").write_text(
        JOB.replace("sample-gene-1, sample-species-1", "sample-gene-1, sample-gene-2, sample-disease-1").replace(
            "main: sample-disease-1", "main: sample-species-1"
        )
    )
    job = load_job(tmp_path / "j.yaml", ["auxiliaries=[sample-gene-1, sample-gene-2]"])
    plan = make_plan(job, SCALES["reduced"], ["sample-species-1"], [2], 1)
    with pytest.raises(InputError, match="no order in which neighbours differ in type"):
        list(plan(SimulatedScores()))


def test_the_scales_files_are_whole_jobs():
    for name, scale in SCALES.items():
        job = load_job(Path(scale_file(name)))
        assert {*scale.mains, scale.dev_main} <= {job.main, *job.auxiliaries}
        assert all(model.removesuffix("_sorted") in MODELS for model in SORTED)
