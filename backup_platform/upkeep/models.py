"""Upkeep: rounds of reclaim, what they wait for, and who has paused them. Scrub's tables are in scrub_models.py."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager
from backup_platform.vaults.models import Vault


class RoundState(models.TextChoices):
    """Where a round of reclaim stands."""

    MARKING = "marking", "Marking"
    """What no snapshot needs is looked for, and condemned in batches."""
    CONDEMNED = "condemned", "Waiting for sessions"
    """All of it is condemned; sessions that began before may still count on it."""
    REMOVING = "removing", "Removing"
    """Rows are deleted in batches; what is needed again is revived."""
    DONE = "done", "Done"
    STOPPED = "stopped", "Stopped"
    """Something was not as it should be: nothing more was removed, and the fault says what to do."""


UNFINISHED = (RoundState.MARKING, RoundState.CONDEMNED, RoundState.REMOVING)


class ReclaimRound(models.Model):
    """One round of reclaim in a vault. It outlives the workers that carry it on: this row says where it stands."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    vault = models.ForeignKey(Vault, on_delete=models.PROTECT, related_name="reclaim_rounds")
    number = models.PositiveIntegerField(help_text="Of the vault, from 1.")
    state = models.CharField(max_length=16, choices=RoundState.choices, default=RoundState.MARKING)
    started_at = models.DateTimeField(auto_now_add=True)
    condemned_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    position = models.BigIntegerField(default=0, help_text="The chunk number that the phase has come to.")
    end = models.BigIntegerField(default=0, help_text="Chunks from this number on came after the round began.")
    snapshots = models.PositiveIntegerField(default=0, help_text="Snapshots whose needs counted.")
    all_snapshots = models.PositiveIntegerField(default=0, help_text="Rows of snapshots in the vault, in any state.")
    retired = models.PositiveIntegerField(default=0, help_text="Expired snapshots whose needs stopped counting.")
    condemned = models.BigIntegerField(default=0)
    condemned_bytes = models.BigIntegerField(default=0)
    revived = models.BigIntegerField(default=0, help_text="Condemned chunks that were needed, or came, again.")
    removed = models.BigIntegerField(default=0)
    removed_bytes = models.BigIntegerField(default=0)
    packs = models.PositiveIntegerField(default=0, help_text="Packs that nothing names any more.")
    pack_bytes = models.BigIntegerField(default=0)
    sessions = ArrayField(
        models.UUIDField(), default=list, blank=True, help_text="Open when the last chunk was condemned."
    )
    unsettled = ArrayField(models.UUIDField(), default=list, blank=True, help_text="Snapshots that had no bitmap then.")
    waits_for = models.CharField(max_length=300, blank=True, default="")
    fault = models.CharField(max_length=500, blank=True, default="")
    accepted_by = models.CharField(
        max_length=200, blank=True, default="", help_text="Who said that a loss of snapshots is as it should be."
    )

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-started_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["vault", "number"], name="one_reclaim_round_per_number"),
            models.UniqueConstraint(
                fields=["vault"],
                condition=Q(state__in=["marking", "condemned", "removing"]),
                name="one_unfinished_reclaim_round",
            ),
            models.CheckConstraint(condition=Q(state__in=RoundState.values), name="known_reclaim_state"),
        ]

    def __str__(self) -> str:
        return f"round {self.number} of vault {str(self.vault_id)[:8]}"


class ReclaimPause(models.Model):
    """Nothing is condemned, removed, unlinked or compacted while this row is there. Without a tenant: anywhere."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=300, blank=True, default="")
    by = models.CharField(max_length=200)
    by_staff = models.BooleanField(
        default=True, help_text="The platform's people paused it: they alone end it, and its reason is theirs."
    )
    since = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["since"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant"], nulls_distinct=False, name="one_reclaim_pause_per_tenant")
        ]

    def __str__(self) -> str:
        return f"paused by {self.by}"


# Tables of the same app, imported from here by everybody: hence the aliases.
from backup_platform.upkeep.scrub_models import FindingKind as FindingKind  # noqa: E402, PLC0414
from backup_platform.upkeep.scrub_models import FindingState as FindingState  # noqa: E402, PLC0414
from backup_platform.upkeep.scrub_models import HomeParity as HomeParity  # noqa: E402, PLC0414
from backup_platform.upkeep.scrub_models import ScrubFinding as ScrubFinding  # noqa: E402, PLC0414
from backup_platform.upkeep.scrub_models import ScrubMark as ScrubMark  # noqa: E402, PLC0414
from backup_platform.upkeep.scrub_models import ScrubSettings as ScrubSettings  # noqa: E402, PLC0414
