"""A search space as Optuna parameters, both ways; every setting listed, counted or drawn at random.

A *setting* is one value for everything the search space varies, the order included. Optuna sees an order as one
float in [0, 1] per auxiliary (``key.<auxiliary>``, read by `OrderRule.decode`), which its TPE searches better than
Lehmer digits (design section 9), and an integer ``length`` when the number of auxiliaries varies.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from munchray.errors import InputError, Problem
from munchray.orders import Order, OrderRule
from munchray.settings.dimensions import Choices, Range
from munchray.settings.rules import feasible_lengths
from munchray.settings.space import SearchSpace

KEY = "key."  # prefix of an auxiliary's parameter
LENGTH = "length"
MOST_ORDERS_LISTED = 100_000  # eight auxiliaries have 40,320 orders; nine would take seconds and memory to list

Identity = tuple[tuple[str, Any], ...]


class Encoding:
    """A search space, its order rule and its auxiliaries as Optuna parameters.

    Args:
        auxiliaries: what orders are made of; ignored when the space has no ``order``.

    Raises:
        InputError: the rule allows no order.
    """

    def __init__(self, space: SearchSpace, rule: OrderRule, auxiliaries: Sequence[str]) -> None:
        self.axes: dict[str, Choices | Range] = space.dimensions()
        self.names = tuple(auxiliaries) if space.order else ()
        self.rule = rule
        self.lengths = feasible_lengths(space.order, self.names, rule) if space.order else (0,)
        if not self.lengths:
            raise InputError(Problem("order", f"no order of {', '.join(self.names)} satisfies {space.order}"))
        self._decode_order = lru_cache(maxsize=100_000)(self._decode_keys)  # a history is decoded at every draw
        self._orders_of = lru_cache(maxsize=None)(self._list_orders)

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna suggests: the parameters by name, a key per auxiliary, the length when it varies."""
        axes = {name: _distribution(axis) for name, axis in self.axes.items()}
        keys = {KEY + name: FloatDistribution(0.0, 1.0) for name in self.names}
        shortest, longest = self.lengths[0], self.lengths[-1]
        length = {LENGTH: IntDistribution(shortest, longest)} if shortest < longest else {}
        return {**axes, **keys, **length}

    @cached_property
    def size(self) -> int | None:
        """How many settings there are; None when a continuous range makes them countless."""
        points = [axis.points() for axis in self.axes.values()]
        if any(values is None for values in points):
            return None
        return math.prod(len(values) for values in points if values) * self.orders

    @property
    def orders(self) -> int:
        """How many orders there are (one, the empty one, when the space has none)."""
        return sum(self.rule.count(self.names, length) for length in self.lengths)

    def decode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna's parameters -> the setting: values by name and, when orders vary, ``order`` as a tuple."""
        setting = {name: _snapped(axis, params[name]) for name, axis in self.axes.items()}
        if self.names:
            keys = tuple(params[KEY + name] for name in self.names)
            setting["order"] = self._decode_order(keys, params.get(LENGTH, self.lengths[0]))
        return setting

    def encode(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """A setting, or a part of one, -> the parameters that decode to it, those of its order evenly spaced."""
        params = {name: setting[name] for name in self.axes if name in setting}
        if "order" in setting:
            keys = self.rule.encode(setting["order"], self.names)
            params.update({KEY + name: key for name, key in keys.items()})
            params.update({LENGTH: len(setting["order"])} if len(self.lengths) > 1 else {})
        return params

    def settings(self) -> Iterator[dict[str, Any]]:
        """Every setting of a space of finite `size`."""
        for values in self.listed_values():
            if self.names:
                yield from ({**values, "order": order} for order in self.listed_orders())
            else:
                yield values

    def listed_values(self) -> Iterator[dict[str, Any]]:
        """All that a setting is but its order, for every setting of finite axes."""
        columns = [[_snapped(axis, value) for value in axis.points() or ()] for axis in self.axes.values()]
        return (dict(zip(self.axes, values, strict=True)) for values in product(*columns))

    def listed_orders(self) -> Iterator[Order]:
        """Every order, short ones first."""
        return (order for length in self.lengths for order in self._orders_of(length))

    def coordinates(self, setting: Mapping[str, Any]) -> list[float]:
        """Each axis from 0 to 1: a range in its scale, choices by their rank."""
        return [_coordinate(axis, setting[name]) for name, axis in self.axes.items()]

    def at(self, coordinates: Sequence[float]) -> dict[str, Any]:
        """The values, without an order, nearest to these coordinates."""
        return {name: _at(axis, c) for (name, axis), c in zip(self.axes.items(), coordinates, strict=True)}

    def draws(self, seed: int) -> Iterator[dict[str, Any]]:
        """Random settings without end: axes uniform in their scale, the length uniform, then its orders alike."""
        numbers, orders = RandomSampler(seed=seed), random.Random(seed)
        while True:
            setting = {name: self._drawn_number(numbers, name) for name in self.axes}
            if self.names:
                setting["order"] = self._drawn_order(orders)
            yield setting

    def _drawn_number(self, sampler: RandomSampler, name: str) -> Any:
        # The signature asks for a study and a trial; a random draw looks at neither.
        value = sampler.sample_independent(None, None, name, self.distributions[name])
        return _snapped(self.axes[name], value)

    def _drawn_order(self, rng: random.Random) -> Order:
        length = rng.choice(self.lengths)
        if self.rule.count(self.names, length) <= MOST_ORDERS_LISTED:
            return rng.choice(self._orders_of(length))
        return self.rule.decode({name: rng.random() for name in self.names}, length)

    def _decode_keys(self, keys: tuple[float, ...], length: int) -> Order:
        return self.rule.decode(dict(zip(self.names, keys, strict=True)), length)

    def _list_orders(self, length: int) -> list[Order]:
        return list(self.rule.orders(self.names, length))


def identity(setting: Mapping[str, Any]) -> Identity:
    """A setting as something to compare and to keep in sets."""
    return tuple(sorted(setting.items()))


def _distribution(axis: Choices | Range) -> BaseDistribution:
    if isinstance(axis, Choices):
        return CategoricalDistribution(axis.values)
    high = _highest(axis)  # Optuna warns when the last step misses `axis.high`
    if axis.integer:
        return IntDistribution(int(axis.low), int(high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, high, log=axis.log, step=axis.step)


def _coordinate(axis: Choices | Range, value: Any) -> float:
    if isinstance(axis, Choices):
        return sorted(axis.values).index(value) / max(len(axis.values) - 1, 1)
    low, high, value = (math.log(v) if axis.log else v for v in (axis.low, axis.high, value))
    return float((value - low) / (high - low))


def _at(axis: Choices | Range, coordinate: float) -> Any:
    if isinstance(axis, Choices):
        return sorted(axis.values)[round(coordinate * (len(axis.values) - 1))]
    low, high = (math.log(v) if axis.log else v for v in (axis.low, axis.high))
    value = low + coordinate * (high - low)
    snapped = _snapped(axis, math.exp(value) if axis.log else value)
    return min(max(snapped, axis.low), _highest(axis))


def _highest(axis: Range) -> Any:
    points = axis.points()
    return _snapped(axis, points[-1]) if points else axis.high


def _snapped(axis: Choices | Range, value: Any) -> Any:
    """The value on its axis' steps, rounded, so that equal settings compare equal whoever computed them."""
    step = None if isinstance(axis, Choices) else axis.step or (1 if axis.integer else None)
    if step is None:
        return value
    return round(axis.low + round((value - axis.low) / step) * step, 12)
