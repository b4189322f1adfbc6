"""The probability of a span against enumeration of all tag sequences."""

import itertools

import pytest
import torch

from munchray.corpora.tags import spans_of, tag_set
from munchray.tagging.confidence import span_probabilities
from munchray.tagging.crf import CRF
from munchray.tagging.packed_batch import PackedBatch

LENGTHS = (3, 1, 4, 2)


@pytest.fixture(params=[("iob2", ["X", "Y"]), ("iobes", ["X"]), ("iob2", ["X"])], ids=str)
def case(request):
    """A CRF with a batch of uneven sentences in double precision, its tags, and every span that could be."""
    scheme, kinds = request.param
    tags, packing = tag_set(kinds, scheme), PackedBatch(LENGTHS)
    torch.manual_seed(len(tags))
    crf = CRF(len(tags)).double()
    emissions = (2 * torch.randn(sum(LENGTHS), len(tags))).double()
    positions = [[(a, b) for a in range(length) for b in range(a + 1, length + 1)] for length in LENGTHS]
    spans = [[(a, b, kind) for a, b in own for kind in kinds] for own in positions]
    return crf, tags, emissions, packing, spans


def paths_with_probability(crf, emissions, length):
    paths = list(itertools.product(range(len(crf.start)), repeat=length))
    scores = [
        crf.start[path[0]]
        + crf.stop[path[-1]]
        + sum(emissions[t, tag] for t, tag in enumerate(path))
        + sum(crf.transitions[a, b] for a, b in itertools.pairwise(path))
        for path in paths
    ]
    return zip(paths, torch.stack(scores).softmax(0).tolist(), strict=True)


def test_probability_equals_enumeration(case):
    crf, tags, emissions, packing, spans = case
    found = span_probabilities(crf, tags, emissions, packing, spans)
    for number, length in enumerate(LENGTHS):
        own = emissions[torch.from_numpy((packing.sentences == number).nonzero()[0])]
        expected = dict.fromkeys(spans[number], 0.0)
        with torch.no_grad():
            for path, probability in paths_with_probability(crf, own, length):
                for span in spans_of([tags[tag] for tag in path]):
                    expected[span] += probability
        assert found[number] == pytest.approx([expected[span] for span in spans[number]])


def test_overlapping_spans_sum_to_at_most_one(case):
    crf, tags, emissions, packing, spans = case
    for own, probabilities in zip(spans, span_probabilities(crf, tags, emissions, packing, spans), strict=True):
        over_first = sum(p for (start, _, _), p in zip(own, probabilities, strict=True) if start == 0)
        assert 0 < over_first <= 1


def test_no_spans_no_probabilities(case):
    crf, tags, emissions, packing, _ = case
    assert span_probabilities(crf, tags, emissions, packing, [[]] * 4) == [[]] * 4
    only_second = [[], [(0, 1, "X")], [], []]
    assert [len(row) for row in span_probabilities(crf, tags, emissions, packing, only_second)] == [0, 1, 0, 0]


def test_extreme_scores_are_finite():
    crf, packing = CRF(3), PackedBatch([2])
    emissions = torch.tensor([[500.0, -500.0, 0.0], [-500.0, 500.0, 0.0]])
    ((sure, never),) = span_probabilities(crf, ["O", "B-X", "I-X"], emissions, packing, [[(1, 2, "X"), (0, 2, "X")]])
    assert (sure, never) == pytest.approx((1, 0))
