"""A stage for machines' jobs: tenants with machines and policies, and steps taken as gateways and agents take them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from django.db.models import F
from django.utils import timezone

from backup_platform.fleet.models import GroupMembership, Machine, MachineGroup
from backup_platform.jobs import agent_jobs
from backup_platform.jobs.models import Job
from backup_platform.policies.models import Policy
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.vaults.models import Vault

numbers = count(50_000)
SETTINGS: dict[str, Any] = {"selection.sources": ["/srv"], "schedule.attempts": 3}


@dataclass
class Site:
    """A tenant with machines and one policy."""

    name: str
    machines: list[Machine] = field(default_factory=list)

    def __post_init__(self) -> None:
        with without_tenant_scope("the stage is set"):
            self.tenant = Tenant.objects.create(name=self.name)
            self.vault = Vault.objects.create(
                id=uuid4(), number=next(numbers), tenant=self.tenant, name="v", record=b"r", record_number=1,
                signing_key_hash=os.urandom(32),
            )  # fmt: skip
            self.policy = self.add_policy("Documents")

    def add_policy(self, name: str) -> Policy:
        with without_tenant_scope("the stage is set"):
            return Policy.objects.create(tenant=self.tenant, name=name)

    def add_machines(self, how_many: int) -> list[Machine]:
        made = [
            Machine(
                tenant=self.tenant, vault=self.vault, name=f"{self.name}-{next(numbers)}",
                identity_hash=os.urandom(32), identity_key=b"k", reading_key=b"r", certificate=b"c",
                certificate_until=timezone.now() + timedelta(days=90),
            )
            for _ in range(how_many)
        ]  # fmt: skip
        with without_tenant_scope("the stage is set"):
            Machine.objects.bulk_create(made)
        self.machines += made
        return made

    def add_group(self, name: str, machines: list[Machine]) -> MachineGroup:
        with without_tenant_scope("the stage is set"):
            group = MachineGroup.objects.create(tenant=self.tenant, name=name)
            rows = [GroupMembership(tenant=self.tenant, group=group, machine=machine) for machine in machines]
            GroupMembership.objects.bulk_create(rows)
        return group

    def ask(self, machine: Machine, policy: Policy | None = None, **more: Any) -> UUID | None:
        settings = {**SETTINGS, **more.pop("settings", {})}
        values = {"origin": "schedule", "asked_by": "a schedule", "settings": settings, **more}
        return agent_jobs.request_backup(policy or self.policy, machine, **values)


def job(job_id: UUID | None) -> Job:
    with without_tenant_scope("a test looks"):
        return Job.objects.get(pk=job_id)


def state(job_id: UUID | None) -> str:
    return job(job_id).state


def offer(*machines: Machine, limit: int = 100, gateway: str = "g1") -> list[agent_jobs.Offer]:
    return agent_jobs.next_offers([machine.pk for machine in machines], gateway, limit)


def start(machine: Machine) -> agent_jobs.Offer:
    """The machine's next job, offered and accepted."""
    (offered,) = offer(machine)
    assert agent_jobs.accept(offered.job_id, offered.lease)
    return offered


def later(seconds: float) -> None:
    """Let time pass, by moving every row into the past."""
    times = ("next_attempt_at", "lease_until", "deadline", "cancel_asked_at", "finished_at", "due_at")
    with without_tenant_scope("time passes for everybody"):
        Job.objects.update(**{name: F(name) - timedelta(seconds=seconds) for name in times})
