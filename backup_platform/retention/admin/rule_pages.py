"""The tenant's own delays of expiry. One row a tenant."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from unfold.decorators import display

from backup_platform.console.model_admin import TENANT_FILTER, TenantModelAdmin
from backup_platform.console.site import asking
from backup_platform.retention.defaults import delays_of
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.models import RetentionRules
from backup_platform.retention.services import set_rules

NAMES = ("undelete_days", "shrink_days", "guard_percent", "release_needs_second")


class RulesForm(forms.ModelForm):
    """Saving is part of checking: only the service knows every rule."""

    asker: Any = None
    saved: Any = None

    class Meta:
        model = RetentionRules
        fields = ("tenant", *NAMES)

    def clean(self):
        super().clean()
        if not self.errors:
            tenant = self.instance.tenant if self.instance.pk else self.cleaned_data.get("tenant")
            tenant = tenant or self.asker.tenant
            values = {name: self.cleaned_data[name] for name in NAMES}
            try:
                self.saved = set_rules(tenant, by=self.asker, **values)
            except RetentionRefused as refused:
                self.add_error(None, str(refused))
        return self.cleaned_data

    def validate_unique(self):
        """A second row is the first one, changed."""

    def _post_clean(self):
        """The service has saved already."""

    def save(self, commit=True):
        """What the service saved."""
        self.save_m2m: Any = lambda: None
        return self.saved


@admin.register(RetentionRules)
class RetentionRulesAdmin(TenantModelAdmin):
    """How long things take in a tenant, when it wants more than the platform asks for."""

    allowed = frozenset({"view", "add", "change"})
    form = RulesForm
    list_display = ["undelete_shown", "shrink_shown", "guard_shown", "second_shown", "tenant"]
    list_filter = [TENANT_FILTER]
    when_empty = "The platform's own delays hold. Add a row to ask for longer ones, or for two persons at a release."
    list_select_related = ["tenant"]

    @display(description="Expired snapshots can be brought back")
    def undelete_shown(self, rules):
        return f"for {delays_of(rules.pk).undelete.days} days"

    @display(description="Rules that keep less take effect")
    def shrink_shown(self, rules):
        return f"after {delays_of(rules.pk).shrink.days} days"

    @display(description="A run asks a person before it drops")
    def guard_shown(self, rules):
        return f"more than {rules.guard_percent} % of a machine's good snapshots"

    @display(description="Releasing a hold takes")
    def second_shown(self, rules):
        return "two persons" if rules.release_needs_second else "one person"

    def get_fields(self, request, obj=None):
        """Who sees one tenant does not choose one."""
        return [*(["tenant"] if obj is not None or asking(request).tenant is None else []), *NAMES]

    def get_readonly_fields(self, request, obj=None):
        """Rules stay in their tenant."""
        return ["tenant"] if obj else []

    def get_form(self, request, obj=None, change=False, **kwargs):
        """The form, knowing who asks."""
        kwargs["form"] = type("RulesForm", (RulesForm,), {"asker": asking(request)})
        return super().get_form(request, obj, change=change, **kwargs)

    def save_model(self, request, obj, form, change):
        """The form has saved it by the service."""
