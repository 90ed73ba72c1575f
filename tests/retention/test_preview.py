"""The preview drops what the run drops, counts the bytes that nothing else needs, and tries rules nobody has saved."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from backup_platform.catalog.models import Snapshot
from backup_platform.policies.models import Policy
from backup_platform.retention.previewing import preview_now, preview_policy
from backup_platform.retention.telling import preview_as_data
from backup_platform.tenants.scope import tenant_scope

CHUNK_SQL = """
    INSERT INTO catalog_chunk (vault, id, number, pack, "offset", length, uploader, kind, state)
    SELECT %s, decode(lpad(to_hex(n), 64, '0'), 'hex'), n, 1, 0, 1000 + n, %s, 0, 0 FROM generate_series(1, %s) AS n
"""


@pytest.fixture
def history(ours, machine):
    """Five snapshots; each needs chunk 1, two neighbours share one each, and has one of its own."""
    policy = ours.policy()
    ours.assign(policy)
    with connection.cursor() as cursor:
        cursor.execute(CHUNK_SQL, [ours.vault.number, machine.pk, 300])
    made = [ours.snapshot(machine, days, policy, chunks=(1, 10 + days, 11 + days, 100 + days)) for days in range(5)]
    return policy, made


def test_rules_that_nobody_saved_are_tried(ours, history):
    policy, made = history
    with tenant_scope(ours.tenant):
        found = preview_policy(policy, {"retention.keep_last": 3})
        assert Policy.objects.get().settings == {}
    assert (found.expiring, found.newly, found.keeping) == (2, 2, 3)
    assert {one.pk for one in found.machines[0].expiring} == {one.pk for one in made[3:]}
    # 13 is shared with one that stays; 14, 15 and their own go.
    assert found.freed.bytes == sum(1000 + number for number in (14, 15, 103, 104))
    assert found.shrinks
    assert found.takes_effect_at
    assert ours.states(made) == ["verified"] * 5


def test_what_is_previewed_is_what_goes(ours, machine, history):
    policy, made = history
    ours.in_force(policy, machine, **{"retention.keep_last": 3})
    with tenant_scope(ours.tenant):
        policy.settings = {"retention.keep_last": 3}
        policy.save()
        found = preview_now(ours.tenant.pk)
        expected = {one.pk for machine in found.machines for one in machine.expiring}
    ours.run()
    with tenant_scope(ours.tenant):
        assert set(Snapshot.objects.filter(state="expired").values_list("pk", flat=True)) == expected
        assert preview_now(ours.tenant.pk).expiring == 0
    assert expected == {one.pk for one in made[3:]}


def test_longer_rules_do_not_shrink_and_new_snapshots_make_the_figure_uncertain(ours, machine, history):
    policy, _ = history
    ours.in_force(policy, machine, **{"retention.keep_last": 2})
    ours.snapshot(machine, 9, policy, state="received")
    with tenant_scope(ours.tenant):
        found = preview_policy(policy, {"retention.keep_last": 4})
    assert not found.shrinks
    assert (found.expiring, found.newly, found.freed.unsettled) == (1, 0, 1)


def test_a_preview_says_that_a_run_would_stop(ours, history):
    policy, _ = history
    with tenant_scope(ours.tenant):
        data = preview_as_data(preview_policy(policy, {"retention.keep_last": 1}), most=2)
    assert data["stopped_machines"]
    assert (data["truncated"], len(data["snapshots"])) == (True, 2)
    assert data["snapshots"][0]["reasons"] == ["nothing keeps it: last 1"]


def test_another_tenants_snapshots_are_no_part_of_it(ours, theirs, history):
    foreign = theirs.machine()
    theirs.snapshots(foreign, 3)
    with tenant_scope(ours.tenant):
        found = preview_now(ours.tenant.pk)
    assert [one.machine.pk for one in found.machines] != []
    assert foreign.pk not in {one.machine.pk for one in found.machines}


def command(name, *given):
    out = StringIO()
    call_command(name, *given, stdout=out, stderr=out)
    return out.getvalue()


def test_the_command_previews_runs_and_brings_back(ours, machine, history):
    policy, made = history
    ours.put_received(*made)
    ours.in_force(policy, machine, **{"retention.keep_last": 3})
    with tenant_scope(ours.tenant):
        policy.settings = {"retention.keep_last": 3}
        policy.save()
    told = [json.loads(line) for line in command("expire", "--dry-run", "--tenant", "ours", "--json").splitlines()]
    assert told[-1]["expired"] == 2
    assert {one["id"] for one in told[:-1] if not one["keep"]} == {str(one.pk) for one in made[3:]}
    assert ours.states(made) == ["verified"] * 5
    assert "2 snapshots expired" in command("expire", "--tenant", "ours")
    assert ours.states(made) == ["verified"] * 3 + ["expired"] * 2
    assert "is back: verified" in command("undelete", made[3].pk.hex[:12])
    assert ours.states(made)[3] == "verified"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("expire", "--tenant", "nobody"), "nobody"),
        (("expire", "--machine", "m"), "Name the tenant"),
        (("expire", "--announced"), "add --dry-run"),
        (("undelete", "xyz"), "no snapshot's id"),
        (("undelete", "0123456789ab"), "No snapshot begins"),
    ],
)
def test_what_the_commands_cannot_do_is_a_sentence(ours, given, sentence):
    with pytest.raises(CommandError, match=sentence):
        command(*given)


def test_announced_rules_can_be_looked_at_early(ours, history):
    policy, _ = history
    with tenant_scope(ours.tenant):
        policy.settings = {"retention.keep_last": 3}
        policy.save()
    assert "0 snapshots would expire" in command("expire", "--dry-run", "--tenant", "ours")
    assert "2 snapshots would expire" in command("expire", "--dry-run", "--announced", "--tenant", "ours")
