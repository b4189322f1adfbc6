"""Curricula: the six regimes as schedules of training batches. Independent of torch and of scores.

A regime is a list of stages; a stage yields an infinite stream of epochs; an epoch is a list of batches. The trainer
leaves a stage when the main corpus has converged. A batch is a tuple of (corpus, sentence) pairs and a flag, "counts
toward convergence". In every step the auxiliary batch comes first, then the main batch (paper, section 2.2).

Random draws are seeded by (seed, stage, corpus, pass) instead of by a stateful generator: a resumed trial continues
with the batches it would have seen, and two orders with a common prefix see the same batches in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from munchray.seeds import generator

Pair = tuple[str, int]
"""A corpus and the index of one of its training sentences."""

LENGTH_POOL = 50
"""Number of batches whose sentences are sorted together under ``by_length``: large enough for even lengths in a batch,
small enough that its composition stays random."""


class Batch(NamedTuple):
    """Sentences of one update, and whether their loss counts toward convergence.

    Convergence looks at the mean over corpora of the mean loss of the sentences that count: the main corpus alone,
    except in multi_task, where all corpora have the same weight.
    """

    sentences: tuple[Pair, ...]
    counts_toward_convergence: bool


@dataclass(frozen=True)
class BatchSource:
    """The training sentences that a curriculum draws batches from.

    Args:
        lengths: for each corpus the number of tokens of each training sentence.
        batch_size: sentences per batch.
        batching: ``random``, or ``by_length`` for batches of similar length.
        seed: the trial's seed.
    """

    lengths: Mapping[str, Sequence[int]]
    batch_size: int
    batching: str
    seed: int

    def one_pass(self, corpora: Sequence[str], *scope: object) -> list[tuple[Pair, ...]]:
        """Batch every sentence of the corpora once, in random order; the last batch may be smaller."""
        rng = generator(self.seed, "pass", *corpora, *scope)
        pairs = [(corpus, i) for corpus in corpora for i in range(len(self.lengths[corpus]))]
        order = rng.permutation(len(pairs))
        if self.batching == "random":
            return self._cut([pairs[i] for i in order])
        pool = LENGTH_POOL * self.batch_size
        batches = [
            batch
            for start in range(0, len(order), pool)
            for batch in self._cut(sorted((pairs[i] for i in order[start : start + pool]), key=self._length))
        ]
        return [batches[i] for i in rng.permutation(len(batches))]

    def stream(self, corpora: Sequence[str], *scope: object) -> Iterator[tuple[Pair, ...]]:
        """An infinite stream of batches, reshuffled whenever the corpora are exhausted."""
        return itertools.chain.from_iterable(self.one_pass(corpora, *scope, n) for n in itertools.count())

    def _length(self, pair: Pair) -> int:
        return self.lengths[pair[0]][pair[1]]

    def _cut(self, pairs: Sequence[Pair]) -> list[tuple[Pair, ...]]:
        return [tuple(pairs[i : i + self.batch_size]) for i in range(0, len(pairs), self.batch_size)]


@dataclass(frozen=True)
class Stage:
    """One training to convergence.

    Args:
        auxiliaries: the auxiliaries used up to and including this stage; for Stack a prefix of the order.
        key: seeds the stage's random draws; equal for equal prefixes of different orders.
        reusable: its result depends on seed, settings and the prefix ``auxiliaries`` alone.
    """

    auxiliaries: tuple[str, ...]
    key: str
    make_epochs: Callable[[], Iterator[list[Batch]]]
    reusable: bool = False

    def epochs(self) -> Iterator[list[Batch]]:
        """An infinite stream of epochs, from the first."""
        return self.make_epochs()


def stages(regime: str, main: str, auxiliaries: Sequence[str], source: BatchSource) -> list[Stage]:
    """The stages of a regime (paper, sections 2 and 3).

    Args:
        regime: one of `REGIMES`.
        main: the main corpus.
        auxiliaries: the auxiliaries, in order where the regime depends on it.
        source: the sentences to draw from.
    """
    return REGIMES[regime](main, tuple(auxiliaries), source)


def single_task(main: str, _: tuple[str, ...], source: BatchSource) -> list[Stage]:
    """Batches of the main corpus only."""

    def epochs() -> Iterator[list[Batch]]:
        for epoch in itertools.count():
            yield main_epoch(main, source, "single_task", epoch)

    return [Stage((), "single_task", epochs)]


def multi_task(main: str, auxiliaries: tuple[str, ...], source: BatchSource) -> list[Stage]:
    """All batches of all corpora, shuffled, each of one corpus; every corpus has the same weight (Eq. 9)."""
    corpora = (main, *auxiliaries)

    def epochs() -> Iterator[list[Batch]]:
        for epoch in itertools.count():
            batches = [
                Batch(pairs, True) for corpus in corpora for pairs in source.one_pass((corpus,), "multi_task", epoch)
            ]
            shuffled = generator(source.seed, "multi_task", *corpora, epoch).permutation(len(batches))
            yield [batches[i] for i in shuffled]

    return [Stage(auxiliaries, "multi_task", epochs)]


def single_aux(main: str, auxiliaries: tuple[str, ...], source: BatchSource) -> list[Stage]:
    """Algorithm 1: Stack with one auxiliary."""
    (auxiliary,) = auxiliaries
    return stack(main, (auxiliary,), source)


def concatenation(main: str, auxiliaries: tuple[str, ...], source: BatchSource) -> list[Stage]:
    """Algorithm 2: single_aux with the auxiliaries joined, so that a batch mixes corpora."""
    return [auxiliary_stage(main, auxiliaries, auxiliaries, "concatenation", source)]


def iteration(main: str, auxiliaries: tuple[str, ...], source: BatchSource) -> list[Stage]:
    """Algorithm 3: an epoch is one pass of the main corpus *per auxiliary*, in order."""

    def epochs() -> Iterator[list[Batch]]:
        streams = {name: source.stream((name,), "iteration") for name in auxiliaries}
        for epoch in itertools.count():
            yield [
                batch
                for name in auxiliaries
                for batch in alternate(streams[name], main_epoch(main, source, "iteration", epoch, name))
            ]

    return [Stage(auxiliaries, "iteration", epochs)]


def stack(main: str, auxiliaries: tuple[str, ...], source: BatchSource) -> list[Stage]:
    """Algorithm 4: a full convergence per auxiliary, in order."""
    prefixes = [auxiliaries[: n + 1] for n in range(len(auxiliaries))]
    trained = [auxiliary_stage(main, prefix, prefix[-1:], " > ".join(prefix), source) for prefix in prefixes]
    return [replace(stage, reusable=True) for stage in trained]


REGIMES: Mapping[str, Callable[[str, tuple[str, ...], BatchSource], list[Stage]]] = {
    regime.__name__: regime for regime in (single_task, multi_task, single_aux, concatenation, iteration, stack)
}


def auxiliary_stage(main: str, used: tuple[str, ...], current: tuple[str, ...], key: str, source: BatchSource) -> Stage:
    """A stage that alternates auxiliary batches from ``current`` with one pass over the main corpus per epoch."""

    def epochs() -> Iterator[list[Batch]]:
        stream = source.stream(current, key)
        for epoch in itertools.count():
            yield list(alternate(stream, main_epoch(main, source, key, epoch)))

    return Stage(used, key, epochs)


def main_epoch(main: str, source: BatchSource, *scope: object) -> list[Batch]:
    """Batches that cover every main sentence once."""
    return [Batch(pairs, True) for pairs in source.one_pass((main,), *scope)]


def alternate(auxiliary: Iterator[tuple[Pair, ...]], main: Iterable[Batch]) -> Iterator[Batch]:
    """Insert an auxiliary batch before every main batch."""
    for batch in main:
        yield Batch(next(auxiliary), False)
        yield batch
