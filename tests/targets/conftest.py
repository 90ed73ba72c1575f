"""Tenants, and targets as people describe them."""

from __future__ import annotations

import pytest

from backup_platform.targets.models import Target, TargetKind
from backup_platform.targets.services import Credentials
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from tests.s3_server import ACCESS_KEY, SECRET_KEY

KEYS = Credentials(ACCESS_KEY, SECRET_KEY)


@pytest.fixture
def tenant(db) -> Tenant:
    with without_tenant_scope("test data"):
        return Tenant.objects.create(name="ours")


@pytest.fixture
def other(db) -> Tenant:
    with without_tenant_scope("test data"):
        return Tenant.objects.create(name="theirs")


def bucket_of(tenant=None, **fields) -> Target:
    """A bucket's row, not kept yet. Its endpoint is a public address, so that nothing is looked up."""
    values = {
        "name": "cloud",
        "kind": TargetKind.S3,
        "endpoint": "https://93.184.215.14",
        "bucket": "our-bucket",
    } | fields
    return Target(tenant=tenant, **values)


def kept(target: Target) -> Target:
    """The row as it is in the database now."""
    with without_tenant_scope("tests"):
        return Target.objects.get(pk=target.pk)
