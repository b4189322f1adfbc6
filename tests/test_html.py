"""The HTML report of a real search; its numbers are compared with the trial's own result."""

import html.parser
import json

import pytest
from searching import HandRunSearch
from typer.testing import CliRunner

from munchray.cli.app import app
from munchray.errors import InputError, WorkError
from munchray.report.html import Segment, html_report, segments
from munchray.report.span_errors import span_errors
from munchray.settings import load_job
from munchray.tagging.scoring import SpanCounts, total
from munchray.training.inputs import prepare
from munchray.training.trial import run_trial
from munchray.training.trial_results import read_result
from munchray.tuning.ranking import ranking

JOB = """
main: odd
auxiliaries: [sample-disease-1, sample-gene-1]
regime: stack
search_space: {order: {of: auxiliaries, length: {min: 1}}, learning_rate: [0.2]}
embeddings: [{train: {characters: forward, hidden_size: 8, epochs: 1}}]
corpora: {odd: {folder: odd, entity_type: disease}}
trials: 3
hidden_size: 8
batch_size: 8
max_epochs: 2
max_sentences: {train: 30, dev: 40}
"""
SCRIPT = "<script>alert(1)</script>"
VOID = {"meta", "br", "link", "img"}


def write_corpus(folder):
    """Two types, tokens that are HTML, and a dev split that contradicts itself: no model can be right everywhere."""
    folder.mkdir()
    sentence = f"The O\n{SCRIPT} B-<b>\n& I-<b>\n{{{{7*7}}}} O\nfever B-disease\n\nNo O\nfever B-disease\n\n"
    other = f"The O\n{SCRIPT} O\n& O\n{{{{7*7}}}} O\nfever B-disease\n\n"
    for split in ("train", "dev", "test"):
        (folder / f"{split}.txt").write_text((sentence + other * (split == "dev")) * 15)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search of three trials, trained in this process; its job file and its data."""
    folder = tmp_path_factory.mktemp("page")
    write_corpus(folder / "odd")
    path = folder / "page.yaml"
    path.write_text(JOB.replace("folder: odd", f"folder: {folder / 'odd'}") + f"storage: {folder / 'runs'}\n")
    job = load_job(path)
    data = prepare(job, lambda line: None)
    report = lambda: {"report.html": html_report(job, lambda: data)}  # noqa: E731
    search = HandRunSearch(job, data.fingerprint(), data.contents, summary=report)
    while trial := search.start():
        run_trial(trial.settings, data.open(trial.settings), trial.folder)
        search.finish(trial)
    assert search.close()
    return path, job, data


class Elements(html.parser.HTMLParser):
    """What a browser would see: elements, attributes, text; raises where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.addresses, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.addresses += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_well_formed_static_and_escaped(searched):
    _, job, _ = searched
    page = Elements(html_report(job, lambda: pytest.fail("the result is cached in the trial's folder")))
    assert "script" not in page.seen
    assert all(address.startswith("#") for address in page.addresses)
    assert SCRIPT in page.text
    assert "{{7*7}}" in page.text
    assert page.seen.count("svg") == 4
    assert {"caption", "figcaption", "h2"} <= set(page.seen)


def test_the_page_has_the_ranking_and_the_models_own_scores(searched):
    _, job, data = searched
    ranked = ranking(job)
    text = Elements(html_report(job, lambda: data)).text
    for trial in ranked.trials:
        assert f"{trial.dev_f1:.2f}" in text
        assert " > ".join(trial.order) in text
    folder = ranked.folder / "trials" / f"{ranked.best.number:04d}"
    found = span_errors(folder, job.main, lambda: data)
    assert total(found.exact.values()) == read_result(folder).dev["odd"]
    again = json.loads((folder / "span_errors.json").read_text())
    assert {name: SpanCounts(**counts) for name, counts in again["exact"].items()} == found.exact
    assert span_errors(folder, job.main, lambda: pytest.fail("it is cached")) == found


def test_the_page_is_an_artifact_of_the_searchs_run(searched):
    _, job, _ = searched
    (kept,) = ranking(job).folder.glob("mlartifacts/**/report.html")
    assert SCRIPT in Elements(kept.read_text()).text


def test_without_its_data_the_page_gives_the_reason(searched):
    _, job, _ = searched
    ranked = ranking(job)
    kept = ranked.folder / "trials" / f"{ranked.best.number:04d}" / "span_errors.json"
    content = kept.read_text()
    kept.unlink()

    def gone():
        raise WorkError("corpus odd changed")

    text = Elements(html_report(job, gone)).text
    assert "Not available: corpus odd changed" in text
    assert f"{ranked.best.dev_f1:.2f}" in text
    kept.write_text(content)


def test_the_command_writes_the_page(searched, tmp_path):
    path, _, _ = searched
    target = tmp_path / "new" / "report.html"
    done = CliRunner().invoke(app, ["results", str(path), "--html", str(target)])
    assert done.exit_code == 0, done.output
    assert "report.html" in done.output
    Elements(target.read_text())


def test_a_job_without_a_search_has_no_page(searched):
    path, _, _ = searched
    with pytest.raises(InputError, match="no search of this job"):
        html_report(load_job(path, ["name=other"]), lambda: pytest.fail("no data is needed"))


def test_a_sentence_is_split_at_its_spans():
    cut = segments(["a", "b", "c", "d"], [(0, 1, "X"), (2, 4, "Y")], [(0, 1, "X"), (2, 3, "Y")])
    assert cut == [Segment("a", "X"), Segment("b"), Segment("c d", "Y", wrong=True)]
