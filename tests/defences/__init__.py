"""Mutation of the defences: every law's tests run with the law's defence taken away, and must fail. `make defences`."""
