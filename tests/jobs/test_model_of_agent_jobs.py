"""Random orders of everything that gateways, agents, people and the sweep do, against a model of a few lines.

Agents remember every lease that they were ever given and use old ones too: reports come twice, late, or by way of
another gateway; gateways die, so that leases run out; offers cross with cancellations.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from backup_platform.jobs import agent_jobs
from backup_platform.jobs.models import HELD, UNFINISHED, Job
from backup_platform.tenants.scope import without_tenant_scope
from tests.jobs.machines import Site, job, later, offer

numbers = count()
choices = st.integers(0, 999)
MOST_ATTEMPTS = 2


@dataclass
class Model:
    """A job as it should be."""

    machine: UUID
    policy: UUID
    state: str = "queued"
    attempts: int = 0
    lease: str = ""
    surely_due: bool = True

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED

    @property
    def held(self) -> bool:
        return self.state in HELD

    def end(self, state: str) -> None:
        self.state, self.lease = state, ""

    def lapse(self) -> None:
        """Nobody renewed it, and the sweep came by."""
        self.surely_due = True
        if self.state == "offered":
            self.state, self.lease = "queued", ""
        elif self.state == "running":
            self.state = "queued"
            if self.attempts >= MOST_ATTEMPTS:
                self.end("failed")
        elif self.state == "cancelling":
            self.end("cancelled")

    def hear(self, outcome: str) -> None:
        """A report of the agent that has it."""
        if self.state == "cancelling" and outcome in ("failed", "temporary"):
            self.end("cancelled")
        elif outcome == "temporary" and self.attempts < MOST_ATTEMPTS:
            self.end("queued")
            self.surely_due = False
        else:
            self.end("failed" if outcome == "temporary" else outcome)


@dataclass
class Known:
    """A lease that an agent was given, perhaps long ago."""

    job: UUID
    lease: str


class Fleet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[UUID, Model] = {}
        self.leases: list[Known] = []
        self.stack = ExitStack()
        self.stack.enter_context(transaction.atomic())
        self.stack.enter_context(without_tenant_scope("the model looks at everything"))
        self.site = Site(f"tenant-{next(numbers)}")
        self.site.add_machines(2)
        self.policies = [self.site.policy, self.site.add_policy("Photos")]

    def teardown(self) -> None:
        try:
            for _ in range(2 * MOST_ATTEMPTS + 2):  # nothing stays held for ever once everybody is dead
                self.time_passes()
            assert not any(one.held for one in self.jobs.values())
        finally:
            transaction.set_rollback(True)
            self.stack.close()

    def busy(self, machine: UUID, but: UUID | None = None) -> bool:
        return any(one.held and one.machine == machine and pk != but for pk, one in self.jobs.items())

    def has(self, known: Known) -> Model | None:
        """The job, if this lease is its newest."""
        model = self.jobs[known.job]
        return model if model.unfinished and model.lease == known.lease else None

    @rule(machine=st.integers(0, 1), policy=st.integers(0, 1))
    def ask(self, machine: int, policy: int) -> None:
        one, two = self.site.machines[machine], self.policies[policy]
        made = self.site.ask(one, two, settings={"schedule.attempts": MOST_ATTEMPTS})
        same = [m for m in self.jobs.values() if m.unfinished and (m.machine, m.policy) == (one.pk, two.pk)]
        assert (made is None) == bool(same)
        if made:
            self.jobs[made] = Model(one.pk, two.pk)

    @rule(gateway=st.sampled_from(["g1", "g2"]))
    def hand_out(self, gateway: str) -> None:
        free = {machine.pk for machine in self.site.machines if not self.busy(machine.pk)}
        due = {m.machine for m in self.jobs.values() if m.state == "queued" and m.surely_due and m.machine in free}
        offers = offer(*self.site.machines, gateway=gateway)
        assert len({one.machine_id for one in offers}) == len(offers)
        assert due <= {one.machine_id for one in offers} <= free
        for one in offers:
            model = self.jobs[one.job_id]
            assert model.state == "queued"
            model.state, model.lease = "offered", one.lease
            self.leases.append(Known(one.job_id, one.lease))

    @precondition(lambda self: self.leases)
    @rule(choice=choices)
    def accept(self, choice: int) -> None:
        known = self.leases[-1 - choice % len(self.leases)]
        model = self.has(known)
        good = model is not None and model.state == "offered"
        assert agent_jobs.accept(known.job, known.lease) == good
        if good:
            model.state, model.attempts = "running", model.attempts + 1

    @precondition(lambda self: self.leases)
    @rule(choice=choices)
    def decline(self, choice: int) -> None:
        known = self.leases[-1 - choice % len(self.leases)]
        model = self.has(known)
        good = model is not None and model.state == "offered"
        assert agent_jobs.decline(known.job, known.lease, "busy", 5) == good
        if good:
            model.end("queued")
            model.surely_due = False

    @precondition(lambda self: self.leases)
    @rule(choice=choices, outcome=st.sampled_from(["done", "warnings", "failed", "temporary", "cancelled"]))
    def report(self, choice: int, outcome: str) -> None:
        known = self.leases[-1 - choice % len(self.leases)]
        model = self.has(known)
        good = model is not None and self._go_on(known, model)
        assert agent_jobs.report(known.job, known.lease, outcome) == good
        if good:
            model.hear(outcome)

    @precondition(lambda self: self.leases)
    @rule(choice=choices, gateway=st.sampled_from(["g1", "g2"]))
    def resume(self, choice: int, gateway: str) -> None:
        known = self.leases[-1 - choice % len(self.leases)]
        model = self.has(known)
        good = model is not None and self._go_on(known, model)
        assert agent_jobs.resume(known.job, known.lease, gateway) == good

    def _go_on(self, known: Known, model: Model) -> bool:
        """Whether whoever has the lease may go on; then it runs."""
        if model.state in ("queued", "offered"):
            if self.busy(model.machine, known.job):
                return False
            model.attempts += model.state == "offered"
            model.state = "running"
        return True

    @precondition(lambda self: self.leases)
    @rule(choice=choices)
    def progress(self, choice: int) -> None:
        known = self.leases[-1 - choice % len(self.leases)]
        model = self.has(known)
        good = model is not None and model.state in ("running", "cancelling")
        assert agent_jobs.progress([(known.job, known.lease, {"bytes_done": 1})]) == ({known.job} if good else set())

    @precondition(lambda self: self.jobs)
    @rule(choice=choices)
    def cancel(self, choice: int) -> None:
        pk = list(self.jobs)[choice % len(self.jobs)]
        model = self.jobs[pk]
        assert agent_jobs.cancel(job(pk), "user ann") == (model.state in ("queued", "offered", "running"))
        if model.state in ("queued", "offered"):
            model.end("cancelled")
        elif model.state == "running":
            model.state = "cancelling"

    @precondition(lambda self: self.jobs)
    @rule(choice=choices)
    def retry(self, choice: int) -> None:
        pk = list(self.jobs)[choice % len(self.jobs)]
        old = self.jobs[pk]
        if old.state not in ("failed", "cancelled", "warnings", "missed"):
            with pytest.raises(agent_jobs.JobRefused):
                agent_jobs.retry(job(pk), "user ann")
            return
        same = [m for m in self.jobs.values() if m.unfinished and (m.machine, m.policy) == (old.machine, old.policy)]
        made = agent_jobs.retry(job(pk), "user ann")
        assert (made is None) == bool(same)
        if made:
            self.jobs[made] = Model(old.machine, old.policy)

    @rule()
    def time_passes(self) -> None:
        """Gateways die and machines fall silent: every lease runs out, and the sweep comes by, twice."""
        later(1_000)
        agent_jobs.sweep_agent_jobs()
        agent_jobs.sweep_agent_jobs()
        for model in self.jobs.values():
            model.lapse()
        later(60)

    @rule()
    def sweep(self) -> None:
        """A sweep at any other time changes nothing."""
        agent_jobs.sweep_agent_jobs()

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        rows = {row.pk: (row.state, row.attempts) for row in Job.objects.filter(pk__in=list(self.jobs))}
        assert rows == {pk: (model.state, model.attempts) for pk, model in self.jobs.items()}

    @invariant()
    def a_machine_has_one_backup_at_a_time(self) -> None:
        held = [model.machine for model in self.jobs.values() if model.held]
        assert len(held) == len(set(held))
        assert all(model.attempts <= MOST_ATTEMPTS for model in self.jobs.values())


@pytest.mark.slow
def test_every_order_of_events_ends_as_the_model_says(db):
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            max_examples=15,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
