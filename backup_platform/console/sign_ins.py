"""Who signed in and out, in the platform's audit. Failed attempts are kept, bounded, by axes."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.signals import user_logged_in, user_logged_out

from backup_platform.audit.services import record as record_audit
from backup_platform.tenants.second_factor import factor_of

URGE = (
    "Your password alone opens every tenant. Turn on a second factor: open the menu at your name, choose Second factor."
)


def connect() -> None:
    """Listen from the start of the process."""
    user_logged_in.connect(_note_sign_in, dispatch_uid="console.signed_in")
    user_logged_out.connect(_note_sign_out, dispatch_uid="console.signed_out")


def _note_sign_in(*, request: Any, user: Any, **_: Any) -> None:
    _note("user.signed_in", request, user)
    if user.is_superuser and request is not None and hasattr(request, "_messages") and factor_of(user) is None:
        messages.warning(request, URGE)


def _note_sign_out(*, request: Any, user: Any, **_: Any) -> None:
    if user is not None:
        _note("user.signed_out", request, user)


def _note(verb: str, request: Any, user: Any) -> None:
    address = request.META.get("REMOTE_ADDR", "") if request is not None else ""
    record_audit(verb, actor=f"user {user.get_username()}", object=f"user:{user.pk}", address=address)
