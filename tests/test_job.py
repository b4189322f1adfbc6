"""Job files: defaults, validation rules, overrides, all problems at once."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from munchray.errors import InputError
from munchray.settings import REGIMES, Choices, Job, OrderSpace, Range, SearchSpace, TrialSettings, load_job
from munchray.settings.job import FREE_TO_CHANGE
from munchray.settings.rules import feasible_lengths

JOB = """\
main: ncbi-disease
auxiliaries: [bc5cdr-disease, bc5cdr-chem, bc2gm]
regime: stack
search_space: orders
embeddings: [pubmed-forward, "fasttext:pubmed"]
"""
ORDERS = """\
learning_rate: [0.1, 0.05]
batch_size: [16, 32]
order: {of: auxiliaries, adjacent: different_type}
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with search_spaces/orders.yaml and jobs/; writes jobs/job.yaml and returns its path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "search_spaces").mkdir()

    def write(job=JOB, orders=ORDERS):
        (tmp_path / "search_spaces" / "orders.yaml").write_text(orders)
        (tmp_path / "jobs" / "job.yaml").write_text(job)
        return (tmp_path / "jobs" / "job.yaml").relative_to(tmp_path)

    return write


def complaint(path, *overrides):
    with pytest.raises(InputError) as caught:
        load_job(path, overrides)
    return str(caught.value)


def changed(text, **lines):
    """The job with some keys replaced, added, or (None) left out."""
    kept = [line for line in text.splitlines() if line.split(":")[0] not in lines]
    return "\n".join([*kept, *(f"{key}: {value}" for key, value in lines.items() if value is not None), ""])


def test_defaults_are_the_papers(files):
    """Sections 3 and 4.1 of the paper; docs/method.md."""
    job = load_job(files())
    paper = {
        "learning_rate": 0.1,
        "batch_size": 32,
        "hidden_size": 256,
        "word_dropout": 0.05,
        "locked_dropout": 0.5,
        "tag_scheme": "iobes",
        "loss_reduction": "mean",
        "clip_norm": 5.0,
        "patience": 4,
        "factor": 0.5,
        "min_learning_rate": 1e-4,
        "max_epochs": 200,
        "anneal": "plateau",
        "batching": "random",
    }
    assert {key: getattr(job, key) for key in paper} == paper


def test_a_job_and_its_search_space_are_read_together(files, tmp_path):
    job = load_job(files())
    order = OrderSpace(adjacent_differ=True, min_length=3, max_length=3)
    assert job.search_space == SearchSpace(
        learning_rate=Choices((0.1, 0.05)), batch_size=Choices((16, 32)), order=order
    )
    assert job.name == "job"
    assert job.storage == str(tmp_path / "runs")
    assert job.feature_storage.folder == tmp_path / "runs" / "features"
    assert (job.sampler, job.trials, job.concurrent_trials, job.device) == ("tpe", 20, None, "auto")
    assert (job.resources_per_trial.cpu, job.resources_per_trial.gpu) == (1, 0)
    assert job.entity_types()["bc5cdr-chem"] == "chemical"


def test_a_job_survives_json(files):
    text = changed(
        JOB,
        corpora="{mine: {folder: there, entity_type: gene, tag_column: 2}}",
        auxiliaries="[mine, s800]",
        max_sentences="{train: 100, dev: 10}",
        search_space="{learning_rate: {low: 0.01, high: 0.2, log: true}, order: {length: {min: 1}}}",
    )
    job = load_job(files(text))
    assert Job.model_validate(json.loads(json.dumps(job.model_dump(mode="json")))) == job
    assert job.search_space.learning_rate == Range(0.01, 0.2, log=True)
    assert order_lengths(job) == (1, 2)


@pytest.mark.parametrize("space", ["search_spaces/orders.yaml", "orders", "{learning_rate: 0.1}"])
def test_a_search_space_is_a_name_a_path_or_inline(files, space):
    assert load_job(files(changed(JOB, search_space=space))).search_space.learning_rate.low <= 0.1


SPACE_FOLDERS = ["jobs/search_spaces", "search_spaces", "jobs", "here/search_spaces", "here"]


@pytest.mark.parametrize("first", range(len(SPACE_FOLDERS)))
def test_a_named_search_space_is_looked_up_beside_the_job_then_in_the_current_folder(tmp_path, monkeypatch, first):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/job.yaml").write_text(changed(JOB, search_space="mine"))
    for number, folder in enumerate(SPACE_FOLDERS[first:], start=first):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "mine.yaml").write_text(f"batch_size: {number + 1}")
    monkeypatch.chdir(tmp_path / "here")
    assert load_job(tmp_path / "jobs/job.yaml").search_space.batch_size == Choices((first + 1,))


def test_a_packaged_search_space_is_found_from_anywhere_and_a_job_is_no_search_space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "wide.yaml"
    path.write_text(changed(JOB, search_space="wide"))
    assert load_job(path).search_space.hidden_size == Choices((128, 256, 512))


def test_an_unknown_search_space_is_answered_with_every_folder_and_the_nearest_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(changed(JOB, search_space="mime"))
    (tmp_path / "mine.yaml").write_text(ORDERS)
    said = complaint(tmp_path / "job.yaml")
    assert f"expected a file mime.yaml in search_spaces/, {tmp_path.parent}/search_spaces/, ./ or " in said
    assert said.endswith("/search_spaces/. Did you mean 'mine'?")
    assert "Did you mean 'paper_grid'?" in complaint(tmp_path / "job.yaml", "search_space=papergrid")


# Every line appended to JOB is line 6.
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learnig_rate: 0.1", "unknown key 'learnig_rate'. Did you mean 'learning_rate'?"),
        ("learning_rate: -0.1", "learning_rate is -0.1; expected a positive number"),
        ("learning_rate: 0", "learning_rate is 0; expected a positive number"),
        ("learning_rate: .nan", "learning_rate is NaN; expected a positive number"),
        ("learning_rate: .inf", "learning_rate is Infinity; expected a positive number"),
        ("learning_rate: fast", 'learning_rate is "fast"; expected a positive number'),
        ("learning_rate: '0.1'", 'learning_rate is "0.1"; expected a positive number'),
        ("learning_rate: [0.1]", "learning_rate is [0.1]; expected a positive number"),
        ("batch_size: 0", "batch_size is 0; expected a positive whole number"),
        ("batch_size: 16.0", "batch_size is 16.0; expected a positive whole number"),
        ("batch_size: true", "batch_size is true; expected a positive whole number"),
        ("seed: -1", "seed is -1; expected a whole number from 0 to 4294967295"),
        ("hidden_size: 0", "hidden_size is 0; expected a positive whole number"),
        ("word_dropout: 1", "word_dropout is 1; expected a number from 0 up to, but not including, 1"),
        ("locked_dropout: .nan", "locked_dropout is NaN; expected a number from 0"),
        ("clip_norm: 0", "clip_norm is 0; expected a positive number"),
        ("patience: 0", "patience is 0; expected a positive whole number"),
        ("factor: 1", "factor is 1; expected a number between 0 and 1"),
        ("factor: .nan", "factor is NaN; expected a number between 0 and 1"),
        ("min_learning_rate: 0.2", "min_learning_rate is 0.2, not below learning_rate 0.1"),
        ("max_epochs: 1.5", "max_epochs is 1.5; expected a positive whole number"),
        ("tag_scheme: iob", 'tag_scheme is "iob"; expected one of iobes, iob2. Did you mean \'iob2\'?'),
        ("anneal: [plateau]", 'anneal is ["plateau"]; expected one of plateau, linear'),
        ("sampler: tp", "sampler is \"tp\"; expected one of order_gp, tpe, random, grid, sorted. Did you mean 'tpe'?"),
        ("device: gpu", 'device is "gpu"; expected one of auto, cpu, cuda'),
        ("trials: 0", "trials is 0; expected a positive whole number"),
        ("concurrent_trials: two", 'concurrent_trials is "two"; expected a positive whole number'),
        ("resources_per_trial: {gpu: -1}", "resources_per_trial.gpu is -1; expected a number, 0 or more"),
        ("resources_per_trial: {gpu: 1.5}", "resources_per_trial.gpu is 1.5; expected a fraction of one GPU"),
        ("resources_per_trial: {cpu: 0}", "resources_per_trial.cpu is 0; expected a positive number"),
        ("resources_per_trial: {gpus: 1}", "unknown key 'resources_per_trial.gpus'. Did you mean 'gpu'?"),
        ("resources_per_trial: 2", "resources_per_trial is 2; expected a mapping (key: value)"),
        ("max_sentences: 0", "max_sentences.train is 0; expected a positive whole number"),
        ("max_sentences: {dev: 1.0}", "max_sentences.dev is 1.0; expected a positive whole number"),
        ("max_sentences: {devel: 1}", "unknown key 'max_sentences.devel'. Did you mean 'dev'?"),
        ("storage: 3", "storage is 3; expected text"),
        ("storage: $MUNCHRAY_NO_SUCH/x", "storage uses $MUNCHRAY_NO_SUCH, which is not set"),
        ("name: a/b", "name is \"a/b\"; expected letters, digits"),
        ("corpora: {mine: {entity_type: gene}}", "corpora.mine.folder is missing"),
        ("corpora: {mine: {folder: x, entity_type: gene, schem: auto}}", "mine.schem'. Did you mean 'scheme'?"),
        ("corpora: {mine: {folder: x, entity_type: gene, scheme: bio}}", "mine.scheme is \"bio\"; expected one"),
        ("corpora: {mine: {folder: x, entity_type: gene, tag_column: 1.0}}", "tag_column is 1.0; expected a whole"),
        ("corpora: {bc2gm: {folder: x, entity_type: gene}}", "'bc2gm' names a corpus munchray knows"),
        ("learning_rate: 1e-5", "min_learning_rate is 0.0001, not below learning_rate 1e-05"),
        ("corpora: {my corpus: {folder: x, entity_type: gene}}", "my corpus is \"my corpus\"; expected letters"),
        ("corpora: [mine]", 'corpora is ["mine"]; expected a mapping (key: value)'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_line(files, line, message):
    text = complaint(files(JOB + line + "\n"))
    assert text.startswith("jobs/job.yaml:6: ")
    assert message in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"main": "bc2gm"}, ":1: the main corpus bc2gm is among the auxiliaries; expected other corpora only"),
        ({"auxiliaries": "[bc2gm, s800, bc2gm]"}, ":5: the auxiliary bc2gm is listed twice; expected each"),
        ({"auxiliaries": "[bc5cdr-chm]"}, ":5: unknown corpus 'bc5cdr-chm'; expected a corpus"),
        ({"auxiliaries": "[bc5cdr-chm]"}, "Did you mean 'bc5cdr-chem'?"),
        ({"main": "ncbi"}, ":5: unknown corpus 'ncbi'"),
        ({"main": None}, ":1: main is missing"),
        ({"main": "[ncbi-disease]"}, ':5: main is ["ncbi-disease"]; expected the name of a corpus'),
        ({"auxiliaries": "bc2gm"}, ':5: auxiliaries is "bc2gm"; expected a list'),
        ({"auxiliaries": "[bc2gm, 3]"}, ":5: auxiliaries[1] is 3; expected the name of a corpus"),
        ({"auxiliaries": "[]"}, ":5: the regime stack has no auxiliaries; expected at least one auxiliary"),
        ({"auxiliaries": None}, ":1: the regime stack has no auxiliaries; expected at least one auxiliary"),
        ({"regime": "stak"}, ":5: regime is \"stak\"; expected one of single_task, multi_task"),
        ({"regime": "single_task"}, ": the regime single_task uses no auxiliaries; expected none"),
        ({"regime": None}, ":1: regime is missing"),
        ({"search_space": "{}"}, ":5: search space empty; expected at least one of learning_rate"),
        ({"search_space": "[orders]"}, ":5: search_space is [\"orders\"]; expected the name or path"),
        ({"search_space": "order"}, ":5: no search space 'order'; expected a file order.yaml in jobs/search_spaces/"),
        ({"search_space": "order"}, "Did you mean 'orders'?"),
        ({"search_space": "spaces/none.yaml"}, "spaces/none.yaml: no such file; expected a search space"),
        ({"embeddings": None}, ":1: embeddings is missing"),
        ({"embeddings": "[]"}, ":5: embeddings is empty; expected at least one embedding"),
        ({"embeddings": "glove"}, ':5: embeddings is "glove"; expected a list'),
        ({"embeddings": "[a, 3]"}, ":5: embeddings[1] is 3; expected a name, a path, or a mapping"),
        ({"embeddings": "[a, {train: x}, {train: x}]"}, ':5: the embedding {"train": "x"} is listed twice'),
        ({"sampler": "grid", "search_space": "{learning_rate: {low: 0.1, high: 0.2}}"}, ":6: the sampler grid cannot"),
        ({"search_space": "{learning_rate: [0.1, 0.0001]}"}, ":5: learning_rate may be 0.0001, not above"),
        ({"search_space": "{order: {length: 4}}"}, ":5: order.length is 4, but the job lists 3 auxiliaries"),
        ({"search_space": "{order: {length: {min: 4}}}"}, "but the job lists 3 auxiliaries; expected at most 3"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named_with_its_line(files, lines, message):
    assert message in complaint(files(changed(JOB, **lines)))


def order_lengths(job):
    return feasible_lengths(job.search_space.order, job.auxiliaries, job.order_rule())


@pytest.mark.parametrize("regime", REGIMES)
def test_only_regimes_that_use_an_order_may_search_it(files, regime):
    auxiliaries = "[]" if regime == "single_task" else "[bc2gm, bc5cdr-chem]"
    path = files(changed(JOB, regime=regime, auxiliaries=auxiliaries))
    if regime in ("stack", "iteration"):
        assert order_lengths(load_job(path)) == (2,)
    elif regime == "single_aux":
        assert order_lengths(load_job(path)) == (1,)
    else:
        text = complaint(path)
        assert text.startswith(f"search_spaces/orders.yaml:3: the regime {regime} ")
        assert "so their order does not matter; expected a search space without order" in text


def test_single_aux_searches_which_auxiliary_not_how_many(files):
    text = complaint(files(changed(JOB, regime="single_aux", search_space="{order: {length: 2}}")))
    assert "single_aux got orders of 2 auxiliaries; expected length: 1" in text


def test_an_order_rule_that_no_order_satisfies_is_refused(files):
    text = complaint(files(changed(JOB, auxiliaries="[bc2gm, jnlpba]")))
    assert text.startswith(
        "search_spaces/orders.yaml:3: no order satisfies adjacent: different_type with 2 out of "
        "bc2gm (gene), jnlpba (gene); expected at least one order"
    )


def test_an_own_corpus_takes_part_in_the_order_rule(files):
    own = "{mine: {folder: mine, entity_type: gene}}"
    path = files(changed(JOB, auxiliaries="[bc2gm, mine]", corpora=own))
    assert "bc2gm (gene), mine (gene)" in complaint(path)
    assert load_job(path, ["corpora.mine.entity_type=cell"]).order_rule().allows(("mine", "bc2gm"))


def test_every_mistake_of_both_files_is_reported_at_once_line_by_line(files):
    job = changed(JOB, regime="stak", seeed=1, learning_rate=-0.1, storage="$MUNCHRAY_NO_SUCH", main="bc2gm")
    orders = "learning_rate: [0.1, .nan]\nbatch_size: 16.0\norder: {adjacent: same}\nwordropout: 0\n"
    problems = complaint(files(job, orders), "trials=0", "search_space.hidden_size=none").splitlines()
    assert [problem.split(";")[0].split(". ")[0] for problem in problems] == [
        "--set search_space.hidden_size=none: hidden_size is \"none\"",
        "--set trials=0: trials is 0",
        "jobs/job.yaml:1: the main corpus bc2gm is among the auxiliaries",
        'jobs/job.yaml:4: regime is "stak"',
        "jobs/job.yaml:5: unknown key 'seeed'",
        "jobs/job.yaml:6: learning_rate is -0.1",
        "jobs/job.yaml:7: storage uses $MUNCHRAY_NO_SUCH, which is not set",
        "search_spaces/orders.yaml:1: learning_rate[1] is NaN",
        "search_spaces/orders.yaml:2: batch_size is 16.0",
        'search_spaces/orders.yaml:3: order.adjacent is "same"',
        "search_spaces/orders.yaml:4: unknown key 'wordropout'",
    ]  # fmt: skip


def test_a_broken_search_space_file_does_not_hide_the_jobs_mistakes(files):
    text = complaint(files(changed(JOB, seed=-1), "learning_rate: [0.1\n"))
    assert "jobs/job.yaml:6: seed is -1" in text
    assert "search_spaces/orders.yaml:2: YAML syntax error" in text
    assert len(text.splitlines()) == 2


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["~/x", "$Q", "bc2gm"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=8,
)
SPACE_KEYS = dict.fromkeys(SearchSpace.model_fields, ANYTHING)
ANY_SPACE = st.fixed_dictionaries({}, optional=SPACE_KEYS)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    keys=st.dictionaries(st.sampled_from(sorted(Job.model_fields)), ANYTHING, min_size=1, max_size=3),
    space=st.none() | ANY_SPACE,
)
def test_any_values_are_read_or_refused(files, keys, space):
    written = {
        key: json.dumps(value) for key, value in (keys if space is None else {**keys, "search_space": space}).items()
    }
    try:
        job = load_job(files(changed(JOB, **written)))
    except InputError:
        return
    assert Job.model_validate(json.loads(json.dumps(job.model_dump(mode="json")))) == job


def test_set_changes_single_values(files):
    overrides = ["trials=3", "search_space.learning_rate=[0.1]", "resources_per_trial.gpu=0.5", "max_sentences=9"]
    job = load_job(files(), overrides)
    assert job.trials == 3
    assert job.search_space.learning_rate == Choices((0.1,))
    assert job.search_space.batch_size == Choices((16, 32)), "the rest of the file stays"
    assert job.resources_per_trial.gpu == 0.5
    assert (job.max_sentences.train, job.max_sentences.dev) == (9, None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trails=3", "--set trails=3: unknown key 'trails'. Did you mean 'trials'?"),
        ("trials=three", '--set trials=three: trials is "three"; expected a positive whole number'),
        ("search_space.learnin_rate=1", "unknown key 'learnin_rate'. Did you mean 'learning_rate'?"),
        ("resources_per_trial.gpus=1", "unknown key 'resources_per_trial.gpus'. Did you mean 'gpu'?"),
        ("trials", "--set trials: this sets nothing; expected key=value"),
        ("=3", "--set =3: this sets nothing; expected key=value"),
        ("main.x=3", "--set main.x=3: main holds no keys; expected main=VALUE"),
        ("auxiliaries=[bc2gm", "--set auxiliaries=[bc2gm: YAML syntax error"),
        ("search_space=ordres", "--set search_space=ordres: no search space 'ordres'"),
    ],
)
def test_a_wrong_override_is_named(files, override, message):
    text = complaint(files(), override)
    assert message in text
    assert len(text.splitlines()) == 1


def test_paths_expand_and_become_absolute(files, tmp_path, monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "/some/where")
    text = changed(
        JOB,
        embeddings="[$SOMEWHERE/lm.pt, {train: '~/x'}]",
        storage="s3://bucket/$SOMEWHERE",
        data_dir="data",
        features="~/features",
        corpora="{mine: {folder: ../mine, entity_type: gene}}",
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    job = load_job(files(text))
    assert job.embeddings == ("/some/where/lm.pt", {"train": str(tmp_path / "home/x")})
    assert job.storage == "s3://bucket/some/where"
    assert job.data_dir == str(tmp_path / "data")
    assert job.feature_storage.folder == tmp_path / "home/features"
    assert job.corpora["mine"].folder == str(tmp_path / "../mine")


def test_a_file_name_that_is_no_name_asks_for_one(files, tmp_path):
    files()
    odd = tmp_path / "jobs" / "my job.yaml"
    odd.write_text(JOB)
    assert 'name is "my job"; expected letters, digits' in complaint(odd)
    assert load_job(odd, ["name=mine"]).name == "mine"


def test_a_trial_takes_suggested_values_and_the_jobs_for_the_rest(files):
    job = load_job(files(changed(JOB, learning_rate=0.2, patience=2)))
    trial = job.trial({"batch_size": 16, "order": ("bc2gm", "bc5cdr-chem")})
    assert (trial.learning_rate, trial.batch_size, trial.patience) == (0.2, 16, 2)
    assert trial.auxiliaries == ("bc2gm", "bc5cdr-chem")
    assert trial.main == "ncbi-disease"


@pytest.mark.parametrize("regime", REGIMES)
def test_the_first_trial_uses_the_auxiliaries_as_listed(files, regime):
    listed = {"single_task": (), "single_aux": ("s800",)}.get(regime, ("s800", "bc2gm"))
    auxiliaries = "[]" if regime == "single_task" else "[s800, bc2gm]"
    job = load_job(files(changed(JOB, regime=regime, auxiliaries=auxiliaries, search_space="{learning_rate: 0.05}")))
    assert job.first_trial().auxiliaries == listed
    assert job.first_trial().learning_rate == 0.1


def test_a_trial_keeps_the_rules():
    stack = TrialSettings(main="a", regime="stack", auxiliaries=("b", "c"))
    for wrong in ({"auxiliaries": ("a",)}, {"auxiliaries": ("b", "b")}, {"regime": "single_aux"}, {"x": 1}):
        with pytest.raises(ValidationError):
            TrialSettings(**{**stack.model_dump(), **wrong})
    assert TrialSettings.model_validate(stack.model_dump(mode="json")) == stack


def test_a_signature_changes_with_everything_that_decides_the_result():
    base = TrialSettings(main="a", regime="stack", auxiliaries=("b", "c"))
    variants = [
        base,
        base.model_copy(update={"auxiliaries": ("c", "b")}),
        base.model_copy(update={"learning_rate": 0.05}),
        base.model_copy(update={"seed": 2}),
    ]
    signatures = {variant.signature() for variant in variants} | {base.signature("data")}
    assert len(signatures) == 5
    assert base.signature() == TrialSettings(**base.model_dump()).signature()


def test_identity_ignores_what_a_resumed_search_may_change(files):
    job = load_job(files(), ["sampler=order_gp"])
    free = [
        "trials=99",
        "hung_minutes=5",
        "checkpoint_minutes=1",
        "first_orders=[[bc2gm, bc5cdr-chem, bc5cdr-disease]]",
        "warm_start=[other]",
        "stages_gb=1",
        "concurrent_trials=2",
        "resources_per_trial={gpu: 1}",
        "storage=x",
        "tracking_uri=y",
    ]
    other = load_job(files(), [*free, "sampler=order_gp", "data_dir=z", "features=f", "name=n", "device=cuda"])
    assert {override.split("=")[0] for override in free} | {"data_dir", "features", "name", "device"} == FREE_TO_CHANGE
    assert json.loads(json.dumps(job.identity())) == job.identity() == other.identity()
    assert other.changed_since(json.loads(json.dumps(job.model_dump(mode="json")))) == []


def test_what_changed_since_the_search_is_listed(files):
    old = load_job(files()).identity()
    job = load_job(files(), ["seed=2", "search_space.batch_size=[8]", "max_sentences=5"])
    assert job.changed_since(old) == [
        ("seed", 1, 2),
        ("search_space.batch_size", [16, 32], [8]),
        ("max_sentences.train", None, 5),
    ]
