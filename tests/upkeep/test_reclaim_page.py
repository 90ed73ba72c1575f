"""The page of reclaim: how it stands, and pausing it by a button: who may, why, who sees it."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.fleet.models import MachineGroup
from backup_platform.tenants.models import Member, MemberGroup, Role, Tenant, User
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep.errors import ReclaimRefused
from backup_platform.upkeep.guards import pause_in_force
from backup_platform.upkeep.models import ReclaimPause, ReclaimRound, RoundState
from backup_platform.upkeep.services import pause_reclaim, resume_reclaim
from tests.catalog.stage import make_vault

pytestmark = pytest.mark.django_db
LIST = reverse("admin:upkeep_reclaimround_changelist")
PAUSE = reverse("admin:upkeep_reclaimround_pause")
RESUME = reverse("admin:upkeep_reclaimround_resume")


@pytest.fixture
def vault(db):
    return make_vault("north", 7301)


@pytest.fixture
def tenant(vault) -> Tenant:
    return vault.tenant


def sign_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def member_of(tenant: Tenant, role: Role = Role.ADMIN, *, limited: bool = False) -> Client:
    with without_tenant_scope("a person of the stage"):
        user = User.objects.create_user(f"{role}-{tenant.name}-{limited}")
        member = Member.objects.create(user=user, tenant=tenant, role=role)
        if limited:
            MemberGroup.objects.create(member=member, group=MachineGroup.objects.create(tenant=tenant, name="few"))
    return sign_in(user)


def pauses() -> list[ReclaimPause]:
    with without_tenant_scope("test"):
        return list(ReclaimPause.objects.all())


def test_a_tenants_administrator_pauses_and_resumes_the_own_reclaim(tenant):
    admin = member_of(tenant)
    assert PAUSE in admin.get(LIST).content.decode()
    assert "Backups, restores and expiry go on" in admin.get(PAUSE).content.decode()
    assert pauses() == [], "a GET only asks"
    text = admin.post(PAUSE, {"reason": "moving the store"}, follow=True).content.decode()
    assert "Reclaim is paused: no space comes back." in text
    assert "paused by user admin-north-False" in text
    assert "Why: moving the store" in text
    assert RESUME in text
    assert PAUSE not in text
    assert "moving the store" in pause_in_force(tenant.pk)
    assert "goes on within minutes" in admin.post(RESUME, follow=True).content.decode()
    assert pauses() == []
    with tenant_scope(tenant):
        lines = Entry.objects.filter(object="reclaim").order_by("id").values_list("verb", "actor")
        assert list(lines) == [
            ("reclaim.paused", "user admin-north-False"),
            ("reclaim.resumed", "user admin-north-False"),
        ]


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_pause_needs_a_reason(tenant, reason):
    assert (
        "Say why reclaim is paused" in member_of(tenant).post(PAUSE, {"reason": reason}, follow=True).content.decode()
    )
    assert pauses() == []


@pytest.mark.defence
@pytest.mark.parametrize(("role", "limited"), [(Role.OPERATOR, False), (Role.AUDITOR, False), (Role.VIEWER, False),
                                               (Role.RESTORE_OPERATOR, False), (Role.ADMIN, True)])  # fmt: skip
def test_who_may_not_change_targets_neither_pauses_nor_resumes(tenant, role, limited):
    client = member_of(tenant, role, limited=limited)
    assert client.post(PAUSE, {"reason": "x"}).status_code == 403
    pause_reclaim(tenant.pk, by="ada", reason="x", staff=False)
    assert client.post(RESUME).status_code == 403
    assert len(pauses()) == 1


def test_staff_that_only_looks_does_not_pause(tenant):
    support = sign_in(User.objects.create_user("support", is_staff=True))
    assert PAUSE not in support.get(LIST).content.decode()
    assert support.post(PAUSE, {"reason": "x"}).status_code == 403


def test_the_platforms_pause_holds_everywhere_and_no_tenant_ends_it_or_reads_its_reason(tenant):
    boss = sign_in(User.objects.create_superuser("boss"))
    boss.post(PAUSE, {"reason": "south moves to another disk"})
    assert [pause.tenant_id for pause in pauses()] == [None]
    admin = member_of(tenant)
    text = admin.get(LIST).content.decode().replace("&#x27;", "'")
    assert "Everywhere: paused by the platform's staff" in text
    for hidden in ("user boss", "south"):
        assert hidden not in text
        assert hidden not in pause_in_force(tenant.pk), "rounds and jobs of the tenant keep this sentence"
    assert admin.post(RESUME).status_code == 403, "there is no pause of its own"
    admin.post(PAUSE, {"reason": "ours too"})
    admin.post(RESUME)
    assert [pause.tenant_id for pause in pauses()] == [None]
    shown = boss.get(LIST).content.decode()
    assert "Everywhere: paused by user boss" in shown
    assert "south moves" in shown


@pytest.mark.defence
def test_a_member_does_not_end_what_the_operator_paused_for_the_tenant(tenant):
    admin = member_of(tenant)
    admin.post(PAUSE, {"reason": "ours"})
    pause_reclaim(tenant.pk, by="operator ada", reason="an account was stolen there")
    text = admin.get(LIST).content.decode()
    assert "was stolen" not in text
    assert RESUME not in text
    assert admin.post(RESUME).status_code == 403
    with pytest.raises(ReclaimRefused, match="only they resume it"):
        resume_reclaim(tenant.pk, by="user x", staff=False)
    assert [pause.by for pause in pauses()] == ["operator ada"]
    assert resume_reclaim(tenant.pk, by="operator ada")


def test_another_tenants_pause_is_not_seen(tenant):
    pause_reclaim(tenant.pk, by="ada", reason="a secret of north")
    with without_tenant_scope("test"):
        south = Tenant.objects.create(name="south")
    assert "secret of north" not in member_of(south).get(LIST).content.decode()
    text = sign_in(User.objects.create_superuser("boss")).get(LIST).content.decode()
    assert "Reclaim is paused for 1 tenant." in text
    assert "north: paused by ada" in text


def test_the_page_says_how_reclaim_stands(tenant, vault):
    client = member_of(tenant)
    assert "Nothing is stored yet." in client.get(LIST).content.decode()
    with tenant_scope(tenant):
        done = ReclaimRound.objects.create(tenant=tenant, vault=vault, number=1, state=RoundState.DONE, packs=3,
                                           pack_bytes=3 * 2**30, ended_at=timezone.now())  # fmt: skip
    assert "3 packs with 3.0 GiB were emptied" in client.get(LIST).content.decode()
    with tenant_scope(tenant):
        ReclaimRound.objects.create(tenant=tenant, vault=vault, number=done.number + 1, state=RoundState.STOPPED,
                                    fault="Snapshots have vanished.", ended_at=timezone.now())  # fmt: skip
    text = client.get(LIST).content.decode()
    assert "Reclaim has stopped in 1 vault." in text
    assert "Snapshots have vanished." in text
