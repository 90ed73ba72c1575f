"""Forms of the console's own pages."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction
from unfold.forms import AdminOwnPasswordChangeForm, AuthenticationForm

from backup_platform.audit.services import record as record_audit


class SignInForm(AuthenticationForm):
    """Signing in, for members of tenants as well as for staff: what one may see is asked later, of the actor."""

    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        """Active people may sign in; Django's admin would ask for staff."""
        if not user.is_active:
            raise self.get_invalid_login_error()


class OwnPasswordForm(AdminOwnPasswordChangeForm):
    """Changing one's own password; the new one must really be new, and a one-time password is then history."""

    def clean_new_password1(self) -> str:
        """The new password, which is not the old one again."""
        password = str(self.cleaned_data.get("new_password1", ""))
        if self.user.check_password(password):
            raise ValidationError("This is the password that you have now. Choose a new one.")
        return password

    def save(self, commit: bool = True) -> Any:
        """Store the password and note in the audit that it was changed."""
        with transaction.atomic():
            self.user.must_change_password = False
            user = super().save(commit)
            record_audit("user.password_changed", actor=f"user {user.get_username()}", object=f"user:{user.pk}")
        return user
