"""What targets may be like, who may make them so, and what is written down about it."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured

from backup_platform.audit.models import Entry
from backup_platform.notifications.models import Alert
from backup_platform.settings.environment import read_key
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.local import MARK
from backup_platform.targets import services
from backup_platform.targets.credentials import BOX, opened
from backup_platform.targets.models import Target, TargetKind, TargetState
from backup_platform.targets.opening import SecretUnreadable, open_store
from backup_platform.targets.queries import all_targets, target_by_id, targets_of
from backup_platform.tenants.scope import ScopeError, tenant_scope, without_tenant_scope
from tests.s3_server import ACCESS_KEY, SECRET_KEY
from tests.targets.conftest import KEYS, bucket_of, kept

pytestmark = pytest.mark.django_db


def verbs(target):
    with without_tenant_scope("tests"):
        return [entry.verb for entry in Entry.objects.filter(object=f"target:{target.pk}").order_by("id")]


def make(tenant=None, staff=True, **fields):
    return services.create_target(bucket_of(tenant, **fields), KEYS, actor="ada", staff=staff)


def test_a_tenant_adds_a_bucket_of_its_own(tenant):
    target = make(tenant, staff=False, price=Decimal("0.0230"), currency="eur", prefix="/a/b/")
    row = kept(target)
    assert (row.prefix, row.currency, row.state, row.created_by) == ("a/b", "EUR", "new", "ada")
    assert verbs(target) == ["target.added"]


@pytest.mark.defence
@pytest.mark.parametrize("fields", [
    {"kind": TargetKind.LOCAL, "path": "/mnt/x", "endpoint": "", "bucket": ""},
    {"allow_private": True}, {"allow_private": True, "endpoint": "http://127.0.0.1:8333"},
])  # fmt: skip
def test_what_leads_into_the_platforms_house_is_for_its_staff(tenant, fields):
    with pytest.raises(services.TargetRefused, match="Only the platform's staff"):
        make(tenant, staff=False, **fields)
    with pytest.raises(services.TargetRefused, match="Only the platform's staff"):
        make(None, staff=False)


@pytest.mark.defence
@pytest.mark.parametrize("endpoint", [
    "https://127.0.0.1", "https://localhost:8333", "https://10.1.2.3", "https://192.168.0.1", "https://169.254.169.254",
    "https://[::1]", "https://[::ffff:10.0.0.1]", "https://100.64.0.1", "https://0x7f.1", "https://2130706433",
])  # fmt: skip
def test_an_endpoint_inside_the_house_is_refused(tenant, endpoint):
    for staff in (True, False):
        with pytest.raises(services.TargetRefused, match="endpoint cannot be used") as refusal:
            make(tenant, staff=staff, endpoint=endpoint)
        assert refusal.value.field == "endpoint"


@pytest.mark.defence
def test_a_clouds_own_service_is_refused_whoever_allows_private_addresses():
    with pytest.raises(services.TargetRefused, match="never allowed"):
        make(endpoint="http://169.254.169.254", allow_private=True)


@pytest.mark.parametrize("endpoint", [
    "ftp://93.184.215.14", "http://93.184.215.14", "https://", "93.184.215.14", "https://u:p@93.184.215.14",
    "https://93.184.215.14/path", "https://93.184.215.14?x", "https://93.184.215.14:0", "https://93.184.215.14:99999",
    "https://[::", "https://93.184.215.14\\@x",
])  # fmt: skip
def test_endpoints_that_are_none_are_refused_with_a_sentence(endpoint):
    with pytest.raises(services.TargetRefused, match=r"endpoint") as refusal:
        make(endpoint=endpoint)
    assert "p@" not in str(refusal.value)


@pytest.mark.parametrize(("field", "value"), [
    ("bucket", "No"), ("bucket", ""), ("bucket", "a..b"), ("prefix", "../up"), ("prefix", "UPPER"), ("region", "a b"),
    ("storage_class", "glacier deep"), ("lock_days", 0), ("price", Decimal(-1)), ("currency", "EURO"), ("name", " "),
    ("name", "This server"), ("parity_percent", 51), ("watermark_percent", 0), ("capacity_bytes", 0),
    ("path", "/mnt/x"),
])  # fmt: skip
def test_fields_that_cannot_be_are_refused_by_name(field, value):
    with pytest.raises(services.TargetRefused) as refusal:
        make(**{field: value})
    assert refusal.value.field == field


def test_a_directory_becomes_a_store_and_opens(tmp_path):
    target = Target(name="disk", kind=TargetKind.LOCAL, path=str(tmp_path / "copies"))
    services.create_target(target, None, actor="ada", staff=True)
    assert (tmp_path / "copies" / MARK).exists()
    open_store(kept(target)).put("key", b"content")
    assert open_store(kept(target)).get("key") == b"content"
    (tmp_path / "copies" / MARK).unlink()
    with pytest.raises(StoreUnavailable, match="mark"):
        open_store(kept(target))


@pytest.mark.parametrize("path", ["relative", "", "/mnt/../etc", "{home}/store", "{home}/more", "{full}"])
def test_directories_that_cannot_be_targets_are_refused(tmp_path, strongroom_home, path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "somebodys.txt").write_text("x")
    target = Target(name="disk", kind=TargetKind.LOCAL, path=path.format(home=strongroom_home, full=full))
    with pytest.raises(services.TargetRefused):
        services.create_target(target, None, actor="ada", staff=True)


def test_two_targets_in_one_place_are_refused(tenant, other):
    make(tenant, prefix="a")
    for prefix in ("a", "a/b", ""):
        with pytest.raises(services.TargetRefused, match="lies there already"):
            make(tenant, name="second", prefix=prefix)
    make(tenant, name="second", prefix="ab")
    make(other, prefix="a")
    with pytest.raises(services.TargetRefused, match="named"):
        make(tenant, prefix="c")


@pytest.mark.defence
def test_credentials_are_sealed_and_open_on_their_own_row_only(tenant, other):
    one, two = make(tenant), make(other)
    row = kept(one)
    assert opened(row).secret_key == SECRET_KEY
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret.encode() not in bytes(row.sealed)
        assert secret not in repr(opened(row))
    row.sealed = kept(two).sealed
    with pytest.raises(SecretUnreadable, match="credentials"):
        open_store(row)
    with pytest.raises(SecretUnreadable):
        BOX.open(uuid4(), bytes(kept(one).sealed))


def test_a_key_of_its_own_seals_and_a_former_one_still_opens(tenant, settings):
    old = make(tenant, prefix="old")
    settings.STRONGROOM_SECRETS_KEY = "first-key-0123456789-0123456789-0123"
    assert opened(kept(old)).secret_key == SECRET_KEY  # sealed under DJANGO_SECRET_KEY
    new = make(tenant, name="new", prefix="new")
    settings.STRONGROOM_SECRETS_KEY = "second-key-0123456789-0123456789-012"
    with pytest.raises(SecretUnreadable):
        opened(kept(new))
    settings.STRONGROOM_FORMER_SECRETS_KEYS = ["first-key-0123456789-0123456789-0123"]
    assert opened(kept(new)).secret_key == SECRET_KEY


def test_a_key_that_could_be_guessed_is_refused(monkeypatch, tmp_path):
    assert read_key("STRONGROOM_SECRETS_KEY") == ""
    monkeypatch.setenv("STRONGROOM_SECRETS_KEY", "short")
    with pytest.raises(ImproperlyConfigured, match="32 characters"):
        read_key("STRONGROOM_SECRETS_KEY")
    (tmp_path / "key").write_text("0123456789-0123456789-0123456789\n")
    monkeypatch.setenv("STRONGROOM_SECRETS_KEY_FILE", str(tmp_path / "key"))
    assert read_key("STRONGROOM_SECRETS_KEY") == "0123456789-0123456789-0123456789"


@pytest.mark.defence
def test_credentials_are_not_used_with_another_endpoint_unasked(tenant):
    target = make(tenant)
    target.endpoint = "https://1.1.1.1"
    with pytest.raises(services.TargetRefused, match="anew"):
        services.change_target(target, None, actor="eve", staff=False)
    services.change_target(target, KEYS, actor="ada", staff=False)
    assert kept(target).endpoint == "https://1.1.1.1"
    assert verbs(target) == ["target.added", "target.changed", "target.credentials_set"]


@pytest.mark.parametrize(
    ("field", "value"), [("bucket", "another-bucket"), ("prefix", "x"), ("kind", TargetKind.LOCAL)]
)
def test_what_says_where_copies_lie_cannot_be_changed(tenant, field, value):
    target = make(tenant)
    setattr(target, field, value)
    with pytest.raises(services.TargetRefused, match="stay"):
        services.change_target(target, None, actor="ada", staff=True)


def test_new_credentials_ask_for_a_new_probe(tenant):
    target = make(tenant)
    with without_tenant_scope("test data"):
        Target.objects.update(flags={"checksums": True}, probed_at="2026-01-01T00:00Z")
    services.set_credentials(kept(target), KEYS, actor="ada", staff=False)
    assert (kept(target).flags, kept(target).probed_at) == ({}, None)


def test_states_follow_their_table_and_are_audited(tenant):
    target = make(tenant)
    services.pause_target(target, actor="ada")
    with pytest.raises(services.TargetRefused, match="paused"):
        services.pause_target(target, actor="ada")
    services.drain_target(target, actor="ada")
    services.resume_target(target, actor="ada")
    assert kept(target).state == TargetState.NEW, "no probe has found it good yet"
    services.retire_target(target, actor="ada")
    row = kept(target)
    assert (row.state, bytes(row.sealed)) == (TargetState.RETIRED, b"")
    assert verbs(target) == ["target.added", "target.paused", "target.draining", "target.resumed", "target.retired"]


def test_the_home_directory_is_made_once_and_stays_in_use(strongroom_home):
    home = services.home_target()
    assert services.home_target().pk == home.pk
    assert home.home
    store = open_store(home)
    store.put("key", b"content")
    assert (strongroom_home / "store" / "key").read_bytes() == b"content"
    for act in (services.pause_target, services.drain_target, services.retire_target):
        with pytest.raises(services.TargetRefused, match="always in use"):
            act(home, actor="ada")


def test_tenants_have_their_own_and_the_shared_ones_active_first(tenant, other):
    mine, theirs, shared = make(tenant), make(other), make(None, name="a shared one", bucket="shared-bucket")
    services.pause_target(shared, actor="ada")
    home = services.home_target()
    assert [target.pk for target in targets_of(tenant.pk)] == [home.pk, mine.pk, shared.pk]
    with tenant_scope(tenant):
        assert target_by_id(shared.pk).pk == shared.pk
        assert [target.pk for target in targets_of(tenant.pk)] == [home.pk, mine.pk, shared.pk]
        with pytest.raises(Target.DoesNotExist):
            target_by_id(theirs.pk)
        with pytest.raises(ScopeError):
            targets_of(other.pk)
    assert {target.pk for target in all_targets()} == {home.pk, mine.pk, theirs.pk, shared.pk}


@pytest.mark.parametrize("whose", ["own", "shared"])
def test_a_target_that_is_away_is_told_once_and_its_return_too(tenant, whose):
    target = make(tenant if whose == "own" else None)
    with tenant_scope(tenant):
        services.note_away(target, StoreUnavailable("It does not answer."))
        since = target.away_since
        services.note_away(target, "Still not.")
    row = kept(target)
    assert (row.away_since, row.fault) == (since, "Still not.")
    with without_tenant_scope("tests"):
        alert = Alert.objects.get()
        assert (alert.tenant_id, alert.count, alert.resolved_at) == (target.tenant_id, 2, None)
    with tenant_scope(tenant):
        assert services.note_back(target)
        assert not services.note_back(target)
    with without_tenant_scope("tests"):
        assert Alert.objects.get().resolved_at is not None
    assert kept(target).away_since is None
