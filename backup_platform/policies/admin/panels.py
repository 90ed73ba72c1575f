"""What a policy comes to: its assignments, its next runs, and each setting's value with where it comes from."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404
from django.template.response import TemplateResponse

from backup_platform.fleet.models import Machine
from backup_platform.policies.admin.fields import value_shown
from backup_platform.policies.effective import application_of, applying_policies, resolve
from backup_platform.policies.models import Plan
from backup_platform.policies.previews import preview
from backup_platform.policies.queries import assignments_of, machines_under
from backup_platform.policies.registry import SECTIONS, SETTINGS, settings_of
from backup_platform.retention.queries import announced_for

SHOWN_RUNS = 8
SHOWN_PLACES = 50
SHOWN_MACHINES = 200


def policy_panel(policy, *, may_assign, may_see):
    """For the policy's page: to whom it is assigned, what is due next; all values for those who get no form."""
    places = list(assignments_of(policy)[: SHOWN_PLACES + 1]) if may_see else []
    for place in places:
        place.own = [SETTINGS[name].label for name in place.overrides if name in SETTINGS]
    return {
        "places": places[:SHOWN_PLACES],
        "more_places": len(places) > SHOWN_PLACES,
        "runs": machines_under(policy, SHOWN_RUNS),
        "may_assign": may_assign,
        "may_see": may_see,
        "sections": [] if may_assign else settings_shown(resolve(policy.name, policy.settings, []).settings),
        "announced": announced_for(policy.tenant_id, policy.pk),
    }


def settings_shown(found, *, only_set=False):
    """Settings by section, each with its label, value and origin; `only_set`: without those that are default."""
    shown = []
    for section in SECTIONS:
        rows = [
            {"label": one.label, "name": one.name, "value": value_shown(one.name, found[one.name].value),
             "origin": found[one.name].origin, "is_set": found[one.name].origin != "default"}
            for one in settings_of(section.name)
        ]  # fmt: skip
        rows = [row for row in rows if row["is_set"] or not only_set]
        if rows:
            help_text = section.help if section.name == "retention" else ""  # what rules that are not used mean
            shown.append({"label": section.label, "rows": rows, "help": help_text})
    return shown


def effective_page(page, request, policy):
    """A policy's settings as they count on the machine that `?machine=` names, or on the first it applies to."""
    chosen = chosen_machine(policy, request.GET.get("machine"))
    machines = _machines_of(policy)
    context = _context(page, request, policy, f"Effective settings of {policy.name}")
    context["machines"] = list(machines.only("pk", "name")[:SHOWN_MACHINES])
    context["chosen"] = chosen
    context["may_run"] = page.has_run_permission(request)
    if chosen is not None:
        found = application_of(policy, chosen)
        context.update(found=found, sections=settings_shown(found.settings))
        context["preview"] = preview(policy, chosen, SHOWN_RUNS)
    return TemplateResponse(request, "policies/effective.html", context)


def _machines_of(policy):
    return Machine.objects.filter(tenant_id=policy.tenant_id).order_by("name")


def chosen_machine(policy, wanted):
    """The machine with this id in the policy's tenant; without an id the first that has the policy, or any."""
    machines = _machines_of(policy)
    if wanted:
        try:
            return machines.filter(pk=UUID(wanted)).first()
        except ValueError:
            return None
    planned = machines.filter(pk__in=Plan.objects.filter(policy=policy).values("machine")[:1])
    return planned.first() or machines.first()


def machine_page(page, request, machine_id):
    """Every policy that applies to a machine, with its settings and next run."""
    machine = Machine.objects.filter(pk=machine_id).first()
    if machine is None or not page.has_view_permission(request):
        raise Http404
    plans = {plan.policy_id: plan for plan in Plan.objects.filter(machine=machine)}
    context = _context(page, request, machine, f"Policies on {machine.name}")
    context["machine"] = machine
    context["applying"] = [
        {"policy": one.policy, "because": one.because, "plan": plans.get(one.policy.pk),
         "sections": settings_shown(one.settings)}
        for one in applying_policies(machine)
    ]  # fmt: skip
    return TemplateResponse(request, "policies/on_machine.html", context)


def _context(page, request, original, title):
    return {**page.admin_site.each_context(request), "opts": page.opts, "original": original, "title": title}
