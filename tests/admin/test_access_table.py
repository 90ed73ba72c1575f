"""Every address of the admin × every kind of person × own and foreign objects.

The registry is walked, so a new page, act or model is covered by itself: its rows are made from its fields.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.contrib.admin.sites import site
from django.test import Client
from django.urls import reverse

import backup_platform.urls  # noqa: F401 (pages are registered with the addresses)
from backup_platform.console.model_admin import TenantModelAdmin
from backup_platform.fleet.models import GroupMembership, MachineGroup
from backup_platform.tenants.access import actor_of, may
from backup_platform.tenants.models import CustomRole, Member, MemberGroup, Role, User
from backup_platform.tenants.queries import memberships_of
from backup_platform.tenants.scope import without_tenant_scope

CUSTOM, LIMITED = "custom role", "limited admin"
MEMBERS = [*Role.values, CUSTOM, LIMITED]
MARK = "theirs"
REFUSED = {204, 302, 403, 404, 405}
"""204: a part of a page that is asked for again and again ends its asking, with nothing in it."""


@dataclass(frozen=True)
class Address:
    """One address of a page: its name without the model's part, and the ids that it takes."""

    model: type
    kind: str
    takes: tuple[str, ...]

    @property
    def about_objects(self) -> bool:
        """Whether it is about rows of a tenant."""
        return bool(self.takes)

    def url(self, rows, index) -> str:
        """The address itself, for our rows (0) or theirs (1)."""
        name = f"admin:{self.model._meta.app_label}_{self.model._meta.model_name}_{self.kind}"
        return reverse(name, args=[self._id(taken, rows, index) for taken in self.takes])

    def _id(self, taken, rows, index):
        if taken == "object_id":
            return rows[self.model][index].pk
        for model, pair in rows.items():
            if model._meta.model_name == taken.removesuffix("_id"):
                return pair[index].pk
        raise AssertionError(f"{self.kind} takes {taken}: say here what that is")


def addresses(scoped: bool | None = None) -> list[Address]:
    """All addresses of all registered pages, or only those over tenants' rows (or only the platform's)."""
    found = []
    for model, page in site._registry.items():
        if scoped is not None and isinstance(page, TenantModelAdmin) != scoped:
            continue
        prefix = f"{model._meta.app_label}_{model._meta.model_name}_"
        found += [
            Address(model, pattern.name.removeprefix(prefix), tuple(pattern.pattern.converters))
            for pattern in page.get_urls()
            if pattern.name and pattern.name.startswith(prefix)
        ]
    return found


@pytest.fixture
def rows(worlds):
    """Both tenants' row of every model with a tenant's page."""
    ours, theirs = worlds
    models = [model for model, page in site._registry.items() if isinstance(page, TenantModelAdmin)]
    with without_tenant_scope("test data"):
        return {model: (ours.row_of(model), theirs.row_of(model)) for model in models}


def place(world, who: str) -> tuple[User, Client]:
    """A member of the world's tenant of that kind, signed in."""
    with without_tenant_scope("test data"):
        user = User.objects.create_user(f"ours-as-{who.replace(' ', '-')}")
        member = Member.objects.create(user=user, tenant=world.tenant, role=who if who in Role.values else Role.ADMIN)
        if who == CUSTOM:
            rights = ["jobs.view", "jobs.run"]
            member.custom_role = CustomRole.objects.create(tenant=world.tenant, name="c", permissions=rights)
            member.save()
        if who == LIMITED:
            group = MachineGroup.objects.create(tenant=world.tenant, name="ours-limited")
            MemberGroup.objects.create(member=member, group=group)
            GroupMembership.objects.create(tenant=world.tenant, group=group, machine=world.machine)
    client = Client(raise_request_exception=False)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return user, client


def contents(rows, index):
    """What the database holds of one tenant's rows, to see whether anything changed them."""
    with without_tenant_scope("test"):
        return [list(model.objects.filter(pk=pair[index].pk).values()) for model, pair in rows.items()]


@pytest.mark.parametrize("who", MEMBERS)
def test_members_open_what_their_role_allows_and_never_see_another_tenant(worlds, rows, who):
    user, client = place(worlds[0], who)
    actor = actor_of(user, memberships_of(user), None, None)
    for address in addresses(scoped=True):
        label, url = address.model._meta.label, address.url(rows, 0)
        answer = client.get(url)
        assert answer.status_code < 500, f"{who} {url}"
        assert MARK not in answer.content.decode(), f"{who} sees another tenant on {url}"
        if address.kind == "changelist":
            assert (answer.status_code == 200) == may(actor, "view", label), f"{who} {url}"
        elif address.kind == "add":
            assert answer.status_code == 403 or may(actor, "add", label), f"{who} {url}"
        elif address.about_objects:
            assert answer.status_code in REFUSED or may(actor, "view", label), f"{who} opens {url}"
            refused = client.get(address.url(rows, 1))
            assert refused.status_code in REFUSED, f"{who} opens {address.url(rows, 1)}"
            assert MARK not in without_ids(refused, rows)


def without_ids(answer, rows) -> str:
    """The page without the ids that were asked for, which a refusal repeats."""
    text = answer.content.decode()
    for _, foreign in rows.values():
        text = text.replace(str(foreign.pk), "")
    return text


@pytest.mark.defence
@pytest.mark.parametrize("who", MEMBERS)
def test_nothing_that_members_send_changes_another_tenants_rows(worlds, rows, who):
    _, client = place(worlds[0], who)
    before = contents(rows, 1)
    sent = {"post": "yes", "reason": "x", "name": "x", "tenant": str(worlds[1].tenant.pk)}
    for address in addresses(scoped=True):
        answer = client.post(address.url(rows, 1), sent)
        assert answer.status_code < 500, f"{who} posts to {address.url(rows, 1)}"
        if address.about_objects:
            assert answer.status_code in REFUSED, f"{who} posts to {address.url(rows, 1)}"
    assert contents(rows, 1) == before


@pytest.mark.parametrize("who", [Role.AUDITOR, Role.VIEWER, "staff"])
def test_who_only_looks_changes_nothing_whatever_they_send(worlds, rows, who):
    client = staff({"is_staff": True}) if who == "staff" else place(worlds[0], who)[1]
    before = contents(rows, 0)
    for address in addresses(scoped=True):
        url = address.url(rows, 0)
        assert client.post(url, {"post": "yes", "reason": "x", "name": "x"}).status_code < 500, f"{who} posts to {url}"
    assert contents(rows, 0) == before


def staff(rights) -> Client:
    """Somebody of the platform, signed in."""
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_user("boss", **rights), backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.mark.parametrize("who", MEMBERS)
def test_members_see_no_page_of_the_platform(worlds, who):
    _, client = place(worlds[0], who)
    for address in addresses(scoped=False):
        if not address.takes:
            assert client.get(address.url({}, 0)).status_code == 403, f"{who} {address.url({}, 0)}"


@pytest.mark.parametrize("rights", [{"is_staff": True}, {"is_superuser": True}])
def test_the_platforms_people_open_every_page(worlds, rows, rights):
    client = staff(rights)
    for address in addresses():
        if address.takes and address.model not in rows:
            continue
        url = address.url(rows, 0)
        answer = client.get(url)
        if address.kind == "changelist" and answer.status_code == 302 and answer["Location"].startswith(url):
            answer = client.get(answer["Location"])  # there is only one row, and the list leads to it
        reading = address.kind in {"changelist", "change", "history"}
        assert answer.status_code == 200 or (not reading and answer.status_code < 500), f"{url}: {answer.status_code}"
        if address.kind == "changelist":
            assert client.get(url, {"q": "x", "p": "3"}).status_code in {200, 302}, url


@pytest.mark.parametrize("who", ["stranger", "visitor"])
def test_who_belongs_nowhere_sees_the_sign_in_only(worlds, rows, who):
    client = staff({}) if who == "stranger" else Client(raise_request_exception=False)
    for address in addresses():
        if address.takes and address.model not in rows:
            continue
        url = address.url(rows, 0)
        for answer in (client.get(url), client.post(url, {"post": "yes"})):
            to_the_sign_in = answer.status_code == 302 and answer["Location"].startswith("/admin/login/")
            assert to_the_sign_in or (answer.status_code == 204 and not answer.content), f"{url}: {answer.status_code}"


def test_the_walk_reaches_acts_too():
    kinds = {(address.model._meta.label, address.kind) for address in addresses()}
    assert {
        ("fleet.Machine", "approve"),
        ("fleet.Machine", "decommission"),
        ("fleet.EnrollmentToken", "withdraw"),
    } <= kinds
