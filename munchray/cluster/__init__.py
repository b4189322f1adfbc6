"""Ray clusters: connecting, capacity, preflight checks of nodes, job submission."""
