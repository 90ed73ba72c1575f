"""No model of ours can forget the scope: this walks all of them."""

from __future__ import annotations

from django.apps import apps
from django.db.models import ForeignKey

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantQuerySet

# Nothing in these says anything about a tenant.
PLATFORM_MODELS = {
    "fleet.GatewayBeat",
    "jobs.QueueBeat",
    "jobs.WorkerBeat",
    "notifications.Turn",
    "retention.ClockWatch",
    "upkeep.ScrubSettings",
    "tenants.User",
}


def our_models():
    return [model for model in apps.get_models() if model.__module__.startswith("backup_platform.")]


def test_every_model_is_scoped_by_default_and_base_manager():
    unscoped = {
        model._meta.label
        for model in our_models()
        if not isinstance(model._default_manager.all(), TenantQuerySet)
        or not isinstance(model._base_manager.all(), TenantQuerySet)
    }
    assert unscoped == PLATFORM_MODELS


def test_every_models_path_ends_at_the_tenant():
    for model in our_models():
        if model._meta.label in PLATFORM_MODELS:
            continue
        here = model
        for step in model.tenant_path.split("__"):
            if step == "pk":
                break
            field = here._meta.get_field(step)
            assert isinstance(field, ForeignKey), model
            here = field.related_model
        assert here is Tenant, model


# Nothing in these belongs to a machine, so members who are limited to machine groups do not see them at all. A model
# that is neither here nor in rules.py must be thought about.
CLOSED_TO_LIMITED = {
    "audit.Entry",
    "catalog.Pack",
    "policies.Assignment",
    "retention.Hold",
    "tenants.CustomRole",
    "tenants.Member",
    "tenants.MemberGroup",
    "upkeep.ScrubFinding",
}


def test_what_limited_members_see_was_decided_for_every_model_with_a_page():
    from django.contrib.admin.sites import site

    import backup_platform.urls  # noqa: F401 (pages are registered with the addresses)
    from backup_platform.tenants import rules

    decided = rules.MACHINE_PATHS | rules.GROUP_PATHS | rules.REVERSE_PATHS | dict.fromkeys(rules.SEEN_WHOLE)
    for model in our_models():
        label = model._meta.label
        machine_fields = [field.name for field in model._meta.get_fields() if isinstance(field, ForeignKey)
                          and field.related_model._meta.label == "fleet.Machine"]  # fmt: skip
        if model in site._registry and machine_fields:
            assert label in decided or label in CLOSED_TO_LIMITED, f"{label} has {machine_fields}: see tenants/rules.py"
