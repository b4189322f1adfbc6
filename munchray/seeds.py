"""Seeds hashed from the name of what they are for, so that randomness does not depend on what ran before."""

from __future__ import annotations

import numpy as np

from munchray.files import digest


def seed_of(*scope: object) -> int:
    """A 63-bit seed that depends on every part of the scope."""
    return int(digest(*map(str, scope))[:16], 16) >> 1


def generator(*scope: object) -> np.random.Generator:
    """A random generator seeded by the scope."""
    return np.random.default_rng(seed_of(*scope))
