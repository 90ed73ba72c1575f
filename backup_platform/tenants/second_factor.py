"""A second factor: one-time passwords by time (TOTP), and recovery codes for the day the phone is gone.

django-allauth keeps the rows and does the arithmetic. Ours: each code counts once, tries are few whatever the password
is worth, secrets are sealed at rest, and every change is audited.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.mfa.utils import decrypt
from django.db import transaction

from backup_platform.audit.services import record as record_audit

from .errors import CodeRefused, PlaceRefused
from .models import Tenant, User
from .queries import memberships_of

TRIES = 8
PAUSE = timedelta(minutes=15)
"""After so many wrong codes none is looked at for so long: a thief of the password gets some 800 guesses a day at a
million codes, and the audit fills with them."""
WRONG = "This code is not right, or was used before. Take the newest one that your app shows."
PAUSED = "Too many wrong codes: wait a quarter of an hour. If it was not you who tried them, change your password."

new_secret = generate_totp_secret


def factor_of(user: User) -> Authenticator | None:
    """The person's TOTP row; None without a second factor."""
    found: Authenticator | None = Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).first()
    return found


def enable_factor(user: User, secret: str, code: str) -> list[str]:
    """Turn the second factor on, once a code shows that the app knows the secret. Returns the recovery codes, which are
    shown once. Raises `CodeRefused`, `PlaceRefused`."""
    counter = _matching_counter(secret, code, after=-1) if secret else None
    if counter is None:
        raise CodeRefused(WRONG)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        if factor_of(user) is not None:
            raise PlaceRefused("You have a second factor already. Remove it first.")
        row = TOTP.activate(user, secret).instance
        row.data = {**row.data, "last_counter": counter}
        row.save(update_fields=["data"])
        codes = _fresh_recovery_codes(user)
        _note("user.second_factor_enabled", user, _name(user))
    return codes


def check_code(user: User, code: str) -> None:
    """Take a one-time password or a recovery code; each counts once. Raises `CodeRefused`."""
    with transaction.atomic():
        row = Authenticator.objects.select_for_update().get(user=user, type=Authenticator.Type.TOTP)
        verdict = _judge(row, user, code)
    if verdict:
        raise CodeRefused(verdict)


def _judge(row: Authenticator, user: User, code: str) -> str:
    """The complaint, or nothing; what it changes is committed either way."""
    now = int(time.time())
    if _is_paused(row, now):
        return PAUSED
    counter = _matching_counter(decrypt(row.data["secret"]), code, after=row.data.get("last_counter", -1))
    if counter is not None:
        row.data = {**row.data, "last_counter": counter, "failures": 0}
        row.record_usage()
        row.save(update_fields=["data"])
        return ""
    if _spend_recovery_code(user, code):
        row.data = {**row.data, "failures": 0}
        row.save(update_fields=["data"])
        return ""
    failures = 1 if now - row.data.get("failed_at", 0) > PAUSE.total_seconds() else row.data.get("failures", 0) + 1
    row.data = {**row.data, "failures": failures, "failed_at": now}
    row.save(update_fields=["data"])
    _note("user.second_factor_failed", user, _name(user), failures=failures)
    return WRONG


def _is_paused(row: Authenticator, now: int) -> bool:
    recent = now - int(row.data.get("failed_at", 0)) <= PAUSE.total_seconds()
    return bool(recent and row.data.get("failures", 0) >= TRIES)


def _matching_counter(secret: str, code: str, *, after: int) -> int | None:
    """The time step whose code this is; one that is not later than a used one does not count."""
    now: list[int] = [step + shift for step in yield_hotp_counters_from_time() for shift in (0, -1)]
    for counter in sorted(set(now)):
        if counter > after and compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, counter))):
            return counter
    return None


def _spend_recovery_code(user: User, code: str) -> bool:
    row = Authenticator.objects.filter(user=user, type=Authenticator.Type.RECOVERY_CODES).first()
    if row is None or not RecoveryCodes(row).validate_code(code):
        return False
    _note("user.recovery_code_used", user, _name(user))
    return True


def renew_recovery_codes(user: User, code: str) -> list[str]:
    """New recovery codes in the place of the old ones. Raises `CodeRefused`."""
    check_code(user, code)
    with transaction.atomic():
        codes = _fresh_recovery_codes(user)
        _note("user.recovery_codes_made", user, _name(user))
    return codes


def disable_factor(user: User, code: str) -> None:
    """Turn one's own second factor off. Raises `CodeRefused`, and `PlaceRefused` where a tenant asks for it."""
    asking = [member.tenant.name for member in memberships_of(user) if member.tenant.requires_totp]
    if asking:
        raise PlaceRefused(f"{asking[0]} asks its members for a second factor. It can be changed, not turned off.")
    check_code(user, code)
    _remove(user, _name(user))


def reset_factor(user: User, *, by: str) -> bool:
    """Remove somebody's second factor for them: the phone and the recovery codes are gone. False without one."""
    return _remove(user, by)


def _remove(user: User, actor: str) -> bool:
    with transaction.atomic():
        removed, _ = Authenticator.objects.filter(user=user).delete()
        if removed:
            _note("user.second_factor_removed", user, actor)
    return bool(removed)


def must_set_up(user: User, tenant: Tenant | None, *, is_staff: bool) -> bool:
    """Whether the tenant asks this member for a second factor that they do not have."""
    return bool(tenant and tenant.requires_totp and not is_staff and factor_of(user) is None)


def _fresh_recovery_codes(user: User) -> list[str]:
    Authenticator.objects.filter(user=user, type=Authenticator.Type.RECOVERY_CODES).delete()
    return [str(code) for code in RecoveryCodes.activate(user).get_unused_codes()]


def _name(user: User) -> str:
    return f"user {user.get_username()}"


def _note(verb: str, user: User, actor: str, **detail: Any) -> None:
    record_audit(verb, actor=actor, object=f"user:{user.pk}", name=user.get_username(), **detail)
