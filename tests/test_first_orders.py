"""Known good orders: validated at load, and each is tried first and once, wherever a process is killed."""

from __future__ import annotations

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from toys import study_job

from munchray.errors import InputError
from munchray.orders import OrderRule
from munchray.samplers.registry import SAMPLERS
from munchray.samplers.search_space import setting_key
from munchray.settings import load_job
from munchray.settings.dimensions import Choices, OrderSpace
from munchray.settings.space import SearchSpace
from munchray.tuning.study import Study

JOB = """\
main: ncbi-disease
auxiliaries: [bc5cdr-disease, bc5cdr-chem, bc2gm, linnaeus, s800]
regime: stack
search_space:
  learning_rate: [0.1, 0.05]
  locked_dropout: {low: 0.1, high: 0.5, step: 0.2}
  order: {of: auxiliaries, adjacent: different_type, length: {min: 2, max: 3}}
embeddings: [pubmed-forward]
"""
TYPES = {"a": "disease", "b": "gene", "c": "gene", "d": "species"}


@pytest.fixture
def loaded(tmp_path):
    def load(first, job=JOB, overrides=()):
        (tmp_path / "job.yaml").write_text(f"{job}first_orders:\n" + "".join(f"  - {each}\n" for each in first))
        return load_job(tmp_path / "job.yaml", overrides)

    return load


def test_an_entry_is_an_order_or_an_order_with_values(loaded):
    job = loaded(["[bc2gm, s800]", "{order: [bc2gm, linnaeus], learning_rate: 0.05, locked_dropout: 0.3}"])
    assert job.first_orders == (
        {"order": ("bc2gm", "s800")},
        {"order": ("bc2gm", "linnaeus"), "learning_rate": 0.05, "locked_dropout": 0.3},
    )
    assert job.model_validate(job.model_dump(mode="json")) == job


VARIED = "expected a value of the search space"
NO_ENTRY = "expected a list of auxiliaries, or {order: [...], learning_rate: ...}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("[bc2gm, linneaus]", "names 'linneaus'; expected auxiliaries of this job. Did you mean 'linnaeus'?"),
        ("[bc2gm, bc5cdr-chem, bc2gm]", "lists bc2gm twice; expected each auxiliary once"),
        ("[bc2gm]", "has 1 auxiliaries; expected 2 to 3, as the search space says"),
        ("[bc2gm, linnaeus, s800]", "has linnaeus > s800 side by side, both of type species"),
        ("{order: [bc2gm, s800], learning_rate: 0.2}", f".learning_rate is 0.2; {VARIED}, [0.1, 0.05]"),
        ("{order: [bc2gm, s800], locked_dropout: 0.2}", f'.locked_dropout is 0.2; {VARIED}, {{"low": 0.1'),
        ("{order: [bc2gm, s800], batch_size: 16}", "gives batch_size, which the search space does not vary"),
        ("{learning_rate: 0.1}", f'is {{"learning_rate": 0.1}}; {NO_ENTRY}'),
        ("bc2gm", f'is "bc2gm"; {NO_ENTRY}'),
        ("[]", f"is []; {NO_ENTRY}"),
    ],
)
def test_a_mistake_is_named_with_its_line(loaded, entry, message):
    with pytest.raises(InputError) as caught:
        loaded([entry])
    (problem,) = caught.value.problems
    assert str(problem).split("first_orders[0]", 1)[1].strip().startswith(message)
    assert problem.where.endswith("job.yaml:10")


@pytest.mark.parametrize("again", ["[bc2gm, s800]", "{order: [bc2gm, s800], learning_rate: 0.1}"])
def test_entries_that_may_become_the_same_trial_are_refused(loaded, again):
    with pytest.raises(
        InputError, match=r"first_orders\[1\] may be the same trial as first_orders\[0\]; expected each once"
    ):
        loaded(["[bc2gm, s800]", again])
    both = [f"{{order: [bc2gm, s800], learning_rate: {rate}}}" for rate in (0.1, 0.05)]
    assert len(loaded(both).first_orders) == 2


def test_without_orders_to_search_there_is_nothing_to_try_first(loaded):
    with pytest.raises(InputError, match="first_orders, but the search space has no order"):
        loaded(["[bc2gm, s800]"], JOB.replace("  order:", "  # order:"))
    with pytest.raises(InputError, match='first_orders is "bc2gm"; expected a list of orders'):
        loaded(["[bc2gm, s800]"], overrides=["first_orders=bc2gm"])


def test_they_may_be_added_to_a_search_that_runs(loaded):
    before = loaded(["[bc2gm, s800]"])
    assert loaded(["[bc2gm, s800]", "[s800, bc2gm]"]).changed_since(before.model_dump(mode="json")) == []


def opened(folder, sampler, length=4):
    space = SearchSpace(learning_rate=Choices((0.1, 0.05)), order=OrderSpace(False, 1 if length < 4 else 4, 4))
    return Study.open(study_job(folder, space, OrderRule(TYPES), tuple(TYPES), sampler), folder)


FIRST = ({"order": ("d", "a", "c", "b")}, {"order": ("a", "b", "c", "d"), "learning_rate": 0.05})


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_tries_them_first_and_once(sampler, tmp_path):
    study = opened(tmp_path, sampler, length=1 if sampler == "sorted" else 4)
    study.try_first(FIRST)
    suggestions = []
    for _ in range(10):
        suggestions.append(study.suggest())
        study.complete(suggestions[-1].number, 50.0 + len(suggestions), {"stages": [[1, 40.0]]})
    assert suggestions[0].values["order"] == FIRST[0]["order"]
    assert suggestions[1].values == FIRST[1]
    assert len({setting_key(each.values) for each in suggestions}) == 10


def test_settings_already_tried_are_not_tried_again(tmp_path):
    study = opened(tmp_path, "grid")
    had = study.suggest().values
    study.try_first([{"order": had["order"]}, had, *FIRST])
    study.try_first(FIRST)
    assert [study.suggest().values["order"] for _ in range(2)] == [first["order"] for first in FIRST]
    study.try_first(FIRST)  # as when a search is resumed
    later = [study.suggest().values for _ in range(5)]
    assert FIRST[1] not in later


def trials_in(journal):
    """Optuna's own view of a study."""
    return optuna.load_study(study_name="job", storage=JournalStorage(JournalFileBackend(str(journal)))).trials


def test_wherever_a_process_is_killed_each_is_tried_once(tmp_path):
    whole = opened(tmp_path / "whole", "random")
    whole.try_first(FIRST)
    for _ in range(3):
        whole.complete(whole.suggest().number, 50.0)
    lines = (tmp_path / "whole" / "study.journal").read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines)):
        folder = tmp_path / str(kept)
        folder.mkdir()
        (folder / "study.journal").write_bytes(b"".join(lines[:kept]))
        study = opened(folder, "random")
        study.try_first(FIRST)
        running = study.running()
        for suggestion in (*running, *(study.suggest() for _ in range(3))):
            study.complete(suggestion.number, 50.0)
        tried = [trial.values for trial in study.finished()]
        assert tried.count(FIRST[1]) == 1
        assert FIRST[0]["order"] in [values["order"] for values in tried]
        enqueued = [trial for trial in trials_in(folder / "study.journal") if "fixed_params" in trial.system_attrs]
        assert len([trial for trial in enqueued if trial.state.name != "FAIL"]) == 2
