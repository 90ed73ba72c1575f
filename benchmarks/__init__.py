"""Measures the agent and the platform beside restic and borg. `make bench`; docs/benchmarks.md says how to read it."""
