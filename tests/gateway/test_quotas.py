"""A tenant's quota at the gateway: what adds data is refused with a sentence, in two steps; all else goes on."""

from __future__ import annotations

import pytest

from backup_platform.catalog.models import Pack, Session, Wanted
from backup_platform.fleet.models import EnrollmentToken, Machine
from backup_platform.gateway.limits import GatewayLimits
from backup_platform.jobs.models import Job, JobState
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tenants.stored import stored_of
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import (
    BLOCK,
    AgentPeer,
    Failed,
    begin_when_free,
    block_of,
    contents,
    digest,
    wait_until,
)
from tests.gateway.stage import make_csr, spki

pytestmark = pytest.mark.django_db(transaction=True)

PACK = 32 * 1024
SMALL_PACKS = GatewayLimits(pack_bytes=PACK, append_batch=8 * 1024)
WAIT = 20.0


@pytest.fixture
def gateway(gateway_factory):
    """Packs are full after 32 KiB, so that a test need not send 64 MiB."""
    return gateway_factory(limits=SMALL_PACKS)


def set_quota(stage, size: int | None = None, machines: int | None = None) -> None:
    with without_tenant_scope("test"):
        tenant = Tenant.objects.filter(pk=stage.vault.tenant_id)
        tenant.update(quota_bytes=size, quota_machines=machines)


def used(stage) -> int:
    return stored_of(stage.vault.tenant_id).bytes


def fill(gateway, stage, name: str = "filler", count: int = 20) -> tuple[messages.Committed, list[bytes]]:
    """Another machine of the tenant backs up so many records of 2,000 bytes."""
    segment = contents(count)
    with AgentPeer(gateway, stage.machine(name)) as agent:
        return agent.back_up(segment), segment


def put_until_refused(agent: AgentPeer, most: int = 500) -> tuple[list[bytes], messages.Failure]:
    """Put records and have each lot acknowledged, until no more is taken; what was acknowledged, and the refusal."""
    kept: list[bytes] = []
    while len(kept) < most:
        lot = contents(3)
        try:
            for one in lot:
                agent.put(one)
            agent.flush()
        except Failed as refused:
            return kept, refused.failure
        kept += lot
    pytest.fail("nothing was refused")


# --- new sessions ----------------------------------------------------------------------------------------------------


def test_a_new_backup_is_refused_at_begin_and_begins_when_there_is_room(gateway, stage):
    fill(gateway, stage)
    set_quota(stage, used(stage))
    with AgentPeer(gateway, stage.machine("late")) as agent:
        with pytest.raises(Failed) as failed:
            agent.begin()
        assert failed.value.code == FailureCode.TEMPORARY
        assert failed.value.failure.retry_after >= 3600, "nobody waits for it on an open connection"
        assert "quota of stored data is used up" in failed.value.failure.message
        assert "larger quota" in failed.value.failure.message
        with tenant_scope(stage.vault.tenant_id):
            assert Session.objects.filter(machine__name="late").count() == 0
        set_quota(stage, 10 * used(stage))
        agent.back_up(contents(1))


def test_restoring_goes_on_while_the_quota_is_used_up(gateway, stage):
    committed, segment = fill(gateway, stage)
    set_quota(stage, 1)
    with tenant_scope(stage.vault.tenant_id):
        row = Machine.objects.get(name="filler")
    with AgentPeer(gateway, stage.files(row, "identity-filler", _certificate(row))) as agent:
        agent.ask(messages.Root(snapshot=committed.snapshot))
        records, missing = agent.fetch(committed.snapshot, digest(block_of(segment)), sorted(map(digest, segment)))
    assert set(records.values()) == set(segment)
    assert not missing


def _certificate(row):
    from cryptography import x509

    return x509.load_der_x509_certificate(bytes(row.certificate))


def test_another_tenants_backups_are_not_touched(gateway, stage):
    fill(gateway, stage)
    set_quota(stage, 1)
    with AgentPeer(gateway, stage.machine("other", vault=stage.make_vault("south"))) as agent:
        agent.back_up(contents(2))


# --- sessions under way ----------------------------------------------------------------------------------------------


def test_a_backup_that_is_nearly_through_ends_well_beyond_the_quota(gateway, stage):
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        fill(gateway, stage, count=30)
        set_quota(stage, used(stage))
        segment = contents(2)
        for one in segment:
            agent.put(one)
        agent.put(block_of(segment), BLOCK)
        assert isinstance(agent.commit(segment), messages.Committed)


def test_a_session_under_way_overruns_by_a_bounded_amount_and_loses_nothing_that_was_acknowledged(gateway, stage):
    quota, machine = 100_000, stage.machine()
    set_quota(stage, quota)
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        kept, refusal = put_until_refused(agent)
    assert refusal.code == FailureCode.TEMPORARY
    assert "quota of stored data is used up" in refusal.message
    assert "what arrived is kept" in refusal.message
    wait_until(lambda: not gateway.gateway.context.backups, WAIT)
    assert quota <= used(stage) <= quota * 1.05 + PACK + 4096, "a twentieth more, and the pack that was open"
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        assert agent.missing([digest(one) for one in kept]) == set()


def test_what_is_complete_is_committed_however_much_is_used(gateway, stage):
    machine, segment = stage.machine(), contents(3)
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        for one in segment:
            agent.put(one)
        agent.put(block_of(segment), BLOCK)
        agent.flush()
    fill(gateway, stage)
    set_quota(stage, used(stage) // 2)
    with AgentPeer(gateway, machine) as agent:
        begin_when_free(agent)
        assert isinstance(agent.commit(segment), messages.Committed)


def test_a_backup_by_hand_that_the_quota_ends_says_so_in_the_work_list(gateway, stage):
    set_quota(stage, 60_000)
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        put_until_refused(agent)

    def failed() -> list[Job]:
        with without_tenant_scope("test"):
            return list(Job.objects.filter(kind="backup", state=JobState.FAILED))

    wait_until(failed, WAIT)
    (job,) = failed()
    assert "quota of stored data is used up" in job.last_error
    assert "goes on where this one stopped" in job.advice


# --- healing ---------------------------------------------------------------------------------------------------------


def test_chunks_that_heal_are_taken_whatever_is_used_and_nothing_else_is(gateway, stage):
    machine, (healing, other) = stage.machine(), contents(2)
    fill(gateway, stage)
    set_quota(stage, used(stage) // 2)
    with tenant_scope(stage.vault.tenant_id):
        Wanted.objects.create(vault=stage.vault, machine=machine.row, chunk_id=digest(healing))
    with AgentPeer(gateway, machine) as agent:
        assert agent.begin().wanted == digest(healing)
        agent.put(healing)
        agent.flush()
        agent.put(other)
        with pytest.raises(Failed) as failed:
            agent.wait_end()
        assert failed.value.code == FailureCode.TEMPORARY
    wait_until(lambda: not gateway.gateway.context.backups, WAIT)
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        assert agent.missing([digest(healing), digest(other)]) == {digest(other)}


# --- machines --------------------------------------------------------------------------------------------------------


def test_a_machine_beyond_the_quota_is_not_enrolled_and_its_token_stays_good(gateway, stage):
    stage.machine()
    token = stage.token()
    set_quota(stage, machines=1)
    request = messages.Enroll(token=token, csr=make_csr("newcomer"), reading_key=spki("reading"), facts={})
    with AgentPeer(gateway) as agent, pytest.raises(Failed) as failed:
        agent.ask(request)
    assert failed.value.code == FailureCode.TEMPORARY
    assert "may have 1 machine and has as many" in failed.value.failure.message
    with tenant_scope(stage.vault.tenant_id):
        assert EnrollmentToken.objects.get().uses_left == 1
        assert Pack.objects.count() == 0
    set_quota(stage, machines=2)
    with AgentPeer(gateway) as agent:
        assert agent.ask(request).message.machine_name


def test_a_stranger_without_a_good_token_learns_nothing_of_a_quota(gateway, stage):
    stage.machine()
    set_quota(stage, machines=1)
    request = messages.Enroll(token=bytes(32), csr=make_csr("newcomer"), reading_key=spki("reading"), facts={})
    with AgentPeer(gateway) as agent, pytest.raises(Failed) as failed:
        agent.ask(request)
    assert failed.value.code == FailureCode.TOKEN
