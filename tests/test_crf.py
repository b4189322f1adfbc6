"""The CRF against enumeration of all paths, and against Flair."""

import itertools

import pytest
import torch

from munchray.tagging.crf import CRF
from munchray.tagging.packed_batch import PackedBatch

LENGTHS = (4, 1, 3, 2)


@pytest.fixture(params=[1, 2, 4])
def case(request):
    """A CRF with a batch of uneven sentences, double precision: emissions and tags of every token, packed."""
    torch.manual_seed(request.param)
    crf, packing = CRF(request.param).double(), PackedBatch(LENGTHS)
    emissions = (3 * torch.randn(sum(LENGTHS), request.param)).double().requires_grad_()
    return crf, emissions, torch.randint(request.param, (sum(LENGTHS),)), packing


def by_sentence(values, packing):
    """Packed values as one tensor a sentence, differentiably."""
    return [values[torch.from_numpy((packing.sentences == b).nonzero()[0])] for b in range(len(packing))]


def all_paths(crf, emissions, length):
    """Every tag sequence of one sentence with its score, straight from Eq. 5."""
    k = len(crf.start)
    for path in itertools.product(range(k), repeat=length):
        score = crf.start[path[0]] + crf.stop[path[-1]]
        score = score + sum(emissions[t, tag] for t, tag in enumerate(path))
        yield path, score + sum(crf.transitions[a, b] for a, b in itertools.pairwise(path))


def enumerated_nlls(crf, emissions, tags, packing):
    for own, gold in zip(by_sentence(emissions, packing), by_sentence(tags, packing), strict=True):
        scores = dict(all_paths(crf, own, len(own)))
        yield torch.stack(list(scores.values())).logsumexp(0) - scores[tuple(gold.tolist())]


def test_loss_equals_enumerating_all_paths(case):
    crf, *batch = case
    torch.testing.assert_close(crf.negative_log_likelihood(*batch), torch.stack(list(enumerated_nlls(crf, *batch))))


def test_gradients_equal_enumeration(case):
    crf, emissions, tags, packing = case
    inputs = [emissions, *crf.parameters()]
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)  # sentences of a batch may weigh unevenly
    ours = torch.autograd.grad(crf.negative_log_likelihood(emissions, tags, packing) @ weights, inputs)
    expected = torch.stack(list(enumerated_nlls(crf, emissions, tags, packing)))
    judge = torch.autograd.grad(expected @ weights, inputs)
    for got, want in zip(ours, judge, strict=True):
        torch.testing.assert_close(got, want)


def test_decoded_path_is_the_best_of_all_paths(case):
    crf, emissions, _, packing = case
    decoded = packing.unpack(crf.decode(emissions, packing))
    for path, own in zip(decoded, by_sentence(emissions, packing), strict=True):
        scores = dict(all_paths(crf, own, len(own)))
        assert tuple(path) == max(scores, key=scores.get)


def test_marginals_equal_enumeration(case):
    crf, emissions, _, packing = case
    marginals = by_sentence(crf.marginals(emissions, packing), packing)
    for own, found in zip(by_sentence(emissions, packing), marginals, strict=True):
        paths = list(all_paths(crf, own, len(own)))
        weights = torch.stack([score for _, score in paths]).softmax(0)
        for t, tag in itertools.product(range(len(own)), range(len(crf.start))):
            through = sum(w for w, (path, _) in zip(weights, paths, strict=True) if path[t] == tag)
            torch.testing.assert_close(found[t, tag], torch.as_tensor(through, dtype=torch.float64))


def test_scores_far_apart_stay_finite():
    crf = CRF(3)
    emissions = torch.tensor([[500.0, -500.0, 0.0], [-500.0, 500.0, 0.0]], requires_grad=True)
    loss = crf.negative_log_likelihood(emissions, torch.tensor([2, 2]), PackedBatch([2]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert all(torch.isfinite(p.grad).all() for p in crf.parameters())


@pytest.mark.slow
def test_loss_and_path_equal_flairs():
    """Flair keeps START and STOP as tags of their own; their emissions and forbidden moves are -10,000 there."""
    import flair
    from flair.data import Dictionary
    from flair.models.sequence_tagger_utils import crf as flair_crf
    from flair.models.sequence_tagger_utils.viterbi import ViterbiDecoder, ViterbiLoss

    flair.device = torch.device("cpu")
    names = ["O", "B-X", "I-X", "E-X", "S-X"]
    dictionary = Dictionary(add_unk=False)
    for name in names:
        dictionary.add_item(name)
    dictionary.set_start_stop_tags()
    torch.manual_seed(0)
    ours = CRF(len(names))
    theirs = flair_crf.CRF(dictionary, len(dictionary), init_from_state_dict=False)
    start, stop = (dictionary.get_idx_for_item(tag) for tag in ("<START>", "<STOP>"))
    k = len(names)
    with torch.no_grad():
        theirs.transitions[:k, :k] = ours.transitions.T
        theirs.transitions[:k, start] = ours.start
        theirs.transitions[stop, :k] = ours.stop

    lengths, packing = torch.tensor([7, 5, 5, 1]), PackedBatch([7, 5, 5, 1])
    emissions, tags = torch.randn(18, k), torch.randint(k, (18,))
    padded = torch.zeros(4, 7, k + 2)
    for row, values in zip(padded, packing.unpack(emissions), strict=True):
        row[: len(values), :k] = torch.from_numpy(values)
    padded[:, :, k:] = -10000.0
    flat_tags = torch.cat([torch.from_numpy(row) for row in packing.unpack(tags)])

    loss = ViterbiLoss(dictionary)((theirs(padded), lengths, theirs.transitions), flat_tags)
    torch.testing.assert_close(ours.negative_log_likelihood(emissions, tags, packing).sum(), loss)

    sentences = [flair.data.Sentence(["w"] * int(n)) for n in lengths]
    decoded, _ = ViterbiDecoder(dictionary).decode((theirs(padded), lengths, theirs.transitions), False, sentences)
    expected = [[names.index(label) for label, _ in sentence] for sentence in decoded]
    assert [path.tolist() for path in packing.unpack(ours.decode(emissions, packing))] == expected
