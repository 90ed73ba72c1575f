"""Random orders of everything that a vault lives through; nothing that is needed may be lost. The long form is
`python -m tests.soak.reclaim` (part of `make soak`)."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.upkeep.reclaim_machine import Vaulted

EXAMPLES = int(os.environ.get("RECLAIM_MODEL_EXAMPLES") or 15)
STEPS = int(os.environ.get("RECLAIM_MODEL_STEPS") or 40)


@pytest.mark.parametrize(("examples", "steps"), [(EXAMPLES, STEPS)])
def test_no_order_of_events_loses_anything_that_is_needed(db, strongroom_home, monkeypatch, examples, steps):
    monkeypatch.setattr("backup_platform.upkeep.compacting.FEW", 3)
    run_state_machine_as_test(
        Vaulted,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            # The shortest way to a fault is looked for in the soak only: it takes minutes.
            phases=tuple(Phase) if "RECLAIM_MODEL_EXAMPLES" in os.environ else (Phase.generate,),
        ),
    )
