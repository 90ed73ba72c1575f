"""The way to the first backup, for a dashboard that has no machine to show: what is done, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from backup_platform.fleet.models import EnrollmentToken
from backup_platform.policies.models import Policy
from backup_platform.tenants.access import Actor, may
from backup_platform.vaults.models import Vault


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: words, perhaps a command, perhaps a page of the console; `done` when it was seen to be."""

    words: str
    note: str = ""
    command: str = ""
    link: str = ""
    link_words: str = ""
    done: bool = False


def first_steps(actor: Actor) -> list[Step]:
    """The steps for whoever looks. Three questions to the database."""
    return [_keys(actor), _enrolment(actor), AGENT, _policy(actor)]


def _keys(actor: Actor) -> Step:
    """A vault is made where the customer is; an operator who is the customer too has one command for all of it."""
    done = Vault.objects.exists()
    if actor.is_platform_staff:
        return Step("A tenant, and a vault with its recovery kit. On this host:",
                    "A customer who makes the keys themselves: create_tenant NAME, then add_vault with the file that "
                    "“strongroom vault create” wrote for you.",
                    ".venv/bin/python manage.py create_tenant NAME --kit DIR", done=done)  # fmt: skip
    return Step("A vault with its recovery kit. On a computer of yours that has the agent:",
                "Keep the kit, and send its vault-registration.json to the people who run this platform.",
                "strongroom vault create --out kit", done=done)  # fmt: skip


def _enrolment(actor: Actor) -> Step:
    words = "An enrolment: a line that lets new machines in. It needs the kit's enrolment-key.json."
    if not may(actor, "add", "fleet.EnrollmentToken"):
        return Step(words, "Ask an operator of your tenant.")
    return Step(words, link=reverse("admin:fleet_enrollmenttoken_add"), link_words="Make an enrolment",
                done=EnrollmentToken.objects.exists())  # fmt: skip


AGENT = Step(
    "On each new machine, with the agent installed (pip install, in an environment of its own):",
    "The first asks for the line; the second has systemd keep the agent running.",
    "strongroom enroll\nstrongroom service install",
)


def _policy(actor: Actor) -> Step:
    words = "A policy: what is backed up and when, assigned to your machines or to all of them."
    if not may(actor, "add", "policies.Policy"):
        return Step(words, "Ask an operator of your tenant.")
    return Step(words, link=reverse("admin:policies_policy_add"), link_words="Write a policy",
                done=Policy.objects.exists())  # fmt: skip
