"""Every regime as a literal trace of its batches."""

import itertools
from collections import Counter

import pytest

from munchray.training.curriculum import REGIMES, BatchSource, stages

LENGTHS = {"M": [3, 9, 4, 7], "A": [5, 2, 8], "B": [6, 1, 7, 3, 9, 2]}


def source(seed=1, batching="random", batch_size=2, lengths=LENGTHS):
    return BatchSource(lengths, batch_size, batching, seed)


def first_epochs(stage, count=1):
    return list(itertools.islice(stage.epochs(), count))


def trace(regime, auxiliaries, epochs=1, **kwargs):
    """One string per stage: the corpora of each batch, ``*`` where the batch counts toward convergence."""
    return [
        " ".join(
            "".join(corpus for corpus, _ in batch.sentences) + "*" * batch.counts_toward_convergence
            for epoch in first_epochs(stage, epochs)
            for batch in epoch
        )
        for stage in stages(regime, "M", auxiliaries, source(**kwargs))
    ]


def test_single_task_is_main_batches_only():
    assert trace("single_task", ()) == ["MM* MM*"]


def test_single_aux_puts_an_auxiliary_batch_before_every_main_batch():
    assert trace("single_aux", ("A",)) == ["AA MM* A MM*"]


def test_the_auxiliary_stream_continues_across_epochs():
    assert trace("single_aux", ("B",), epochs=2) == ["BB MM* BB MM* BB MM* BB MM*"]
    assert trace("single_aux", ("A",), epochs=2) == ["AA MM* A MM* AA MM* A MM*"]


def test_iteration_passes_the_main_corpus_once_per_auxiliary_in_order():
    assert trace("iteration", ("A", "B")) == ["AA MM* A MM* BB MM* BB MM*"]
    assert trace("iteration", ("B", "A")) == ["BB MM* BB MM* AA MM* A MM*"]


def test_stack_has_one_stage_an_auxiliary_in_order():
    assert trace("stack", ("A", "B")) == ["AA MM* A MM*", "BB MM* BB MM*"]
    assert trace("stack", ("B", "A")) == ["BB MM* BB MM*", "AA MM* A MM*"]


def test_concatenation_mixes_corpora_inside_auxiliary_batches():
    assert trace("concatenation", ("A", "B"), seed=7) == ["BB MM* AB MM*"]


def test_multi_task_shuffles_all_batches_of_all_corpora_each_of_one_corpus():
    (line,) = trace("multi_task", ("A", "B"), seed=3)
    assert Counter(line.split()) == Counter(["BB*", "A*", "MM*", "BB*", "AA*", "MM*", "BB*"])
    assert len({trace("multi_task", ("A", "B"), seed=s)[0] for s in range(20)}) > 10


@pytest.mark.parametrize("batching", ["random", "by_length"])
@pytest.mark.parametrize("regime", sorted(REGIMES))
def test_every_main_sentence_comes_once_a_pass(regime, batching):
    auxiliaries = {"single_task": (), "single_aux": ("A",)}.get(regime, ("A", "B"))
    passes = len(auxiliaries) if regime == "iteration" else 1
    for stage in stages(regime, "M", auxiliaries, source(batching=batching)):
        for epoch in first_epochs(stage, 3):
            seen = Counter(i for batch in epoch for corpus, i in batch.sentences if corpus == "M")
            assert seen == dict.fromkeys(range(4), passes)


@pytest.mark.parametrize("regime", sorted(REGIMES))
def test_a_curriculum_is_a_function_of_its_seed(regime):
    auxiliaries = {"single_task": (), "single_aux": ("A",)}.get(regime, ("A", "B"))

    def batches(seed):
        return [first_epochs(stage, 4) for stage in stages(regime, "M", auxiliaries, source(seed=seed))]

    assert batches(1) == batches(1)
    assert batches(1) != batches(2)


def test_orders_with_a_common_prefix_see_the_same_batches_in_it():
    one = stages("stack", "M", ("A", "B"), source())
    alone = stages("single_aux", "M", ("A",), source())
    assert first_epochs(one[0], 5) == first_epochs(alone[0], 5)
    assert one[0].key == alone[0].key


def test_the_same_auxiliary_after_another_prefix_sees_other_batches():
    after_a = stages("stack", "M", ("A", "B"), source())[1]
    first = stages("stack", "M", ("B",), source())[0]
    assert first_epochs(after_a, 3) != first_epochs(first, 3)


def test_by_length_batches_are_even_and_still_random():
    lengths = {"M": [i % 40 + 1 for i in range(4000)]}
    spread = {}
    for batching in ("random", "by_length"):
        batches = source(batching=batching, batch_size=16, lengths=lengths).one_pass(("M",), 0)
        spread[batching] = max(max(lengths["M"][i] for _, i in b) - min(lengths["M"][i] for _, i in b) for b in batches)
    assert spread == {"random": spread["random"], "by_length": spread["by_length"]}
    assert spread["by_length"] <= 2 < spread["random"]
    grouped = source(batching="by_length", batch_size=16, lengths=lengths)
    assert set(grouped.one_pass(("M",), 0)).isdisjoint(grouped.one_pass(("M",), 1))
