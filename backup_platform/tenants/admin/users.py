"""Pages of the people who may sign in, for the platform's own staff."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db import transaction
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from backup_platform.audit.services import record as record_audit
from backup_platform.console import showing
from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.model_admin import PlatformModelAdmin
from backup_platform.tenants.models import User
from backup_platform.tenants.second_factor import factor_of, reset_factor

HTTP_FOUND = 302


def person(request):
    """How the audit names whoever is signed in."""
    return f"user {request.user.get_username()}"


@admin.register(User)
class UserAdmin(AskingAdmin, PlatformModelAdmin, DjangoUserAdmin):
    """People who may sign in. What they may do in a tenant is their membership there."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    allowed = frozenset({"view", "add", "change"})
    list_display = ["username", "email", "is_active", "is_superuser", "is_staff", "last_login_shown"]
    list_filter = ["is_active", "is_superuser", "is_staff"]
    search_fields = ["username", "email", "first_name", "last_name"]
    filter_horizontal = ()
    readonly_fields = ["last_login", "date_joined"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        (
            "Rights on the platform",
            {
                "fields": ["is_active", "is_staff", "is_superuser", "must_change_password"],
                "description": "Staff look at every tenant; superusers also act. Members of a tenant need neither.",
            },
        ),
        ("Times", {"fields": ["last_login", "date_joined"]}),
    ]

    actions_detail = ["reset_factor"]

    def has_reset_permission(self, request, object_id=None):
        """Superusers, where there is a factor to remove."""
        on_its_page = object_id is not None and request.resolver_match.url_name.endswith("_change")
        fits = not on_its_page or factor_of(User(pk=object_id)) is not None
        return self.may(request, "change") and fits

    @action(description="Remove second factor", icon="phonelink_erase", variant=ActionVariant.DANGER,
            permissions=["reset"])  # fmt: skip
    def reset_factor(self, request, object_id):
        """For who lost the phone and the recovery codes."""

        def question(user):
            name = user.get_username()
            text = (f"Make sure that it is {name} who asks: from then on the password alone signs in as {name}, until "
                    "a new second factor is set up.")  # fmt: skip
            return Question(f"Remove the second factor of {name}?", (text,), "Remove it")

        def act(user, _reason):
            removed = reset_factor(user, by=person(request))
            return "The second factor was removed." if removed else "There was none."

        return self.ask_or_act(request, object_id, self.may(request, "change"), question, act)

    def get_form(self, request, obj=None, change=False, **kwargs):
        """Django's form, with what the two rights mean here."""
        helps = {
            "is_staff": "Looks at every tenant. Members of a tenant do not need this to sign in.",
            "is_superuser": "Also acts: makes tenants and users, revokes machines.",
        }
        return super().get_form(request, obj, change=change, help_texts=helps, **kwargs)

    # Whoever is given a password by somebody else changes it at the first sign-in.
    add_fieldsets = [(None, {"fields": ["username", "email", "password1", "password2"]})]

    def user_change_password(self, request, id, form_url=""):  # noqa: A002 - Django's name for it
        """Django's page, with a line in the audit when it set a password."""
        with transaction.atomic():
            answer = super().user_change_password(request, id, form_url)
            if request.method == "POST" and answer.status_code == HTTP_FOUND:
                self._note_password(request, id)
        return answer

    def _note_password(self, request, user_id):
        user = User.objects.get(pk=user_id)
        if user != request.user:
            user.must_change_password = True
            user.save(update_fields=["must_change_password"])
        record_audit("user.password_set", actor=person(request), object=f"user:{user.pk}", name=user.get_username())

    def save_model(self, request, obj, form, change):
        """Save, with a line in the platform's audit: who may sign in is security-relevant."""
        with transaction.atomic():
            obj.must_change_password = obj.must_change_password or not change
            super().save_model(request, obj, form, change)
            record_audit(
                "user.changed" if change else "user.added",
                actor=person(request),
                object=f"user:{obj.pk}",
                name=obj.get_username(),
                fields=sorted(form.changed_data) if change else [],
            )

    @display(description="Last sign-in", ordering="last_login")
    def last_login_shown(self, user):
        return showing.moment(user.last_login)
