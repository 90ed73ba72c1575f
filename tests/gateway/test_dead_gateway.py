"""A gateway dies with two hundred jobs running: each goes on or is given up honestly, and none is left running.

The agents are real connections. What they cannot do here is wait a minute and a half, so the leases of those that never
come back are ended by hand; `python -m tests.soak.gateway_death` waits.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.db.models import F

from backup_platform.gateway.limits import GatewayLimits
from backup_platform.jobs import agent_jobs, housekeeping
from backup_platform.jobs.models import Job, JobLimits
from backup_platform.policies.models import Policy
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from protocol.wire import messages
from tests.gateway import stage as staging
from tests.gateway.daemon_peer import DaemonPeer, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

MACHINES = 200
GO_ON, FORGET, SILENT = 150, 20, 30
WAIT = 120.0
PATIENT = GatewayLimits(idle_seconds=900, keep_alive_seconds=600)
"""The agents here speak one after the other, so each is silent for long."""


@pytest.fixture
def identities(stage, monkeypatch):
    """Machines with keys of their own: small ones, as two hundred large ones take a minute."""
    usual, labels = staging.rsa_key, [f"identity-m{number}" for number in range(MACHINES)]
    with ThreadPoolExecutor(4) as threads:
        keys = dict(zip(labels, threads.map(lambda _: rsa.generate_private_key(65537, 2048), labels), strict=True))
    monkeypatch.setattr(staging, "rsa_key", lambda label: keys.get(label) or usual(label))
    return [stage.machine(f"m{number}") for number in range(MACHINES)]


@pytest.fixture
def policy(stage) -> Policy:
    with tenant_scope(stage.vault.tenant_id):
        JobLimits.objects.create(tenant_id=stage.vault.tenant_id, most_running=MACHINES)
        return Policy.objects.create(tenant_id=stage.vault.tenant_id, name="Documents")


def states() -> Counter[str]:
    with without_tenant_scope("test"):
        return Counter(Job.objects.values_list("state", flat=True))


def ask_everybody(policy: Policy, identities) -> None:
    """The silent ones have their last attempt, all others three."""
    attempts = [1 if number >= MACHINES - SILENT // 2 else 3 for number in range(MACHINES)]
    wanted = [
        agent_jobs.Wanted(policy, one.row, settings={"schedule.attempts": most})
        for one, most in zip(identities, attempts, strict=True)
    ]
    with without_tenant_scope("test"):
        agent_jobs.request_backups(wanted)


def back(gateway, identity, job_id: UUID, lease: str) -> DaemonPeer:
    return DaemonPeer(gateway, identity, running=[messages.RunningJob(job=job_id.bytes, lease=lease)])


def silence(machines: list[UUID]) -> None:
    """A minute and a half goes by for those who do not come back."""
    with without_tenant_scope("test"):
        theirs = Job.objects.filter(machine_id__in=machines)
        theirs.update(lease_until=F("lease_until") - agent_jobs.RUN_LEASE - timedelta(seconds=1))
    housekeeping.sweep_now()


def test_two_hundred_jobs_outlive_their_gateway_or_end_honestly(gateway_factory, identities, policy):
    first = gateway_factory(limits=PATIENT)
    peers = [DaemonPeer(first, identity) for identity in identities]
    ask_everybody(policy, identities)
    held = [peer.accept_offer(WAIT)[:2] for peer in peers]
    wait_until(lambda: states() == {"running": MACHINES}, WAIT)

    first.die()
    for peer in peers:
        peer.close()
    second = gateway_factory(limits=PATIENT)
    going_on = [back(second, identities[number], *held[number]) for number in range(GO_ON)]
    assert all(peer.controlled.stop == b"" for peer in going_on)
    anew = [DaemonPeer(second, identities[number]) for number in range(GO_ON, GO_ON + FORGET)]
    silence([one.id for one in identities[GO_ON + FORGET :]])
    assert states() - Counter(running=GO_ON + FORGET, offered=FORGET, queued=FORGET + SILENT) == {"failed": SILENT // 2}
    with without_tenant_scope("test"):
        failed = Job.objects.filter(state="failed")
        assert all("silent" in one.last_error and one.advice for one in failed)
        silent = Job.objects.filter(machine_id__in=[one.id for one in identities[-SILENT:]])
        assert set(silent.values_list("state", flat=True)) == {"failed", "queued"}

    for peer, (job_id, lease) in zip(going_on, held, strict=False):
        peer.report(job_id, lease)
    for peer in anew:
        job_id, lease, _ = peer.accept_offer(WAIT)
        peer.report(job_id, lease)
    assert states() == {"done": GO_ON + FORGET, "failed": SILENT // 2, "queued": SILENT - SILENT // 2}
    with without_tenant_scope("test"):
        assert Counter(Job.objects.filter(state="done").values_list("attempts", flat=True)) == {1: GO_ON, 2: FORGET}
    for peer in (*going_on, *anew):
        peer.close()
