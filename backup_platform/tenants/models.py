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

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["name"]

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


class Member(models.Model):
    """A user's place in a tenant."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="members")
    role = models.CharField(max_length=32, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [models.UniqueConstraint(fields=["user", "tenant"], name="one_membership_per_tenant")]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.tenant_id}: {self.get_role_display()}"
