"""Whether a rebuild may begin: only in a database that knows of nothing, or goes on with the one it began."""

from __future__ import annotations

from django.db import transaction

from backup_platform.audit.models import Entry
from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.models import Pack, Session, Snapshot
from backup_platform.fleet.models import Machine
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.vaults.models import Vault

from .errors import RebuildRefused
from .report import Report
from .source import Source

RESTORED = "platform.restored"
"""The platform came back from its own backup: what a store has beyond that is added to it."""

BEGUN, ENDED = "catalogue.rebuild_begun", "catalogue.rebuild_ended"
KNOWN = (Tenant, Vault, Machine, Pack, Snapshot, Session)


def check_may_begin(source: Source) -> bool:
    """True when an unfinished rebuild from the same store goes on. RebuildRefused when the database is not empty."""
    with without_tenant_scope("a rebuild asks whether the whole database is empty"):
        marks = Entry.objects.filter(tenant__isnull=True, verb__in=[BEGUN, ENDED, RESTORED])
        newest = marks.order_by("-id").first()
        if newest is not None and newest.verb == BEGUN and newest.object == f"target:{source.target.pk}":
            return True
        if newest is not None and newest.verb == RESTORED:
            return False
        counts = {model._meta.verbose_name_plural: model.objects.count() for model in KNOWN}
    found = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if not found:
        return False
    raise RebuildRefused(
        f"The database is not empty: it knows of {found}. A catalogue is rebuilt into an empty one only, so that "
        "nothing that is known is mixed with what a store says. Start a new installation for it (another "
        "STRONGROOM_HOME)."
    )


def note_begun(source: Source, actor: str) -> None:
    """Write down that a rebuild began: what is in the database from now on is its own."""
    with transaction.atomic():
        record_audit(BEGUN, actor=actor, object=f"target:{source.target.pk}", store=source.target.name)


def note_ended(source: Source, actor: str, report: Report) -> None:
    """Write down what came of it."""
    with transaction.atomic():
        record_audit(
            ENDED,
            actor=actor,
            object=f"target:{source.target.pk}",
            store=source.target.name,
            made=dict(report.made),
            damage=len(report.damage) + report.unnamed,
        )
