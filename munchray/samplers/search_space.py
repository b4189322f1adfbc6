"""A search space as Optuna distributions: encoding, decoding, enumeration and random sampling of its settings.

A *setting* is one value for each dimension that varies; its *axes* are all dimensions but the order. Optuna sees an
order as one random key in [0, 1] per auxiliary (``key.<auxiliary>``, decoded by `OrderRule.decode`), and an integer
``length`` when the number of auxiliaries varies. On synthetic landscapes TPE had less regret with random keys than with
Lehmer codes.
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

KEY = "key."  # what the names of auxiliaries' parameters begin with
LENGTH = "length"
MAX_LISTED_ORDERS = 100_000  # eight auxiliaries have 40,320 orders; nine would take seconds and memory to list

Setting = dict[str, Any]
SettingKey = tuple[tuple[str, Any], ...]


class SpaceEncoding:
    """The Optuna distributions of a search space, and the conversion between settings and Optuna parameters.

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
        """Optuna's distributions by parameter name: the axes, a key per auxiliary, the length when it varies."""
        axes = {name: _distribution(axis) for name, axis in self.axes.items()}
        keys = {KEY + name: FloatDistribution(0.0, 1.0) for name in self.names}
        shortest, longest = self.lengths[0], self.lengths[-1]
        length = {LENGTH: IntDistribution(shortest, longest)} if shortest < longest else {}
        return {**axes, **keys, **length}

    @property
    def continuous_axes(self) -> list[str]:
        """Axes with infinitely many values."""
        return [name for name, axis in self.axes.items() if axis.points() is None]

    @cached_property
    def size(self) -> int | None:
        """Number of settings; None when an axis is continuous."""
        if self.continuous_axes:
            return None
        return math.prod(len(axis.points() or ()) for axis in self.axes.values()) * self.num_orders

    @property
    def num_orders(self) -> int:
        """Number of orders: one, the empty one, when the space has none."""
        return sum(self.rule.count(self.names, length) for length in self.lengths)

    def decode(self, params: Mapping[str, Any]) -> Setting:
        """The setting of Optuna parameters: values by name and, when orders vary, ``order`` as a tuple."""
        setting = {name: _snap(axis, params[name]) for name, axis in self.axes.items()}
        if self.names:
            keys = tuple(params[KEY + name] for name in self.names)
            setting["order"] = self._decode_order(keys, params.get(LENGTH, self.lengths[0]))
        return setting

    def encode(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna parameters that decode to a setting or a part of one; keys of an order are evenly spaced."""
        params = {name: setting[name] for name in self.axes if name in setting}
        if "order" in setting:
            keys = self.rule.encode(setting["order"], self.names)
            params.update({KEY + name: key for name, key in keys.items()})
            params.update({LENGTH: len(setting["order"])} if len(self.lengths) > 1 else {})
        return params

    def all_settings(self) -> Iterator[Setting]:
        """Every setting of a space of finite `size`."""
        for values in self.all_values():
            if self.names:
                yield from ({**values, "order": order} for order in self.all_orders())
            else:
                yield values

    def all_values(self) -> Iterator[Setting]:
        """Every combination of the axes' values, without an order; the axes must be finite."""
        columns = [[_snap(axis, value) for value in axis.points() or ()] for axis in self.axes.values()]
        return (dict(zip(self.axes, values, strict=True)) for values in product(*columns))

    def all_orders(self) -> Iterator[Order]:
        """Every order, shortest first."""
        return (order for length in self.lengths for order in self._orders_of(length))

    def to_unit(self, setting: Mapping[str, Any]) -> list[float]:
        """The axes' values normalized to [0, 1]: ranges on their own (log) scale, choices by rank."""
        return [_to_unit(axis, setting[name]) for name, axis in self.axes.items()]

    def from_unit(self, coordinates: Sequence[float]) -> Setting:
        """The inverse of `to_unit`, rounded to the nearest allowed values; without an order."""
        return {name: _from_unit(axis, c) for (name, axis), c in zip(self.axes.items(), coordinates, strict=True)}

    def random_settings(self, seed: int) -> Iterator[Setting]:
        """An endless stream of random settings.

        Axes are uniform on their scale; the length is uniform, and so are the orders of that length.
        """
        numbers, orders = RandomSampler(seed=seed), random.Random(seed)
        while True:
            setting = {name: self._random_value(numbers, name) for name in self.axes}
            if self.names:
                setting["order"] = self._random_order(orders)
            yield setting

    def _random_value(self, sampler: RandomSampler, name: str) -> Any:
        # Optuna's random sampler looks at neither the study nor the trial.
        value = sampler.sample_independent(None, None, name, self.distributions[name])
        return _snap(self.axes[name], value)

    def _random_order(self, rng: random.Random) -> Order:
        length = rng.choice(self.lengths)
        if self.rule.count(self.names, length) <= MAX_LISTED_ORDERS:
            return rng.choice(self._orders_of(length))
        return self.rule.decode({name: rng.random() for name in self.names}, length)

    def _decode_keys(self, keys: tuple[float, ...], length: int) -> Order:
        return self.rule.decode(dict(zip(self.names, keys, strict=True)), length)

    def _list_orders(self, length: int) -> list[Order]:
        return list(self.rule.orders(self.names, length))


def setting_key(setting: Mapping[str, Any]) -> SettingKey:
    """A setting as a hashable value; equal settings have equal keys."""
    return tuple(sorted(setting.items()))


def _distribution(axis: Choices | Range) -> BaseDistribution:
    if isinstance(axis, Choices):
        return CategoricalDistribution(axis.values)
    high = _highest(axis)  # Optuna warns when the last step misses `axis.high`
    if axis.integer:
        return IntDistribution(int(axis.low), int(high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, high, log=axis.log, step=axis.step)


def _to_unit(axis: Choices | Range, value: Any) -> float:
    if isinstance(axis, Choices):
        return sorted(axis.values).index(value) / max(len(axis.values) - 1, 1)
    low, high, value = (math.log(v) if axis.log else v for v in (axis.low, axis.high, value))
    return float((value - low) / (high - low))


def _from_unit(axis: Choices | Range, coordinate: float) -> Any:
    if isinstance(axis, Choices):
        return sorted(axis.values)[round(coordinate * (len(axis.values) - 1))]
    low, high = (math.log(v) if axis.log else v for v in (axis.low, axis.high))
    value = low + coordinate * (high - low)
    snapped = _snap(axis, math.exp(value) if axis.log else value)
    return min(max(snapped, axis.low), _highest(axis))


def _highest(axis: Range) -> Any:
    points = axis.points()
    return _snap(axis, points[-1]) if points else axis.high


def _snap(axis: Choices | Range, value: Any) -> Any:
    """The value moved to the nearest step and rounded, so that equal settings compare equal however computed."""
    step = None if isinstance(axis, Choices) else axis.step or (1 if axis.integer else None)
    if step is None:
        return value
    return round(axis.low + round((value - axis.low) / step) * step, 12)
