"""The paper's tables beside ours: hand-computed numbers, missing results, the command."""

import json

import pytest
from fake_trainings import finish, finish_all
from scipy import stats
from typer.testing import CliRunner

from munchray.cli.app import app
from munchray.files import write_json
from munchray.finalization.trainings import DATA, ResultStore
from munchray.reproduction.paper_results import MACRO, MICRO, PaperResults
from munchray.reproduction.plan import make_plan
from munchray.reproduction.published import published
from munchray.reproduction.scales import SCALES, scale_file
from munchray.reproduction.tables import make_table
from munchray.settings import load_job

CORPORA = published().corpora


@pytest.fixture(autouse=True)
def _a_folder_of_embeddings(monkeypatch, tmp_path):
    monkeypatch.setenv("MUNCHRAY_EMBEDDINGS", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def results_of(tmp_path, *tables, scale="reduced", seeds=3, mains=CORPORA):
    job = load_job(scale_file(scale), [f"storage={tmp_path / 'runs'}"])
    plan = make_plan(job, SCALES[scale], mains, tables, seeds)
    fingerprints = dict.fromkeys(plan.jobs(), "data")
    store = ResultStore(tmp_path / "runs" / scale / "reproduce", fingerprints)
    return plan, store, PaperResults(plan, store), fingerprints


def as_published(settings):
    """The published scores to one decimal, plus noise of the seed."""
    model = published().models[settings.regime]
    return round(model.f1[settings.main], 1) + settings.seed % 5 / 10


def row(table, **wanted):
    (found,) = [r for r in table.as_json()["rows"] if wanted.items() <= r.items()]
    return found


def test_table_2_shows_spread_differences_and_gains(tmp_path):
    plan, store, results, _ = results_of(tmp_path, 2)
    finish_all(plan, store, test=as_published)
    table = make_table(2, results)
    assert table.missing == []
    assert len(table.rows) == (8 + 2) * 6

    ours = {m: [results.test(m, "bc2gm")[seed] for seed in plan.test_seeds] for m in ("stack", "single_task")}
    line = row(table, corpus="bc2gm", model="stack")
    mean = sum(ours["stack"]) / 3
    assert line["ours"] == f"{mean:.2f} ± {stats.tstd(ours['stack']):.2f}"
    assert (line["paper"], line["ours - paper"]) == ("83.80", f"{mean - 83.80:+.2f}")
    gain = sum(a - b for a, b in zip(ours["stack"], ours["single_task"], strict=True)) / 3
    assert line["gain over single_task"].startswith(f"{gain:+.2f}")
    assert line["paper's gain"] == "+0.17"


def test_averages_are_macro_over_f1s_and_micro_over_counts(tmp_path):
    plan, store, results, _ = results_of(tmp_path, 2, seeds=1)
    finish_all(plan, store, test=as_published)
    (seed,) = plan.test_seeds
    scores = [results.test("iteration", main)[seed] for main in CORPORA]
    assert results.averages("iteration")[MACRO][seed] == pytest.approx(sum(scores) / 8)
    assert results.averages("iteration")[MICRO][seed] == pytest.approx(sum(scores) / 8)  # equal numbers of spans here
    table = make_table(2, results)
    assert row(table, corpus=MACRO, model="iteration")["paper"] == "86.09"
    assert row(table, corpus=MICRO, model="iteration")["paper"] == "88.52"
    assert any("One seed has no spread" in note for note in table.notes)
    assert "±" not in row(table, corpus=MACRO, model="iteration")["ours"]


def test_some_corpora_are_compared_with_the_papers_average_over_the_same(tmp_path):
    plan, store, results, _ = results_of(tmp_path, 2, mains=("ncbi-disease", "s800"))
    finish_all(plan, store, test=as_published)
    table = make_table(2, results)
    assert row(table, corpus=MACRO, model="stack")["paper"] == f"{(87.69 + 76.65) / 2:.2f}"
    assert row(table, corpus=MICRO, model="stack")["paper"] == "-"


def test_a_partial_table_lists_what_is_missing(tmp_path):
    plan, store, results, _ = results_of(tmp_path, 2, 4, mains=("s800", "bc2gm"))
    assert all(cell == "-" for cell in (r["ours"] for r in make_table(2, results).as_json()["rows"]))
    for training in plan.test_trainings("s800", "iteration", store)[:2]:
        finish(store, training, test_f1=60.0)
    table = make_table(2, results)
    assert row(table, corpus="s800", model="iteration")["ours"] == "60.00 ± 0.00"
    assert row(table, corpus=MACRO, model="iteration")["ours"] == "-"
    assert "iteration on s800: 2 of 3 seeds" in table.missing
    assert "iteration on bc2gm: 0 of 3 seeds" in table.missing
    assert "stack_sorted on s800: 0 of 3 seeds" in make_table(4, results).missing


def test_table_3_is_the_papers_at_the_full_scale_and_shows_the_orders_it_implies(tmp_path):
    plan, store, results, _ = results_of(tmp_path, 3, scale="full")
    printed = published().dev

    def dev(settings):
        cell = (settings.batch_size, settings.learning_rate)
        if settings.regime == "single_aux":
            return round(10 * printed.single_aux[settings.auxiliaries[0]][cell], 2) - 850  # to a tenth of a percent
        return 50.0

    finish_all(plan, store, dev=dev)
    table = make_table(3, results)
    line = row(table, chemdner="single_aux linnaeus")
    assert line["batch 16 lr 0.05 paper"] == "90.15"
    assert row(table, chemdner="stack_sorted")["batch 16 lr 0.05"] == "50.00"
    implied = " > ".join(printed.chosen["iteration_sorted"][1])
    assert f"sorted order at batch 32 lr 0.1: {implied}" in table.notes
    assert table.missing == []


def test_table_4_compares_random_and_sorted_orders_by_seed(tmp_path):
    plan, store, results, _ = results_of(tmp_path, 4, mains=("s800",))

    def test(settings):
        return 61.0 if settings.auxiliaries == plan.sorted_order("s800", plan.cells[0], store) else 60.0

    finish_all(plan, store, dev=lambda s: 40 + len(s.auxiliaries[0]) / 10, test=test)
    line = row(make_table(4, results), corpus="s800", regime="stack")
    assert (line["random order"], line["sorted"]) == ("60.00 ± 0.00", "61.00 ± 0.00")
    assert line["sorted - random"].startswith("+1.00")
    assert (line["paper random"], line["paper sorted"], line["paper's difference"]) == ("76.65", "76.46", "-0.19")


def test_table_6_averages_ours_over_each_systems_tasks(tmp_path):
    mains = ("ncbi-disease", "jnlpba", "chemdner")
    plan, store, results, _ = results_of(tmp_path, 6, mains=mains, seeds=2)
    finish_all(plan, store, test=lambda s: {"ncbi-disease": 80.0, "jnlpba": 70.0}.get(s.main, 60.0))
    table = make_table(6, results)
    line = row(table, system="SciBERT (Beltagy et al., 2019)")
    assert (line["tasks"], line["theirs"], line["our Iteration"]) == ("2", "82.93", "75.00 ± 0.00")
    assert line["Stack - theirs"] == f"{75 - 82.93:+.2f}"
    assert row(table, system="HanPaNE (Watanabe et al., 2019)")["our Stack"] == "60.00 ± 0.00"
    assert row(table, system="SciFive (Phan et al., 2021)")["our Stack"] == "-"
    assert any(
        note.startswith("SciFive: no average of ours; not a main corpus here: bc5cdr-disease") for note in table.notes
    )


# The command


def munchray(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_dry_run_lists_every_training_of_the_full_scale_with_its_cost(tmp_path):
    said = munchray("reproduce", 2, "--dry-run").stdout
    lines = said.splitlines()
    assert lines[0].startswith("\tmain\tregime\ttrained on")
    assert len([line for line in lines if "\ttrain" in line]) - 1 == 8 * (4 * 4 + 4 * 7) + 4 + 8 * 5 * 3 + 3
    assert "479 trainings, 479 of them still to run" in said
    assert "with reuse, which saves" in said
    assert "GPU hours at 0.25 GPU each" in said
    assert "not measured" in said
    assert "36 trainings" in munchray("reproduce", 3, "--dry-run").stdout
    assert "100 tokens/s: as given" in munchray("reproduce", 3, "--dry-run", "--speed", 100).stdout
    assert not (tmp_path / "runs").exists()


def test_a_finished_table_is_printed_again_without_training(tmp_path):
    plan, store, _, fingerprints = results_of(tmp_path, 4, mains=("s800",))
    finish_all(plan, store)
    words = ("reproduce", 4, "--scale", "reduced", "--main", "s800", "--set", f"storage={tmp_path / 'runs'}")
    assert "Nothing has been trained" in munchray(*words, "--show").stderr
    write_json(store.folder / DATA, fingerprints)
    shown = json.loads(munchray(*words, "--show", "--json").stdout)
    assert shown["missing"] == []
    assert shown["rows"][0]["random order"] == "50.00 ± 0.00"
    planned = munchray(*words, "--dry-run").stdout
    assert "0 of them still to run" in planned
    assert planned.count("\tdone\t") == 7 + 4 * 3
    assert "as measured here" in planned


def test_invalid_arguments_are_refused(tmp_path):
    assert "expected 1, 2, 3, 4 or 6" in munchray("reproduce", 5, code=2).stderr
    assert "expected one of full, reduced" in munchray("reproduce", 2, "--scale", "half", code=2).stderr
    assert "is not a corpus of the job" in munchray("reproduce", 2, "--main", "conll", "--dry-run", code=2).stderr
    assert "--seeds: 0" in munchray("reproduce", 2, "--seeds", 0, "--dry-run", code=2).stderr


@pytest.mark.data
def test_table_1_is_counted(real_data, monkeypatch):
    monkeypatch.setenv("MUNCHRAY_DATA", str(real_data))
    said = munchray("reproduce", 1).stdout
    assert said.count("equal") == 21  # CHEMDNER differs by a few words
    assert "ncbi-disease/train\t5,424\t135,701\t5,134\tequal" in said
