"""Reading the audit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope

from .chain import Break, find_break
from .models import Entry

PLATFORM = "the platform"
BATCH = 2000


@dataclass(frozen=True)
class ChainReport:
    """What checking one chain found. `head` is the digest of its newest line: written down elsewhere, it shows a
    chain that was cut short, which a chain alone cannot show."""

    owner: str
    lines: int
    head: bytes
    broken: Break | None


def chain_of(tenant_id: UUID | None) -> QuerySet[Entry]:
    """The lines of a tenant's chain, or of the platform's own for None."""
    if tenant_id is None:
        return Entry.objects.filter(tenant__isnull=True)
    return Entry.objects.filter(tenant_id=tenant_id)


def check_chains() -> Iterator[ChainReport]:
    """Check the platform's chain and every tenant's, one after the other."""
    with without_tenant_scope("every audit chain is checked"):
        yield _check_chain(PLATFORM, None)
        for tenant in Tenant.objects.order_by("name").iterator(chunk_size=BATCH):
            yield _check_chain(f"tenant {tenant.name}", tenant.pk)


def _check_chain(owner: str, tenant_id: UUID | None) -> ChainReport:
    lines = chain_of(tenant_id).order_by("id")
    broken = find_break(lines.iterator(chunk_size=BATCH))
    newest = lines.last()
    return ChainReport(owner, lines.count(), bytes(newest.digest) if newest else b"", broken)
