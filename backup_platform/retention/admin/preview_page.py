"""The retention preview: what would go, by the rules in force or by others that nobody has saved yet."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from backup_platform.console import showing
from backup_platform.console.site import asking
from backup_platform.fleet.models import Machine
from backup_platform.policies.admin.fields import FIELD_NAMES, field_of
from backup_platform.policies.errors import PolicyMissing, PolicyRefused
from backup_platform.policies.models import Policy
from backup_platform.policies.registry import SETTINGS, complete, settings_of
from backup_platform.policies.services import change_policy
from backup_platform.retention.announcing import announcement
from backup_platform.retention.one_preview import PreviewBusy, one_preview
from backup_platform.retention.planning import LAST_GOOD
from backup_platform.retention.previewing import preview_now, preview_policy
from backup_platform.retention.rules import rules_of
from backup_platform.retention.telling import reasons_of, until_words
from backup_platform.tenants.access import can

SHOWN_MACHINES = 50
SHOWN_SNAPSHOTS = 400
NAMES = [one.name for one in settings_of("retention")]


class RulesToTry(forms.Form):
    """A field for each setting of retention."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in NAMES:
            self.fields[FIELD_NAMES[name]] = field_of(SETTINGS[name])

    def settings(self):
        """What was written, without what is default anyway."""
        values = {name: self.cleaned_data[FIELD_NAMES[name]] for name in NAMES}
        return {name: value for name, value in values.items() if value != SETTINGS[name].default}


def preview_page(page, request):
    """GET and POST show; only POST with `save` changes the policy, by the service."""
    actor = asking(request)
    if not (can(actor, "snapshots.view") and can(actor, "policies.view")):
        raise PermissionDenied
    sent = request.POST if request.method == "POST" else request.GET
    policy, machine = _row(Policy, sent.get("policy")), _row(Machine, sent.get("machine"))
    if policy is not None:
        return _of_policy(page, request, sent, policy, machine)
    tenant_id = machine.tenant_id if machine else actor.tenant.pk if actor.tenant else None
    if tenant_id is None:
        return _shown(page, request, {"title": "Retention preview", "silence": "Choose a tenant first."})
    title = f"What expires next on {machine.name}" if machine else "What expires next"
    try:
        with one_preview(tenant_id):
            found = preview_now(tenant_id, [machine] if machine else None)
    except PreviewBusy as busy:
        return _shown(page, request, {"title": title, "silence": str(busy)})
    return _shown(page, request, {"title": title, **_figures(found, machine)})


def _of_policy(page, request, sent, policy, machine):
    tried = any(field in sent for field in (FIELD_NAMES[name] for name in NAMES))
    form = RulesToTry(sent) if tried else RulesToTry(initial=_initial(policy))
    context = {"title": f"Retention preview of {policy.name}", "policy": policy, "form": form,
               "may_save": can(asking(request), "policies.edit", policy)}  # fmt: skip
    if tried and not form.is_valid():
        return _shown(page, request, {**context, "silence": "Correct the rules first; nothing was looked at."})
    others = {name: value for name, value in policy.settings.items() if name not in NAMES}
    wanted = {**others, **form.settings()} if tried else dict(policy.settings)
    if request.method == "POST" and "save" in request.POST:
        return _save(request, policy, wanted)
    try:
        with one_preview(policy.tenant_id):
            found = preview_policy(policy, wanted, [machine] if machine else None)
    except PreviewBusy as busy:
        return _shown(page, request, {**context, "silence": str(busy)})
    fields = {field: sent.get(field, "") for field in form.fields} if tried else {}
    context["words"], context["query"] = rules_of(wanted).words(), urlencode({"policy": policy.pk, **fields})
    return _shown(page, request, {**context, **_figures(found, machine)})


def _save(request, policy, settings):
    try:
        changed = change_policy(policy, by=asking(request), settings=settings)
    except (PolicyRefused, PolicyMissing) as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, f"The rules of {policy.name} were saved. {announcement(changed)}")
    return HttpResponseRedirect(reverse("admin:policies_policy_change", args=[policy.pk]))


def _initial(policy):
    values = complete(policy.settings)
    return {FIELD_NAMES[name]: values[name] for name in NAMES}


def _figures(found, machine):
    machines = sorted(found.machines, key=lambda one: (-len(one.newly), -len(one.expiring), one.machine.name))
    chosen = machines[0] if machine or len(machines) == 1 else None
    return {
        "found": found,
        "freed": showing.size(found.freed.bytes),
        "machines": machines[:SHOWN_MACHINES],
        "more_machines": max(len(machines) - SHOWN_MACHINES, 0) + found.left_out,
        "chosen": machine,
        "rows": _rows(chosen) if chosen else [],
        "more_rows": max(len(chosen.decisions) - SHOWN_SNAPSHOTS, 0) if chosen else 0,
    }


def _rows(machine):
    words = {one.facts.id: series.rules.words() for series in machine.judged for one in series.decisions}
    return [
        {"received": one.facts.received_at, "id": one.facts.id, "state": one.facts.state, "keep": one.keep,
         "reasons": reasons_of(one, words[one.facts.id]), "until": until_words(one),
         "last_good": LAST_GOOD in one.reasons, "now": one.facts.id in machine.going_now}
        for one in machine.decisions[:SHOWN_SNAPSHOTS]
    ]  # fmt: skip


def _row(model, wanted):
    """The row with this id among what the person may see; None without an id, 404 for one that is not there."""
    if not wanted:
        return None
    try:
        found = model.objects.filter(pk=UUID(str(wanted))).first()
    except ValueError:
        found = None
    if found is None:
        raise Http404
    return found


def _shown(page, request, context):
    context = {**page.admin_site.each_context(request), "opts": page.opts, **context}
    return TemplateResponse(request, "retention/preview.html", context)
