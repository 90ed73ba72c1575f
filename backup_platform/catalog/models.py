"""What is stored: packs, sessions, snapshots. Chunks have tables of their own, laid out by hand (chunk_index.py)."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from backup_platform.fleet.models import Machine
from backup_platform.policies.models import Policy
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager
from backup_platform.vaults.models import Vault


class SessionState(models.TextChoices):
    """Where a session stands. For law 3 it is open until *ended* (its snapshot's bitmap is stored) or *abandoned*."""

    OPEN = "open", "Open"
    COMMITTED = "committed", "Committed"
    ENDED = "ended", "Ended"
    ABANDONED = "abandoned", "Abandoned"


LAW_3_OPEN = (SessionState.OPEN, SessionState.COMMITTED)
"""While a session is in one of these, nothing that was condemned after its begin is removed."""


class Session(models.Model):
    """One machine's unfinished backup on the server."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    vault = models.ForeignKey(Vault, on_delete=models.PROTECT, related_name="sessions")
    machine = models.ForeignKey(Machine, on_delete=models.PROTECT, related_name="sessions")
    fence = models.BigIntegerField(
        default=1, help_text="Raised by each begin; guards every acknowledgement and commit."
    )
    state = models.CharField(max_length=16, choices=SessionState.choices, default=SessionState.OPEN)
    generation = models.BigIntegerField(help_text="The vault's catalogue generation at begin.")
    gateway = models.CharField(max_length=64, help_text="The spool of the gateway that holds it.")
    begun_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(auto_now_add=True)
    lease_until = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-begun_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["machine"], condition=models.Q(state="open"), name="one_open_session_per_machine"
            ),
            models.CheckConstraint(condition=models.Q(state__in=SessionState.values), name="known_session_state"),
        ]
        indexes: ClassVar = [models.Index(fields=["state", "last_seen_at"], name="session_state_seen")]

    def __str__(self) -> str:
        return self.id.hex[:12]


class PackState(models.TextChoices):
    """Where a pack stands."""

    OPEN = "open", "Open"
    SEALED = "sealed", "Sealed"
    VERIFIED = "verified", "Verified"
    DAMAGED = "damaged", "Damaged"


class PackPlace(models.TextChoices):
    """Where a pack's file is."""

    SPOOL = "spool", "Spool"
    TARGET = "target", "Target"
    """The home directory of this installation."""
    REMOTE = "remote", "Other targets only"
    """No file here: its copies tell where it is."""
    GONE = "gone", "Reclaimed"
    """Removed, because nothing needed it: only its row is left."""
    LOST = "lost", "Lost"


class Pack(models.Model):
    """An immutable file of many sealed chunks."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    uid = models.UUIDField(unique=True, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    vault = models.ForeignKey(Vault, on_delete=models.PROTECT, related_name="packs")
    session = models.ForeignKey(Session, on_delete=models.SET_NULL, null=True, blank=True, related_name="packs")
    machine = models.ForeignKey(Machine, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    spool = models.CharField(max_length=64, help_text="The gateway spool that it arrived in.")
    place = models.CharField(max_length=16, choices=PackPlace.choices, default=PackPlace.SPOOL)
    path = models.CharField(max_length=300, help_text="Under the spools' directory, or the key in the target.")
    state = models.CharField(max_length=16, choices=PackState.choices, default=PackState.OPEN)
    records = models.IntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    digest = models.BinaryField(max_length=32, default=b"", help_text="BLAKE3 of the whole file, once sealed.")
    sha256 = models.BinaryField(max_length=32, default=b"", help_text="Of the whole file, since its first copy to S3.")
    fault = models.CharField(max_length=500, blank=True, default="")
    opened_at = models.DateTimeField(auto_now_add=True)
    sealed_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    deduplicated_at = models.DateTimeField(null=True, blank=True)
    scrubbed_at = models.DateTimeField(null=True, blank=True, help_text="When it was last read as a whole and matched.")
    unlink_at = models.DateTimeField(
        null=True, blank=True, help_text="Nothing names it any more: its files go after this."
    )
    replaced_by = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+",
        help_text="The pack that compaction moved its records to.",
    )  # fmt: skip
    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(state__in=PackState.values), name="known_pack_state"),
            models.CheckConstraint(condition=models.Q(place__in=PackPlace.values), name="known_pack_place"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["session", "state"], name="pack_session_state"),
            models.Index(fields=["vault", "state"], name="pack_vault_state"),
            models.Index(fields=["spool", "state"], name="pack_spool_state"),
            models.Index(fields=["scrubbed_at"], name="pack_scrubbed"),
            models.Index(fields=["unlink_at"], condition=models.Q(unlink_at__isnull=False), name="pack_unlink"),
        ]

    def __str__(self) -> str:
        return self.uid.hex[:12]


class SnapshotState(models.TextChoices):
    """What is known of a snapshot. Only *verified* counts as good."""

    RECEIVED = "received", "Received"
    VERIFIED = "verified", "Verified"
    DAMAGED = "damaged", "Damaged"
    EXPIRED = "expired", "Expired"
    RECLAIMED = "reclaimed", "Reclaimed"
    """What it alone needed may be gone; only its statement and what was counted is left."""


class Snapshot(models.Model):
    """The state of a machine's sources at one time; always complete in itself."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, editable=False, help_text="The first 16 bytes of its statement's digest.")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    vault = models.ForeignKey(Vault, on_delete=models.PROTECT, related_name="snapshots")
    machine = models.ForeignKey(Machine, on_delete=models.PROTECT, related_name="snapshots")
    session = models.ForeignKey(Session, on_delete=models.SET_NULL, null=True, blank=True, related_name="snapshots")
    sequence = models.BigIntegerField()
    state = models.CharField(max_length=16, choices=SnapshotState.choices, default=SnapshotState.RECEIVED)
    statement = models.BinaryField()
    statement_digest = models.BinaryField(max_length=32, unique=True)
    root_hash = models.BinaryField(max_length=32)
    root_bytes = models.IntegerField()
    recipients = models.BinaryField(help_text="The root's recipient records, joined.")
    blocks = models.BinaryField(help_text="The ids of its reference blocks, joined, in manifest order.")
    machine_time = models.DateTimeField()
    received_at = models.DateTimeField()
    verified_at = models.DateTimeField(null=True, blank=True)
    proven_at = models.DateTimeField(null=True, blank=True, help_text="When a drill or check last opened a part of it.")
    expired_at = models.DateTimeField(null=True, blank=True)
    expired_because = models.CharField(max_length=300, blank=True, default="")
    state_before = models.CharField(max_length=16, blank=True, default="", help_text="What undelete gives it back.")
    objects_gone_at = models.DateTimeField(
        null=True, blank=True, help_text="When the root of a reclaimed one was removed from every target."
    )
    policy = models.ForeignKey(Policy, on_delete=models.SET_NULL, null=True, blank=True, related_name="snapshots")
    tags = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    statistics = models.JSONField(default=dict)
    bitmap = models.BinaryField(null=True, blank=True, help_text="Roaring bitmap of the chunk numbers it needs.")
    cardinality = models.BigIntegerField(null=True, blank=True)
    stored_bytes = models.BigIntegerField(null=True, blank=True, help_text="Sealed bytes of all that it needs.")
    fault = models.CharField(max_length=500, blank=True, default="")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-received_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["machine", "sequence"], name="one_snapshot_per_sequence"),
            models.CheckConstraint(condition=models.Q(state__in=SnapshotState.values), name="known_snapshot_state"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-received_at"], name="snapshot_tenant_received"),
            models.Index(fields=["vault", "state"], name="snapshot_vault_state"),
            models.Index(fields=["machine", "-received_at"], name="snapshot_machine_received"),
            models.Index(
                fields=["machine", "policy", "-proven_at"],
                condition=models.Q(proven_at__isnull=False),
                name="snapshot_proven",
            ),
            models.Index(
                fields=["vault"],
                condition=models.Q(state="reclaimed", objects_gone_at__isnull=True),
                name="snapshot_leaving",
            ),
        ]

    def __str__(self) -> str:
        return self.id.hex[:12]


class Wanted(models.Model):
    """A damaged or lost chunk that a machine is asked to send again."""

    tenant_path = "vault__tenant"

    id = models.BigAutoField(primary_key=True)
    vault = models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="+")
    machine = models.ForeignKey(Machine, on_delete=models.CASCADE, related_name="wanted")
    chunk_id = models.BinaryField(max_length=32)
    since = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["vault", "chunk_id", "machine"], name="wanted_once_per_machine")
        ]

    def __str__(self) -> str:
        return bytes(self.chunk_id).hex()[:12]


# They refer to these models, and are imported from here by everybody: hence the aliases.
from backup_platform.catalog.copy_models import Copy as Copy  # noqa: E402, PLC0414
from backup_platform.catalog.copy_models import CopyState as CopyState  # noqa: E402, PLC0414
from backup_platform.catalog.copy_models import SnapshotCopy as SnapshotCopy  # noqa: E402, PLC0414
from backup_platform.catalog.publication_models import Publication as Publication  # noqa: E402, PLC0414
