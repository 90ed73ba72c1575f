"""The table of states: whole, guarded, and the same in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_platform.jobs.models import UNFINISHED, Job, JobState
from backup_platform.jobs.states import Step, diagram, take
from backup_platform.tenants.scope import without_tenant_scope
from tests.jobs.machines import Site

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "jobs.md"


def test_the_page_shows_the_table_as_it_is():
    shown = PAGE.read_text().partition("<!-- steps -->")[2].partition("<!-- /steps -->")[0]
    assert shown.strip() == diagram(), (
        "run `python -c` with states.diagram() and put the table into docs/reference/jobs.md"
    )


def test_every_state_can_be_left_or_is_final_and_every_final_one_is_reached():
    left = {state for step in Step for state in step.value.before}
    reached = {step.value.after for step in Step}
    assert left == set(UNFINISHED)
    assert reached >= set(JobState) - {JobState.QUEUED}


@pytest.mark.defence
@pytest.mark.parametrize("step", list(Step), ids=lambda step: step.name.lower())
def test_a_step_is_taken_from_its_own_states_only_and_once(db, step):
    site = Site("north")
    with without_tenant_scope("test"):
        for state in JobState:
            job = Job.objects.create(tenant=site.tenant, kind="backup", subject="x", dedupe_key=state, state=state)
            mine = Job.objects.filter(pk=job.pk)
            assert take(step, mine) == (state in step.value.before)
            assert mine.get().state == (step.value.after if state in step.value.before else state)
            assert take(step, mine) == 0 or step.value.after in step.value.before
