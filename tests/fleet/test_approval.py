"""A machine's way in and out by a person's decision."""

from __future__ import annotations

import pytest

from backup_platform.audit.models import Entry
from backup_platform.fleet.access import admit, authenticate
from backup_platform.fleet.approval import (
    approve_machine,
    decommission_machine,
    fingerprint,
    refuse_machine,
    revoke_machine,
)
from backup_platform.fleet.errors import (
    MachineDecommissioned,
    MachinePending,
    MachineRevoked,
    StateRefused,
    TermsRefused,
)
from backup_platform.fleet.models import EnrollmentToken, GroupMembership, Machine, MachineGroup, MachineState
from backup_platform.fleet.services import enroll_machine
from backup_platform.fleet.tokens import Terms, register_token, withdraw_token
from backup_platform.tenants.access import Actor
from backup_platform.tenants.errors import Forbidden, OutOfReach
from backup_platform.tenants.models import Role, User
from backup_platform.tenants.permissions import BUILT_IN
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.fleet.conftest import BLOB, make_csr, make_token, make_vault, rsa_key, spki


def enroll(vault, label="identity", **terms) -> Machine:
    csr = make_csr(rsa_key(label))
    return enroll_machine(make_token(vault, **terms), csr, spki(rsa_key("reading")), {"hostname": label}).machine


def actor_in(vault, role=Role.OPERATOR, groups=None) -> Actor:
    user = User.objects.create_user(f"{role}-{vault.tenant_id}-{groups is None}")
    return Actor(user, vault.tenant, role, BUILT_IN[role], groups)


@pytest.fixture
def waiting(vault) -> Machine:
    return enroll(vault, needs_approval=True)


def state_of(machine):
    with tenant_scope(machine.tenant_id):
        return Machine.objects.get(pk=machine.pk).state


def lines(vault):
    with tenant_scope(vault.tenant_id):
        return {line.verb: line.detail for line in Entry.objects.filter(verb__startswith="machine.").order_by("id")}


@pytest.mark.defence
def test_a_machine_that_needs_approval_may_publish_its_record_and_nothing_else(waiting):
    key = bytes(waiting.identity_hash)
    with pytest.raises(MachinePending, match="waits for approval"):
        authenticate(key)
    assert admit(key) == waiting
    with tenant_scope(waiting.tenant_id):
        Machine.objects.update(record=b"published")
    with pytest.raises(MachinePending):
        admit(key)


def test_an_approved_machine_may_connect_and_the_audit_says_who_let_it_in(vault, waiting):
    operator = actor_in(vault)
    approve_machine(waiting, by=operator)
    assert authenticate(bytes(waiting.identity_hash)) == waiting
    line = lines(vault)["machine.approved"]
    assert (line["before"], line["after"]) == ({"state": "pending"}, {"state": "active"})
    with pytest.raises(StateRefused, match="does not wait"):
        approve_machine(waiting, by=operator)
    with pytest.raises(StateRefused, match="does not wait"):
        refuse_machine(waiting, by=operator)


def test_a_refused_machine_stays_out(vault, waiting):
    refuse_machine(waiting, by=actor_in(vault))
    with pytest.raises(MachineRevoked):
        admit(bytes(waiting.identity_hash))
    with pytest.raises(StateRefused):
        approve_machine(waiting, by="tests")
    assert state_of(waiting) == MachineState.REVOKED


def test_a_waiting_machine_can_be_revoked(waiting):
    assert revoke_machine(waiting, actor="tests")
    assert not revoke_machine(waiting, actor="tests")


def test_decommissioning_says_why_and_shuts_the_door(vault):
    machine = enroll(vault)
    with pytest.raises(StateRefused, match="Say why"):
        decommission_machine(machine, by="tests", reason="  ")
    decommission_machine(machine, by="tests", reason="sold")
    with pytest.raises(MachineDecommissioned, match="decommissioned"):
        authenticate(bytes(machine.identity_hash))
    assert lines(vault)["machine.decommissioned"]["reason"] == "sold"
    with pytest.raises(StateRefused, match="before"):
        decommission_machine(machine, by="tests", reason="again")
    assert not revoke_machine(machine, actor="tests")


def test_the_fingerprint_is_the_identity_keys_digest_in_fours(waiting):
    shown = fingerprint(waiting)
    assert shown.replace(" ", "") == bytes(waiting.identity_hash).hex()
    assert len(shown.split()) == 16


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, Role.RESTORE_OPERATOR])
def test_roles_that_only_look_decide_nothing(vault, waiting, role):
    actor = actor_in(vault, role)
    for decide in (approve_machine, refuse_machine):
        with pytest.raises(Forbidden):
            decide(waiting, by=actor)
    with pytest.raises(Forbidden):
        decommission_machine(waiting, by=actor, reason="x")
    with pytest.raises(Forbidden):
        revoke_machine(waiting, actor=actor)
    assert state_of(waiting) == MachineState.PENDING


def test_another_tenants_machine_looks_like_missing(waiting):
    stranger = actor_in(make_vault("other"))
    with pytest.raises(OutOfReach):
        approve_machine(waiting, by=stranger)


@pytest.mark.defence
def test_who_is_limited_to_groups_decides_about_their_machines_only(vault):
    with tenant_scope(vault.tenant_id):
        group = MachineGroup.objects.create(tenant_id=vault.tenant_id, name="theirs")
    inside = enroll(vault, "identity", needs_approval=True, group=group)
    outside = enroll(vault, "identity 2", needs_approval=True)
    limited = actor_in(vault, groups=frozenset({group.pk}))
    with pytest.raises(OutOfReach):
        approve_machine(outside, by=limited)
    approve_machine(inside, by=limited)
    assert (state_of(inside), state_of(outside)) == (MachineState.ACTIVE, MachineState.PENDING)


def test_an_enrolment_puts_its_machines_into_its_group(vault):
    with tenant_scope(vault.tenant_id):
        group = MachineGroup.objects.create(tenant_id=vault.tenant_id, name="Servers")
    machine = enroll(vault, group=group)
    with tenant_scope(vault.tenant_id):
        assert GroupMembership.objects.get().machine == machine
    assert lines(vault)["machine.enrolled"]["group"] == "Servers"


def test_who_makes_enrolments_and_for_which_groups(vault):
    with without_tenant_scope("test data"):
        mine = MachineGroup.objects.create(tenant_id=vault.tenant_id, name="mine")
        foreign = MachineGroup.objects.create(tenant=make_vault("other").tenant, name="foreign")
    limited, number = actor_in(vault, groups=frozenset({mine.pk})), iter(range(9))

    def register(by, **terms):
        return register_token(vault, bytes([next(number)] * 32), BLOB, Terms(**terms), by=by)

    register(actor_in(vault))
    register(limited, group=mine)
    with pytest.raises(TermsRefused, match="one of your machine groups"):
        register(limited)
    with pytest.raises(TermsRefused, match="another tenant"):
        register(actor_in(vault, Role.ADMIN), group=foreign)
    with pytest.raises(Forbidden):
        register(actor_in(vault, Role.VIEWER))
    with pytest.raises(OutOfReach):
        register(actor_in(foreign_vault(foreign)))
    with pytest.raises(TermsRefused, match="registered before"):
        register_token(vault, bytes(32), BLOB, Terms(), by="tests")
    with tenant_scope(vault.tenant_id):
        token = EnrollmentToken.objects.first()
    with pytest.raises(Forbidden):
        withdraw_token(token.pk, vault.tenant_id, actor=actor_in(vault, Role.AUDITOR))


def foreign_vault(group):
    from backup_platform.vaults.models import Vault

    with without_tenant_scope("test"):
        return Vault.objects.select_related("tenant").get(tenant=group.tenant_id)
