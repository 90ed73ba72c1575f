"""A tenant's administrator adds a person who had no account: the account, a one-time password, and a place."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from backup_platform.audit.services import record as record_audit

from .access import Actor
from .errors import PlaceRefused
from .models import CustomRole, Member, Role, Tenant, User
from .people import place_member

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without letters and digits that look alike."""


@dataclass(frozen=True)
class Invited:
    """A new member and the password that is shown once and must be changed at the first sign-in."""

    member: Member
    password: str


def invite(
    by: Actor,
    tenant: Tenant,
    username: str,
    email: str,
    *,
    role: Role = Role.VIEWER,
    custom_role: CustomRole | None = None,
    groups: Iterable[Any] = (),
) -> Invited:
    """Make an account with a one-time password and give it a place. Raises as `place_member` does.

    Names of accounts are the platform's, not a tenant's: a name that is taken is refused, whoever has it, and the
    person who has it is not touched. Platform staff give people with an account a place in a second tenant.
    """
    password = "-".join("".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(4))
    with transaction.atomic():
        user = _make_user(username.strip(), email.strip(), password)
        member = place_member(by, tenant, user, role=role, custom_role=custom_role, groups=groups)
        record_audit("user.added", actor=by.name, object=f"user:{user.pk}", name=user.get_username(), fields=[])
    return Invited(member, password)


def _make_user(username: str, email: str, password: str) -> User:
    user = User(username=username, email=email, must_change_password=True)
    user.set_password(password)
    try:
        if email:
            validate_email(email)
        user.clean_fields(exclude=["password"])
        with transaction.atomic():
            user.save(force_insert=True)
    except ValidationError as fault:
        raise PlaceRefused(" ".join(fault.messages)) from None
    except IntegrityError:
        raise PlaceRefused(f"The name {username} is taken. Choose another one, such as name.company.") from None
    return user
