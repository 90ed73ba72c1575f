"""The pages of targets: what may be entered, what is shown, and what never is."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.jobs.running import run_job
from backup_platform.targets import bucket_probe, probing
from backup_platform.targets.credentials import opened
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.queries import targets_of
from backup_platform.tenants.models import Member, Role, User
from backup_platform.tenants.scope import without_tenant_scope
from tests.s3_server import ACCESS_KEY, SECRET_KEY
from tests.targets.conftest import kept

pytestmark = pytest.mark.django_db
LIST, ADD = reverse("admin:targets_target_changelist"), reverse("admin:targets_target_add")


@pytest.fixture(autouse=True)
def few_pages(monkeypatch):
    monkeypatch.setattr(bucket_probe, "PAGE_KEYS", 5)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def boss() -> Client:
    return signed_in(User.objects.create_superuser("boss", password="x"))


@pytest.fixture
def member(tenant) -> Client:
    with without_tenant_scope("test data"):
        user = User.objects.create_user("member")
        Member.objects.create(user=user, tenant=tenant, role=Role.ADMIN)
    return signed_in(user)


def form(**fields) -> dict[str, str]:
    return {"name": "cloud", "kind": "s3", "path": "", "endpoint": "https://93.184.215.14", "region": "us-east-1",
            "bucket": "our-bucket", "prefix": "", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY,
            "storage_class": "", "lock_days": "", "parity_percent": "0", "capacity_bytes": "",
            "watermark_percent": "85", "price": "", "currency": ""} | fields  # fmt: skip


def page_of(target: Target, act: str = "change") -> str:
    return reverse(f"admin:targets_target_{act}", args=[target.pk])


def probe() -> None:
    """What a worker does with the probes that were asked for."""
    with without_tenant_scope("a worker"):
        for job in Job.objects.filter(state=JobState.QUEUED, kind=JobKind.VERIFY, subject__startswith="target:"):
            assert run_job(job.pk, probing.work)


def test_the_platforms_people_add_a_bucket_which_is_probed_by_a_worker_and_shown(boss, s3_server):
    fields = form(endpoint=s3_server.url, bucket=s3_server.make_bucket(), allow_private="on", price="0.02",
                  currency="EUR", tenant="")  # fmt: skip
    answer = boss.post(ADD, fields, follow=True)
    text = answer.content.decode()
    with without_tenant_scope("tests"):
        target = Target.objects.get()
    assert (target.tenant, target.state, target.probed_at) == (None, TargetState.NEW, None)
    assert "It waits to be probed." in text
    assert page_of(target, "state") in text, "the page asks again by itself"
    probe()
    assert (kept(target).state, kept(target).was_found_good) == (TargetState.ACTIVE, True)
    assert "hx-get" not in boss.get(page_of(target, "state")).content.decode(), "and stops asking"
    shown = boss.get(page_of(target)).content.decode()
    assert "Wrong SHA-256 checksums are refused." in shown
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret not in text
        assert secret not in shown


def test_a_member_adds_a_bucket_for_the_own_tenant_only(member, tenant, other):
    member.post(ADD, form(tenant=str(other.pk), kind="local", path="/etc", allow_private="on"))
    assert [target.name for target in targets_of(tenant.pk)] == ["cloud"]
    target = targets_of(tenant.pk)[0]
    assert (target.kind, target.path, target.allow_private) == ("s3", "", False)
    assert targets_of(other.pk) == []
    with without_tenant_scope("tests"):
        job = Job.objects.get(subject=f"target:{target.pk}")
    assert (job.tenant_id, job.asked_by) == (tenant.pk, "user member")


@pytest.mark.parametrize(("fields", "words"), [
    ({"endpoint": "https://127.0.0.1"}, "address inside the house"), ({"secret_key": ""}, "and a secret key"),
    ({"bucket": "No"}, "3 to 63"), ({"endpoint": "http://93.184.215.14"}, "https://"),
])  # fmt: skip
def test_what_cannot_be_is_said_at_its_field(member, tenant, fields, words):
    answer = member.post(ADD, form(**fields))
    assert words in answer.content.decode()
    assert SECRET_KEY not in answer.content.decode()
    assert targets_of(tenant.pk) == []


def test_keys_stay_when_their_fields_are_left_empty_and_change_when_not(member, tenant, s3_target_row):
    target = s3_target_row(tenant, endpoint="https://93.184.215.14", allow_private=False)
    member.post(page_of(target), form(name="renamed", access_key="", secret_key=""))
    assert kept(target).name == "renamed"
    assert opened(kept(target)).secret_key == SECRET_KEY
    member.post(page_of(target), form(name="renamed", access_key="other", secret_key="another"))
    assert opened(kept(target)).secret_key == "another"


def test_acts_ask_first_and_then_do(boss, tenant, s3_target_row):
    target = s3_target_row(tenant)
    for act, state in (("pause", TargetState.PAUSED), ("resume", TargetState.ACTIVE), ("drain", TargetState.DRAINING),
                       ("probe", TargetState.DRAINING), ("retire", TargetState.RETIRED)):  # fmt: skip
        before = kept(target).state
        assert "?" in boss.get(page_of(target, act)).content.decode()
        assert kept(target).state == before
        boss.post(page_of(target, act))
        probe()
        assert kept(target).state == state
    assert boss.get(page_of(target)).status_code == 200


def test_the_list_shows_state_use_and_cost(boss, s3_target_row):
    flags = {"conditional_put": True, "usable": True}
    s3_target_row(
        name="costly", price="2.5", currency="EUR", capacity_bytes=10**12, flags=flags, probed_at=timezone.now()
    )
    s3_target_row(name="unusable", flags={"usable": False}, probed_at=timezone.now())
    text = boss.get(LIST).content.decode()
    for words in ("costly", "active", "0.00 EUR", "of 931 GiB", "never overwrites", "cannot be used"):
        assert words in text


def test_a_bucket_that_cannot_be_used_says_why_and_what_to_do(member, tenant, s3_target_row, faulty_s3):
    target = s3_target_row(tenant, url=faulty_s3.url)
    faulty_s3.denied, faulty_s3.denied_code = True, "InvalidAccessKeyId"
    member.post(page_of(target, "probe"))
    probe()
    text = member.get(page_of(target)).content.decode()
    assert kept(target).state == TargetState.PAUSED
    assert "It cannot be used." in text
    assert "credentials" in text
    assert "resume it: it is probed first" in text
    faulty_s3.calm()
    assert "probed, then used again" in member.post(page_of(target, "resume"), follow=True).content.decode()
    probe()
    assert kept(target).state == TargetState.ACTIVE


def test_a_target_that_nothing_is_copied_to_leads_to_the_rule_that_it_lacks(member, tenant, s3_target_row):
    text = member.get(page_of(s3_target_row(tenant))).content.decode()
    assert "Nothing is copied here yet." in text
    assert reverse("admin:tiering_tierrule_add") in text


def test_how_a_target_stands_is_for_who_may_see_it(member, other, s3_target_row):
    theirs = member.get(page_of(s3_target_row(other), "state"))
    assert (theirs.status_code, theirs.content) == (204, b"")
    assert Client().get(page_of(s3_target_row(None), "state")).status_code == 204


def test_object_lock_says_until_when_what_was_removed_is_paid_for(boss, s3_target_row):
    target = s3_target_row(lock_days=30)
    text = boss.get(page_of(target)).content.decode()
    assert "cannot be removed from the bucket for 30 days" in text
    assert "last lock" not in text, "nothing was removed yet"
