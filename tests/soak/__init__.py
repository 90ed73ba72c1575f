"""The long forms of tests/faults, and a million mutations."""
