"""Tenants, the people who work for them, and what they are there."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models

from backup_platform.tenants.scope import TenantManager


class Tenant(models.Model):
    """A customer or department; nothing is shared between tenants, dedup included."""

    tenant_path = "pk"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(
        max_length=63,
        unique=True,
        validators=[RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$", "Use letters, digits, spaces, dots, - and _.")],
    )
    created_at = models.DateTimeField(auto_now_add=True)
    requires_totp = models.BooleanField(
        "asks for a second factor",
        default=False,
        help_text="Members without a second factor can do nothing here but set one up.",
    )
    quota_bytes = models.BigIntegerField(
        "quota of stored data", null=True, blank=True, help_text="Bytes of sealed packs. Empty: no limit."
    )
    quota_machines = models.PositiveIntegerField(
        "quota of machines", null=True, blank=True, help_text="Enrolled at the same time. Empty: no limit."
    )

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(quota_bytes__isnull=True) | models.Q(quota_bytes__gt=0), name="quota_of_bytes"
            )
        ]

    def __str__(self) -> str:
        return self.name


class User(AbstractUser):
    """A person who may sign in; what they may do in a tenant is their Member's role there."""

    must_change_password = models.BooleanField(
        default=False, help_text="Nothing but changing the password is allowed until it is done."
    )


class Role(models.TextChoices):
    """The built-in roles. Platform staff is a right of the platform (User.is_staff), not a tenant's role."""

    ADMIN = "admin", "Tenant admin"
    OPERATOR = "operator", "Operator"
    RESTORE_OPERATOR = "restore_operator", "Restore operator"
    AUDITOR = "auditor", "Auditor"
    VIEWER = "viewer", "Viewer"


class CustomRole(models.Model):
    """A role that a tenant made itself: a named set of permissions (permissions.py says which there are)."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="custom_roles")
    name = models.CharField(max_length=60)
    permissions = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["name"]
        verbose_name = "custom role"
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "name"], name="one_role_name_per_tenant")]

    def __str__(self) -> str:
        return self.name


class Member(models.Model):
    """A user's place in a tenant."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="members")
    role = models.CharField(max_length=32, choices=Role.choices, default=Role.VIEWER)
    custom_role = models.ForeignKey(
        CustomRole,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="members",
        help_text="Takes the place of the built-in role.",
    )
    groups = models.ManyToManyField(
        "fleet.MachineGroup",
        through="MemberGroup",
        related_name="+",
        blank=True,
        help_text="Sees and touches the machines of these groups only; none chosen: all machines.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [models.UniqueConstraint(fields=["user", "tenant"], name="one_membership_per_tenant")]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.tenant_id}: {self.get_role_display()}"


class MemberGroup(models.Model):
    """A machine group that a member is limited to."""

    tenant_path = "member__tenant"

    id = models.BigAutoField(primary_key=True)
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="limits")
    group = models.ForeignKey("fleet.MachineGroup", on_delete=models.PROTECT, related_name="+")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [models.UniqueConstraint(fields=["member", "group"], name="one_limit_per_group")]

    def __str__(self) -> str:
        return f"{self.member_id} limited to {self.group_id}"
