"""Data of a trial: the sentences, tags and features that the driver prepared, or an error."""

import numpy as np
import pytest

from munchray.corpora.catalogue import load_split
from munchray.corpora.tags import iob2_to_iobes
from munchray.errors import InputError, WorkError
from munchray.settings import load_job
from munchray.training.inputs import prepare, read_inputs

LINES = "Ann\tO\nhad\tO\n{disease}\tB-X\n{more}\n"
JOB = """
main: mine
auxiliaries: [other]
regime: {regime}
search_space: {{learning_rate: [0.1]}}
embeddings: [{{train: {{characters: forward, hidden_size: 8, epochs: 1}}}}]
corpora:
  mine: {{folder: {here}/mine, entity_type: x}}
  other: {{folder: {here}/other, entity_type: y}}
storage: {here}/runs
"""


@pytest.fixture
def corpora(tmp_path):
    for name, splits in {"mine": ("train", "dev", "test"), "other": ("train",)}.items():
        (tmp_path / name).mkdir()
        for split in splits:
            sentences = [LINES.format(disease=f"{name}{split}{n}", more="fever\tI-X\n" * (n % 2)) for n in range(6)]
            (tmp_path / name / f"{split}.tsv").write_text("".join(sentences))
    return tmp_path


def job_of(corpora, regime="stack", *overrides):
    path = corpora / "job.yaml"
    path.write_text(JOB.format(regime=regime, here=corpora))
    return load_job(path, overrides)


def silent(line):
    pass


def test_a_trial_gets_the_corpora_and_one_row_of_features_per_token(corpora):
    job = job_of(corpora)
    spec = prepare(job, silent)
    data = spec.open(job.first_trial())
    sentences = load_split(spec.sources["mine"], "train")
    split = data.train["mine"]
    assert data.dev["mine"].tags == [s.tags for s in load_split(spec.sources["mine"], "dev")]
    assert split.tags == (), "the training split is not scored, so its tags are not kept"
    assert split.lengths.tolist() == [len(s.tokens) for s in sentences]
    names = data.tag_sets["mine"]
    assert [names[i] for i in split.tag_ids] == [tag for s in sentences for tag in iob2_to_iobes(s.tags)]
    assert split.starts[2] == split.lengths[:2].sum()
    features = split.features.gather(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 3]))
    assert features.shape == (4, 8)
    assert (np.abs(features).sum(1) > 0).all()


def test_an_auxiliary_needs_no_dev_split_unless_it_is_scored(corpora):
    data = prepare(job_of(corpora), silent).open(job_of(corpora).first_trial())
    assert set(data.train) == {"mine", "other"}
    assert set(data.dev) == {"mine"}
    with pytest.raises(Exception, match="no file for the split 'dev'"):
        prepare(job_of(corpora, "multi_task"), silent)
    (corpora / "other" / "dev.tsv").write_text((corpora / "other" / "train.tsv").read_text())
    job = job_of(corpora, "multi_task")
    assert set(prepare(job, silent).open(job.first_trial()).dev) == {"mine", "other"}


@pytest.mark.parametrize("change", ["another tag", "another word", "one sentence less"])
def test_a_corpus_that_changed_after_preparation_is_refused_and_changes_the_fingerprint(corpora, change):
    job = job_of(corpora)
    spec = prepare(job, silent)
    path = corpora / "other" / "train.tsv"
    text = path.read_text()
    changes = {
        "another tag": text.replace("Ann\tO", "Ann\tB-X", 1),
        "another word": text.replace("had", "has", 1),
        "one sentence less": text[text.index("\n\n") + 2 :],
    }
    path.write_text(changes[change])
    with pytest.raises(WorkError, match="corpus other changed since this job was prepared"):
        spec.open(job.first_trial())
    assert prepare(job, silent).fingerprint() != spec.fingerprint()


def test_limits_take_the_first_sentences(corpora):
    job = job_of(corpora, "stack", "max_sentences={train: 2, dev: 3}")
    data = prepare(job, silent).open(job.first_trial())
    assert [len(split.lengths) for split in (*data.train.values(), *data.dev.values())] == [2, 2, 3]


def test_the_same_text_under_other_tags_shares_its_features(corpora):
    text = (corpora / "mine" / "train.tsv").read_text()
    (corpora / "other" / "train.tsv").write_text(text.replace("B-X", "O").replace("I-X", "B-X"))
    prepare(job_of(corpora), silent)
    units = list((corpora / "runs" / "features").glob("*/manifest.json"))
    assert len(units) == 2  # train of both, dev of main


def test_train_and_dev_are_concatenated_for_main_alone(corpora):
    job = job_of(corpora)
    spec = prepare(job, silent)
    apart = spec.open(job.first_trial())
    both = spec.open(job.first_trial().model_copy(update={"trained_on": "train+dev"}))
    assert both.dev == {}
    train, dev, joined = apart.train["mine"], apart.dev["mine"], both.train["mine"]
    assert joined.lengths.tolist() == [*train.lengths, *dev.lengths]
    assert joined.tag_ids.tolist() == [*train.tag_ids, *dev.tag_ids]
    sentences, positions = np.array([7, 0, 11, 5, 6]), np.array([0, 1, 2, 2, 0])  # of the second split, the first, ...
    found = joined.features.gather(sentences, positions)
    for row, sentence, position in zip(found, sentences, positions, strict=True):
        split, index = (train, sentence) if sentence < 6 else (dev, sentence - 6)
        assert (row == split.features.gather(np.array([index]), np.array([position]))[0]).all()
    assert both.train["other"].lengths.tolist() == apart.train["other"].lengths.tolist()
    assert both.fingerprints == apart.fingerprints


def test_the_test_split_is_opened_on_request_and_must_be_unchanged(corpora):
    job = job_of(corpora, "stack", "max_sentences={train: 2, dev: 3}")
    searched, final = prepare(job, silent), prepare(job, silent, read_inputs(job, tests=["mine"]))
    assert searched.tests == {}
    assert set(final.tests) == {"mine"}
    assert final.fingerprint() == searched.fingerprint()  # what is trained does not depend on test
    split = final.open_test("mine")
    assert split.tags == [s.tags for s in load_split(final.sources["mine"], "test")]  # not truncated
    path = corpora / "mine" / "test.tsv"
    path.write_text(path.read_text().replace("Ann\tO", "Ann\tB-X", 1))
    with pytest.raises(WorkError, match="the test split of mine changed"):
        final.open_test("mine")
    path.unlink()
    with pytest.raises(InputError, match="no file for the split 'test'"):
        read_inputs(job, tests=["mine"])
