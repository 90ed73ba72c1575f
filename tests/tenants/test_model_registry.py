"""No model of ours can forget the scope: this walks all of them."""

from __future__ import annotations

from django.apps import apps
from django.db.models import ForeignKey

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantQuerySet

# Nothing in these says anything about a tenant.
PLATFORM_MODELS = {"fleet.GatewayBeat", "tenants.User", "jobs.WorkerBeat"}


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
