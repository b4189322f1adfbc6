"""Seeds hashed from their scope."""

from munchray.seeds import generator, seed_of


def test_scopes_have_different_seeds():
    assert seed_of(1, "ab", "c") != seed_of(1, "a", "bc")
    assert seed_of(1, 23) != seed_of(12, 3)


def test_seeds_have_63_bits():
    assert all(0 <= seed_of("x", i) < 2**63 for i in range(100))


def test_a_scope_is_reproducible():
    assert generator("a", 1).integers(1 << 30) == generator("a", 1).integers(1 << 30)
    assert seed_of("a", 1) == 2942923900058917333
