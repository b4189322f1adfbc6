"""The CRF against enumeration of all paths, and against Flair."""

import itertools

import pytest
import torch

from munchray.tagging.crf import CRF

LENGTHS = (4, 1, 3, 2)


@pytest.fixture(params=[1, 2, 4])
def case(request):
    """A CRF with a batch of uneven sentences, double precision; the padding holds numbers that must not matter."""
    torch.manual_seed(request.param)
    crf = CRF(request.param).double()
    emissions = (3 * torch.randn(len(LENGTHS), max(LENGTHS), request.param)).double().requires_grad_()
    tags = torch.randint(request.param, (len(LENGTHS), max(LENGTHS)))
    return crf, emissions, tags, torch.tensor(LENGTHS)


def all_paths(crf, emissions, length):
    """Every tag sequence of one sentence with its score, straight from Eq. 5."""
    k = len(crf.start)
    for path in itertools.product(range(k), repeat=length):
        score = crf.start[path[0]] + crf.stop[path[-1]]
        score = score + sum(emissions[t, tag] for t, tag in enumerate(path))
        yield path, score + sum(crf.transitions[a, b] for a, b in itertools.pairwise(path))


def enumerated_nll(crf, emissions, tags, length):
    scores = dict(all_paths(crf, emissions, length))
    return torch.stack(list(scores.values())).logsumexp(0) - scores[tuple(tags[:length].tolist())]


def test_loss_equals_enumerating_all_paths(case):
    crf, emissions, tags, lengths = case
    expected = [enumerated_nll(crf, emissions[b], tags[b], n) for b, n in enumerate(LENGTHS)]
    torch.testing.assert_close(crf.negative_log_likelihood(emissions, tags, lengths), torch.stack(expected))


def test_gradients_equal_those_of_the_enumerated_loss(case):
    crf, emissions, tags, lengths = case
    inputs = [emissions, *crf.parameters()]
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)  # sentences of a batch may weigh unevenly
    expected = [enumerated_nll(crf, emissions[b], tags[b], n) for b, n in enumerate(LENGTHS)]
    ours = torch.autograd.grad(crf.negative_log_likelihood(emissions, tags, lengths) @ weights, inputs)
    judge = torch.autograd.grad(torch.stack(expected) @ weights, inputs)
    for got, want in zip(ours, judge, strict=True):
        torch.testing.assert_close(got, want)


def test_decoded_path_is_the_best_of_all_paths(case):
    crf, emissions, _, lengths = case
    for b, path in enumerate(crf.decode(emissions, lengths)):
        scores = dict(all_paths(crf, emissions[b], LENGTHS[b]))
        assert tuple(path) == max(scores, key=scores.get)


def test_marginals_equal_summing_the_paths_through_each_tag(case):
    crf, emissions, _, lengths = case
    marginals = crf.marginals(emissions, lengths)
    for b, n in enumerate(LENGTHS):
        paths = list(all_paths(crf, emissions[b], n))
        weights = torch.stack([score for _, score in paths]).softmax(0)
        for t, tag in itertools.product(range(n), range(len(crf.start))):
            through = sum(w for w, (path, _) in zip(weights, paths, strict=True) if path[t] == tag)
            torch.testing.assert_close(marginals[b, t, tag], torch.as_tensor(through, dtype=torch.float64))
        assert marginals[b, n:].abs().sum() == 0


def test_scores_far_apart_stay_finite():
    crf = CRF(3)
    emissions = torch.tensor([[[500.0, -500.0, 0.0], [-500.0, 500.0, 0.0]]], requires_grad=True)
    loss = crf.negative_log_likelihood(emissions, torch.tensor([[2, 2]]), torch.tensor([2]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert all(torch.isfinite(p.grad).all() for p in crf.parameters())


def test_long_padding_with_large_scores_leaves_no_trace_in_the_gradients():
    torch.manual_seed(0)
    crf, emissions, tags = CRF(5), torch.randn(2, 60, 5), torch.randint(5, (2, 60))
    emissions[0, 7:] = 50.0  # the first sentence has seven tokens; all paths through this padding would overflow
    alone = torch.autograd.grad(
        crf.negative_log_likelihood(emissions[:1, :7], tags[:1, :7], torch.tensor([7])).sum(), crf.parameters()
    )
    padded = crf.negative_log_likelihood(emissions, tags, torch.tensor([7, 60]))
    beside = torch.autograd.grad(padded[0], crf.parameters())
    for got, want in zip(beside, alone, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.slow
def test_loss_and_path_equal_flairs_viterbi_on_the_same_weights():
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

    lengths = torch.tensor([7, 5, 5, 1])
    emissions = torch.randn(4, 7, k)
    tags = torch.randint(k, (4, 7))
    padded = torch.cat([emissions, torch.full((4, 7, 2), -10000.0)], 2)
    flat_tags = torch.cat([row[:n] for row, n in zip(tags, lengths, strict=True)])

    loss = ViterbiLoss(dictionary)((theirs(padded), lengths, theirs.transitions), flat_tags)
    torch.testing.assert_close(ours.negative_log_likelihood(emissions, tags, lengths).sum(), loss)

    sentences = [flair.data.Sentence(["w"] * int(n)) for n in lengths]
    decoded, _ = ViterbiDecoder(dictionary).decode((theirs(padded), lengths, theirs.transitions), False, sentences)
    expected = [[names.index(label) for label, _ in sentence] for sentence in decoded]
    assert ours.decode(emissions, lengths) == expected
