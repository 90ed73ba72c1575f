"""Every registered page stands on our base, opens for those who may, and shows nothing to those who may not."""

from __future__ import annotations

import json

import pytest
from django.contrib import admin
from django.contrib.admin.sites import site
from django.urls import reverse
from unfold.admin import ModelAdmin as UnfoldModelAdmin

import backup_platform.urls  # noqa: F401 (pages are registered with the addresses)
from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Snapshot
from backup_platform.console.model_admin import PlatformModelAdmin, TenantModelAdmin
from backup_platform.console.site import StrongroomSite
from backup_platform.fleet.models import EnrollmentToken, Machine
from backup_platform.tenants.models import Member, User
from backup_platform.tenants.scope import TenantQuerySet, tenant_scope, without_tenant_scope
from tests.admin.conftest import SECRET


def pages(model):
    return f"admin:{model._meta.app_label}_{model._meta.model_name}_"


def registry():
    return sorted(site._registry.items(), key=lambda item: item[0]._meta.label)


def tenant_models():
    return [model for model, page in registry() if isinstance(page, TenantModelAdmin)]


def row_of(model, world):
    with without_tenant_scope("test data"):
        return world.row_of(model)


def test_our_site_is_the_site():
    assert isinstance(admin.site._wrapped if hasattr(admin.site, "_wrapped") else admin.site, StrongroomSite)


@pytest.mark.parametrize(("model", "page"), registry(), ids=lambda item: getattr(item, "__name__", ""))
def test_every_page_stands_on_our_base(model, page):
    assert isinstance(page, UnfoldModelAdmin)
    scoped = isinstance(model._default_manager.all(), TenantQuerySet)
    assert isinstance(page, TenantModelAdmin if scoped else PlatformModelAdmin)
    for inline in page.inlines:
        pytest.fail(f"{inline} needs a rule of its own")


@pytest.mark.defence
def test_a_tenants_page_over_rows_that_nothing_narrows_refuses_to_list_them(rf, worlds):
    """A page that was given the wrong base fails at once, instead of showing every tenant's rows."""
    ours, _ = worlds
    with tenant_scope(ours.tenant), pytest.raises(TypeError, match="no tenant scope"):
        TenantModelAdmin(User, site).get_queryset(rf.get("/"))


def test_autocompletion_offers_own_rows_only(member, boss, worlds):
    asked = {"app_label": "catalog", "model_name": "snapshot", "field_name": "machine", "term": ""}
    offered = json.loads(member.get(reverse("admin:autocomplete"), asked).content)["results"]
    assert [item["text"] for item in offered] == ["ours-machine"]
    everybody = json.loads(boss.get(reverse("admin:autocomplete"), asked).content)["results"]
    assert len(everybody) == 2
    users = {"app_label": "tenants", "model_name": "member", "field_name": "user", "term": ""}
    assert member.get(reverse("admin:autocomplete"), users).status_code == 403


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        (EnrollmentToken, "token_hash__startswith"),
        (EnrollmentToken, "blob__contains"),
        (Machine, "identity_key__startswith"),
        (Machine, "vault__record__startswith"),
        (Member, "user__password__startswith"),
        (Member, "tenant__vaults__name"),
        (Snapshot, "machine__reading_key__startswith"),
        (User, "password__startswith"),
        (Entry, "digest__startswith"),
    ],
)
def test_addresses_cannot_ask_about_columns_that_no_page_shows(boss, worlds, model, lookup):
    answer = boss.get(reverse(pages(model) + "changelist"), {lookup: "a"})
    assert answer.status_code == 400 or answer["Location"].endswith("e=1")


def test_filters_that_a_page_offers_work(member, worlds):
    ours, theirs = worlds
    address = reverse(pages(Snapshot) + "changelist")
    shown = member.get(address, {"machine__id__exact": str(ours.machine.pk), "state__exact": "received"})
    assert "ours-machine" in shown.content.decode()
    hidden = member.get(address, {"machine__id__exact": str(theirs.machine.pk)}, follow=True)
    assert "theirs" not in hidden.content.decode()


def test_keys_blobs_and_token_hashes_are_on_no_page(boss, worlds):
    for world in worlds:
        for row in world.rows():
            answer = boss.get(reverse(pages(type(row)) + "change", args=[row.pk]), follow=True)
            assert SECRET.decode() not in answer.content.decode()
            assert bytes(world.token.token_hash).hex() not in answer.content.decode()


def test_what_a_machine_says_of_itself_cannot_run_as_script(boss, worlds):
    page = boss.get(reverse(pages(Machine) + "change", args=[worlds[0].machine.pk])).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_lists_do_not_count_whole_tables(boss, worlds, django_assert_max_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for model in tenant_models():
        with CaptureQueriesContext(connection) as queries:
            boss.get(reverse(pages(model) + "changelist"))
        counts = [query["sql"] for query in queries if "COUNT(" in query["sql"] and "catalog_" in query["sql"]]
        assert counts == [], model
        assert len(queries) < 25, model


@pytest.mark.parametrize("model", [Machine, EnrollmentToken, Snapshot, Entry])
def test_what_agents_and_workers_write_cannot_be_edited(boss, worlds, model):
    row = row_of(model, worlds[0])
    assert boss.post(reverse(pages(model) + "change", args=[row.pk]), {"name": "x"}).status_code == 403
    assert boss.post(reverse(pages(model) + "delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    if model is not EnrollmentToken:
        assert boss.post(reverse(pages(model) + "add"), {}).status_code == 403
