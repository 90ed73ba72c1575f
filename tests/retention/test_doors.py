"""The pages and the API: holds, expired snapshots, stopped expiries, the preview, a snapshot's own page."""

from __future__ import annotations

import pytest
from django.urls import reverse

from backup_platform.catalog.models import Snapshot
from backup_platform.policies.models import Policy
from backup_platform.retention.holds import set_hold
from backup_platform.retention.models import ExpiryStop, Hold, RetentionRules
from backup_platform.tenants.models import Role
from backup_platform.tenants.scope import tenant_scope


@pytest.fixture
def ada(ours, sign_in):
    return sign_in(ours.member("ada"))


@pytest.fixture
def viewer(ours, sign_in):
    return sign_in(ours.member("vic", Role.VIEWER))


def page(name, *args):
    return reverse(f"admin:{name}", args=args)


def text(answer):
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def test_the_preview_tries_rules_and_saves_them(ours, machine, policy, ada):
    made = ours.snapshots(machine, 6, policy)
    shown = text(ada.get(page("retention_expiry_preview"), {"policy": policy.pk}))
    assert "2 snapshots would go" in shown
    names = ("keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within_days",
             "minimum_age_days")  # fmt: skip
    fields = {"policy": policy.pk, "retention__keep_last": 2, "retention__keep_tags": ""}
    fields |= {f"retention__{name}": 0 for name in names}
    tried = text(ada.post(page("retention_expiry_preview"), fields))
    assert "4 snapshots would go, 2 of them by these rules only" in tried
    assert "they take effect at" in tried
    assert "nothing keeps it: last 2" in tried
    wrong = text(ada.post(page("retention_expiry_preview"), fields | {"retention__keep_last": "many"}))
    assert "Correct the rules first" in wrong
    saved = ada.post(page("retention_expiry_preview"), fields | {"save": "yes"}, follow=True)
    assert "keeps less than before on one machine" in saved.content.decode()
    assert "It keeps less from" in saved.content.decode()
    with tenant_scope(ours.tenant):
        assert Policy.objects.get().settings == {"retention.keep_last": 2}
    assert ours.states(made) == ["verified"] * 6


def test_who_may_not_edit_policies_saves_nothing(ours, policy, machine, viewer):
    ours.snapshots(machine, 6, policy)
    fields = {"policy": policy.pk, "retention__keep_last": 1, "save": "yes"}
    assert viewer.post(page("retention_expiry_preview"), fields).status_code in {200, 403}
    with tenant_scope(ours.tenant):
        assert Policy.objects.get().version == 1


def test_the_preview_of_anothers_policy_looks_like_a_missing_page(ours, theirs, ada):
    foreign = theirs.policy("Secret")
    assert ada.get(page("retention_expiry_preview"), {"policy": foreign.pk}).status_code == 404
    assert ada.get(page("retention_expiry_preview"), {"machine": theirs.machine().pk}).status_code == 404
    assert ada.get(page("retention_expiry_preview"), {"machine": "x"}).status_code == 404


def test_the_policy_page_offers_the_preview(ours, policy, ada):
    shown = text(ada.get(page("policies_policy_change", policy.pk)))
    assert "Preview retention with what is written here" in shown
    assert 'name="retention__keep_last"' in shown


def test_a_snapshot_is_tagged_expired_and_brought_back_from_its_page(ours, machine, policy, ada, viewer):
    made = ours.snapshots(machine, 2, policy)
    own = page("catalog_snapshot_change", made[1].pk)
    assert "last: 2 of 4" in text(ada.get(own))
    expire, back, tags = (page(f"catalog_snapshot_{act}", made[1].pk) for act in ("expire_now", "bring_back", "tag"))
    assert viewer.post(expire, {"reason": "x"}).status_code == 403
    assert "can be brought back" in text(ada.get(expire))
    assert ours.states(made) == ["verified"] * 2
    assert "has expired" in text(ada.post(expire, {"reason": "wrong"}, follow=True))
    assert "It can be brought back until" in text(ada.get(own))
    assert "snapshot is back" in text(ada.post(back, {}, follow=True))
    assert "a, b" in text(ada.post(tags, {"reason": "b, a"}, follow=True))
    assert "always stays" in text(
        ada.post(page("catalog_snapshot_expire_now", made[0].pk), {"reason": "x"}, follow=True)
    )


def test_only_those_who_may_see_holds_see_their_cases(ours, machine, ada, viewer):
    snapshot = ours.snapshot(machine)
    set_hold(ours.tenant, "Case 77", "why", by="test", scope="machine", about=machine)
    own, preview = page("catalog_snapshot_change", snapshot.pk), page("retention_expiry_preview")
    assert "Held for: Case 77" in text(ada.get(own))
    for address in (own, preview):
        shown = text(viewer.get(address))
        assert "under a legal hold" in shown
        assert "Case 77" not in shown


def test_expired_snapshots_are_listed_with_the_way_back(ours, machine, policy, ada):
    made = ours.snapshots(machine, 5, policy)
    ours.run()
    shown = text(ada.get(page("retention_expiry_changelist")))
    assert "can be brought back" in shown
    row = ours.expiry(made[4])
    assert "Bring it back" in text(ada.get(page("retention_expiry_bring_back", row.pk)))
    assert "The snapshot is back" in text(ada.post(page("retention_expiry_bring_back", row.pk), follow=True))
    assert ours.states(made) == ["verified"] * 5
    assert "brought back" in text(ada.get(page("retention_expiry_changelist"), {"became": "back"}))


def test_a_stopped_expiry_is_confirmed(ours, machine, policy, ada, viewer):
    ours.snapshots(machine, 12, policy)
    ours.run()
    with tenant_scope(ours.tenant):
        stop = ExpiryStop.objects.get()
    confirm = page("retention_expirystop_confirm", stop.pk)
    assert viewer.post(confirm).status_code == 403
    assert "8 of 12 good snapshots" in text(ada.get(page("retention_expirystop_changelist")))
    assert "8 of its 12" in text(ada.get(confirm))
    assert "The run goes on" in text(ada.post(confirm, follow=True))
    assert ours.run()["expired"] == 8


def test_a_hold_is_set_and_released_from_its_pages(ours, machine, ada, viewer):
    snapshot = ours.snapshot(machine)
    to_form = ada.get(page("catalog_snapshot_hold", snapshot.pk))
    assert to_form["Location"].endswith(f"?scope=snapshot&snapshot={snapshot.pk}")
    assert viewer.get(page("retention_hold_add")).status_code == 403
    add = page("retention_hold_add")
    assert "Choose the machine" in text(ada.post(add, {"case": "c", "reason": "r", "scope": "machine"}))
    answer = ada.post(add, {"case": "case 7", "reason": "a lawsuit", "scope": "snapshot", "snapshot": snapshot.pk})
    assert answer.status_code == 302
    with tenant_scope(ours.tenant):
        hold = Hold.objects.get()
    assert (hold.set_by, hold.snapshot_id) == ("user ada@ours", snapshot.pk)
    assert "in force" in text(ada.get(page("retention_hold_change", hold.pk)))
    assert "case 7" in text(ada.get(page("retention_hold_changelist"), {"force": "yes"}))
    release = page("retention_hold_release", hold.pk)
    assert "Release the hold" in text(ada.get(release))
    assert "is released" in text(ada.post(release, {"reason": "settled"}, follow=True))


def test_the_tenants_delays_have_a_page(ours, ada, viewer):
    add = page("retention_retentionrules_add")
    fields = {"undelete_days": 30, "shrink_days": "", "guard_percent": 40, "release_needs_second": "on"}
    assert viewer.post(add, fields).status_code == 403
    assert "at least 14 days" in text(ada.post(add, fields | {"undelete_days": 2}))
    assert ada.post(add, fields).status_code == 302
    with tenant_scope(ours.tenant):
        rules = RetentionRules.objects.get()
    assert (rules.undelete_days, rules.guard_percent, rules.release_needs_second) == (30, 40, True)
    assert "30" in text(ada.get(page("retention_retentionrules_change", ours.tenant.pk)))


def test_the_api_previews(ours, machine, policy, ada):
    ours.snapshots(machine, 6, policy)
    now = ada.get("/api/v1/retention-preview/").json()
    assert (now["expiring"], now["keeping"], len(now["snapshots"])) == (2, 4, 6)
    asked = {"policy": str(policy.pk), "settings": {"retention.keep_last": 1}}
    tried = ada.post("/api/v1/retention-preview/", asked, content_type="application/json").json()
    assert (tried["expiring"], tried["newly_expiring"]) == (5, 3)
    for settings in ({"retention.keep_last": -1}, {"selection.sources": ["/"]}, {"retention.nothing": 1}):
        answer = ada.post("/api/v1/retention-preview/", asked | {"settings": settings}, content_type="application/json")
        assert answer.status_code == 400, settings


def test_the_api_expires_and_brings_back(ours, theirs, machine, policy, ada, viewer):
    made = ours.snapshots(machine, 2, policy)
    address = f"/api/v1/snapshots/{made[1].pk}"
    asked = {"data": {"reason": "x"}, "content_type": "application/json"}
    assert viewer.post(f"{address}/expire/", **asked).status_code == 403
    assert ada.post(f"{address}/expire/", content_type="application/json").status_code == 400
    assert ada.post(f"{address}/expire/", **asked).json() == {"state": "expired"}
    assert ada.post(f"{address}/bring-back/").json() == {"state": "verified"}
    refused = ada.post(f"{address}/bring-back/")
    assert (refused.status_code, "has not expired" in refused.content.decode()) == (400, True)
    foreign = theirs.snapshot(theirs.machine())
    assert ada.post(f"/api/v1/snapshots/{foreign.pk}/expire/", **asked).status_code == 404


def test_the_api_sets_and_releases_holds(ours, machine, ada, viewer):
    asked = {"case": "case 7", "reason": "a lawsuit", "scope": "machine", "machine": str(machine.pk)}
    assert viewer.get("/api/v1/holds/").status_code == 403
    made = ada.post("/api/v1/holds/", asked, content_type="application/json")
    assert made.status_code == 201, made.content
    assert ada.post("/api/v1/holds/", asked | {"scope": "all"}, content_type="application/json").status_code == 400
    (listed,) = ada.get("/api/v1/holds/").json()["results"]
    assert listed["about"] == machine.name
    address = f"/api/v1/holds/{listed['id']}/release/"
    released = ada.post(address, {"reason": "settled"}, content_type="application/json")
    assert released.json()["released_by"] == "user ada@ours"


def test_staff_without_a_chosen_tenant_is_asked_to_choose(ours, machine, policy, db, sign_in):
    from backup_platform.tenants.models import User

    boss = sign_in(User.objects.create_superuser("boss", password="x"))
    assert "Choose a tenant first" in text(boss.get(page("retention_expiry_preview")))
    assert text(boss.get(page("retention_expiry_preview"), {"machine": machine.pk}))
    assert boss.get("/api/v1/retention-preview/").status_code == 400
    with tenant_scope(ours.tenant):
        assert not Snapshot.objects.exists()
