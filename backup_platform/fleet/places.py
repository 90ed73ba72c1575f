"""A machine's own places: the groups it is in, and the words that it is found by.

`by` is the person who asks (their right `machines.manage` is checked here), or the name of a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from django.db import transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.tenants.asking import Asker, allowed
from backup_platform.tenants.scope import tenant_scope

from .groups import MANAGE, GroupRefused, add_machines, remove_machines
from .models import Machine, MachineGroup

TAG = re.compile(r"[\w][\w.:@-]{0,39}")
MAX_TAGS = 30


def set_groups(machine: Machine, groups: Iterable[MachineGroup], *, by: Asker) -> tuple[int, int]:
    """Let a machine be in exactly these groups; how many it came into and left."""
    wanted = {group.pk: group for group in groups}
    with tenant_scope(machine.tenant_id), transaction.atomic():
        present = {group.pk: group for group in MachineGroup.objects.filter(memberships__machine=machine)}
        come = [add_machines(wanted[pk], [machine], by=by) for pk in wanted.keys() - present.keys()]
        gone = [remove_machines(present[pk], [machine], by=by) for pk in present.keys() - wanted.keys()]
    return sum(come), sum(gone)


def set_tags(machine: Machine, tags: Sequence[str], *, by: Asker) -> list[str]:
    """Give a machine the words it is found by, without doubles, in order. Raises `GroupRefused`."""
    actor = allowed(by, MANAGE, machine)
    kept = clean_tags(tags)
    with tenant_scope(machine.tenant_id), transaction.atomic():
        row = Machine.objects.select_for_update(no_key=True).get(pk=machine.pk)
        if row.tags != kept:
            record_audit("machine.tagged", actor=actor, object=f"machine:{row.pk}", tenant=row.tenant_id, name=row.name,
                         before=row.tags, after=kept)  # fmt: skip
            Machine.objects.filter(pk=row.pk).update(tags=kept)
    machine.tags = kept
    return kept


def clean_tags(tags: Sequence[str]) -> list[str]:
    """Tags in lower case, sorted, each once. Raises `GroupRefused`."""
    kept = sorted({tag.strip().lower() for tag in tags if tag.strip()})
    if len(kept) > MAX_TAGS:
        raise GroupRefused(f"{len(kept)} tags are too many; a machine has at most {MAX_TAGS}.", "tags")
    for tag in kept:
        if not TAG.fullmatch(tag):
            raise GroupRefused(
                f"“{tag[:50]}” is not a tag; use up to 40 letters, digits, dots, colons, @, - and _.", "tags"
            )
    return kept
