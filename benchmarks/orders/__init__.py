"""Benchmarks of the samplers: regret of the orders they find, by trials and by trained stages."""
