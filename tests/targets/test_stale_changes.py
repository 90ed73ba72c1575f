"""Forms that were read a while ago: what others changed meanwhile stays, and nobody's keys go to another server."""

from __future__ import annotations

import pytest

from backup_platform.targets import services
from backup_platform.targets.credentials import opened
from backup_platform.targets.models import Target, TargetState
from backup_platform.tenants.scope import without_tenant_scope
from tests.targets.conftest import KEYS, bucket_of, kept

pytestmark = pytest.mark.django_db
EVIL = "https://1.1.1.1"
EVES = services.Credentials("eves-access-key", "eves-secret-key")


@pytest.fixture
def target(tenant) -> Target:
    made = services.create_target(bucket_of(tenant), KEYS, actor="ada", staff=False)
    with without_tenant_scope("test data"):
        Target.objects.filter(pk=made.pk).update(state=TargetState.ACTIVE, flags={"usable": True})
    return kept(made)


@pytest.mark.defence
def test_keys_that_a_stale_form_holds_do_not_follow_the_endpoint(target):
    """Two forms at once: one changes the endpoint with keys of its own, the other, read before, writes none."""
    stale, first = kept(target), kept(target)
    first.endpoint = EVIL
    services.change_target(first, EVES, actor="eve", staff=False)
    stale.endpoint = EVIL
    services.change_target(stale, None, actor="eve", staff=False)
    row = kept(target)
    assert (row.endpoint, opened(row)) == (EVIL, EVES)


def test_a_stale_form_does_not_bring_the_old_endpoint_back_unasked(target):
    stale, first = kept(target), kept(target)
    first.endpoint = EVIL
    services.change_target(first, EVES, actor="ada", staff=False)
    stale.name = "renamed"
    with pytest.raises(services.TargetRefused, match="anew"):
        services.change_target(stale, None, actor="ada", staff=False)
    assert (kept(target).name, kept(target).endpoint) == ("cloud", EVIL)


@pytest.mark.defence
@pytest.mark.parametrize("act", [services.pause_target, services.drain_target])
def test_a_stale_form_does_not_undo_what_others_did(target, act):
    stale = kept(target)
    act(kept(target), actor="bob")
    after = kept(target).state
    stale.name = "renamed"
    services.change_target(stale, None, actor="ada", staff=False)
    assert (kept(target).name, kept(target).state, stale.state) == ("renamed", after, after)


def test_a_retired_target_is_not_changed_and_gets_no_keys_back(target):
    stale = kept(target)
    services.retire_target(kept(target), actor="bob")
    stale.name = "renamed"
    for keys in (None, KEYS):
        with pytest.raises(services.TargetRefused, match="retired"):
            services.change_target(stale, keys, actor="ada", staff=False)
    assert (kept(target).state, bytes(kept(target).sealed)) == (TargetState.RETIRED, b"")


def test_what_a_probe_found_meanwhile_stays(target):
    stale = kept(target)
    found = {"usable": True, "checksums": True}
    with without_tenant_scope("test data"):
        Target.objects.filter(pk=target.pk).update(flags=found, probed_at="2026-01-01T00:00Z", fault="slow")
    stale.name = "renamed"
    services.change_target(stale, None, actor="ada", staff=False)
    row = kept(target)
    assert (row.name, row.flags, row.fault, stale.flags) == ("renamed", found, "slow", found)
