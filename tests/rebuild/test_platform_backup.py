"""The platform's own backup: sealed to the operator's key, put to every target, and brought back for real."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from Crypto.PublicKey import RSA
from django.core.management import CommandError, call_command

from agents.keys.rsa import PrivateKey
from backup_platform.audit.models import Entry
from backup_platform.fleet.models import Machine
from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.notifications.models import Alert
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.platform_backup import daily, putting
from backup_platform.rebuilding.platform_backup.envelope import PIECE, opened_pieces
from backup_platform.rebuilding.platform_backup.head import read_head
from backup_platform.rebuilding.platform_backup.operator_key import install_public_key
from backup_platform.rebuilding.platform_backup.restoring import unpack
from backup_platform.rebuilding.platform_backup.signing_key import SIGNING_KEY
from backup_platform.rebuilding.platform_backup.trust import Demands
from backup_platform.targets.home import home_target
from backup_platform.targets.opening import open_store
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from protocol.stored.errors import FormatError
from tests.end_to_end.stage import PASSPHRASE, quick_key
from tests.rebuild.platform_stage import sealed
from tests.rebuild.stage import Aftermath, empty_database, new_gateway, run_jobs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator(tmp_path: Path, strongroom_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's private key; the public one is installed."""
    monkeypatch.setattr("agents.keys.rsa.generate", lambda bits=3072: quick_key())
    monkeypatch.setattr(
        "backup_platform.rebuilding.management.commands.create_operator_key.generate", lambda bits=3072: quick_key()
    )
    monkeypatch.setattr(
        "backup_platform.rebuilding.platform_backup.signing_key.make_pem", lambda: quick_key().to_pem(None)
    )
    # Opening a key file is made slow on purpose, and these tests open it often.
    monkeypatch.setattr(PrivateKey.to_pem, "__defaults__", (1_000,))
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", PASSPHRASE)
    call_command("create_operator_key", "--out", str(tmp_path / "operator"))
    return tmp_path / "operator" / "operator-key.pem"


def test_only_the_public_half_stays_with_the_platform(operator: Path, strongroom_home: Path):
    assert b"ENCRYPTED PRIVATE KEY" in operator.read_bytes()
    kept = (strongroom_home / "operator-key.pem").read_bytes()
    assert b"BEGIN PUBLIC KEY" in kept
    private = [path for path in strongroom_home.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()]
    assert private == [strongroom_home / SIGNING_KEY], "the one that is there is the platform's own"
    assert RSA.import_key(private[0].read_bytes()).n != RSA.import_key(kept).n
    with pytest.raises(RebuildRefused, match="private"):
        install_public_key(RSA.generate(2048).export_key())


@pytest.mark.defence
def test_another_operators_key_leaves_a_line_that_names_both(operator: Path):
    other = RSA.generate(3072).public_key().export_key()
    install_public_key(other, actor="command of eve")
    with without_tenant_scope("test"):
        first, second = Entry.objects.filter(verb="operator_key.installed").order_by("id")
    assert first.detail["before"] is None
    assert (second.actor, second.detail["before"]) == ("command of eve", first.detail["key"])


def test_restored_platform_knows_all_that_it_knew(aftermath: Aftermath, operator: Path, tmp_path: Path, settings):
    call_command("back_up_platform")
    authority = (aftermath.world.gateway.home / "authority" / "ca.pem").read_bytes()
    aftermath.world.gateway.stop()
    home = tmp_path / "new-home"
    (home / "secrets").mkdir(parents=True, mode=0o700)
    empty_database()
    settings.STRONGROOM_HOME = home
    # The new platform has an authority already: its gateway made one when it started.
    new_gateway(home).stop()
    call_command("restore_platform", "--directory", str(aftermath.store), "--key", str(operator))
    with without_tenant_scope("the test looks"):
        assert {machine.name for machine in Machine.objects.all()} == {"alpha", "beta"}
        assert Tenant.objects.get().name == "north"
        assert Entry.objects.filter(verb="platform.restored").exists()
    assert (home / "authority" / "ca.pem").read_bytes() == authority
    assert (home / "secrets" / "django-key").read_text() == settings.SECRET_KEY
    with pytest.raises(CommandError, match="tenants already"):
        call_command("restore_platform", "--directory", str(aftermath.store), "--key", str(operator))


def test_what_came_after_the_backup_is_added_from_the_store(
    aftermath: Aftermath, operator: Path, tmp_path: Path, settings
):
    from backup_platform.catalog.models import Snapshot
    from tests.rebuild.stage import back_up, states

    call_command("back_up_platform")
    back_up(aftermath, "beta", 2)
    run_jobs()
    aftermath.world.gateway.stop()
    empty_database()
    call_command("restore_platform", "--directory", str(aftermath.store), "--key", str(operator))
    with without_tenant_scope("the test looks"):
        assert Snapshot.objects.count() == 3
    call_command("rebuild_catalog", "--directory", str(aftermath.store))
    run_jobs()
    assert states() == {"verified": 4}


def test_wrong_key_and_wrong_passphrase_open_nothing(
    strongroom_home: Path, operator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    call_command("back_up_platform")
    store = strongroom_home / "store"
    other = tmp_path / "other.pem"
    other.write_bytes(quick_key().to_pem(PASSPHRASE, rounds=1_000))
    with pytest.raises(CommandError, match="another operator's key"):
        call_command("restore_platform", "--directory", str(store), "--key", str(other), "--out", str(tmp_path / "o"))
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", "something else altogether")
    with pytest.raises(CommandError):
        call_command(
            "restore_platform", "--directory", str(store), "--key", str(operator), "--out", str(tmp_path / "o")
        )
    assert not (tmp_path / "o").exists()


def test_unpacked_backup_holds_the_database_and_the_keys(strongroom_home: Path, operator: Path, tmp_path: Path):
    call_command("back_up_platform")
    out = tmp_path / "out"
    call_command(
        "restore_platform", "--directory", str(strongroom_home / "store"), "--key", str(operator), "--out", str(out)
    )
    assert (out / "database.dump").read_bytes().startswith(b"PGDMP")
    assert json.loads((out / "manifest.json").read_bytes())["format"] == 1
    assert "PASSWORD" not in (out / "settings.json").read_text()
    assert (out.stat().st_mode & 0o777, (out / "database.dump").stat().st_mode & 0o777) == (0o700, 0o600)


def test_without_an_operators_key_people_are_told(strongroom_home: Path):
    daily.ask_when_due()
    with without_tenant_scope("the test looks"):
        assert "no operator's key" in Alert.objects.get(resolved_at__isnull=True).text
        assert not Job.objects.exists()
    with pytest.raises(CommandError, match="create_operator_key"):
        call_command("back_up_platform")


def test_backup_is_made_once_a_day_by_a_job(strongroom_home: Path, operator: Path):
    daily.ask_when_due()
    daily.ask_when_due()
    run_jobs()
    daily.ask_when_due()
    with without_tenant_scope("the test looks"):
        job = Job.objects.get(kind=JobKind.REBUILD)
        assert job.state == JobState.DONE, job.last_error
        assert Entry.objects.filter(verb="platform.backed_up").count() == 1
    assert len(putting.backups_in(open_store(home_target()))) == 1


def test_oldest_backups_go_and_the_newest_stay(strongroom_home: Path, operator: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(putting, "KEPT", 2)
    store = open_store(home_target())
    for day in (1, 2, 3):
        store.put(f"{putting.folder()}/2020010{day}t000000z.backup", b"older")
    store.put("platform/0123456789abcdef/20200101t000000z.backup", b"another platform's")
    call_command("back_up_platform")
    names = [key.rpartition("/")[2] for key in store.list(putting.folder())]
    assert len(names) == 2
    assert names[0].startswith("20200103")
    assert store.exists("platform/0123456789abcdef/20200101t000000z.backup")


# --- the envelope ------------------------------------------------------------------------------------------------


def opened(key, data: bytes) -> bytes:
    from backup_platform.rebuilding.platform_backup.envelope import LABEL

    file = io.BufferedReader(io.BytesIO(data))
    head = read_head(file)
    assert head.operator == key.public.key_hash
    return b"".join(opened_pieces(file, key.unwrap(head.wrapped, LABEL), head.digest))


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_what_was_sealed_opens_to_the_same_bytes(size: int):
    key = quick_key()
    content = bytes(size)
    assert opened(key, sealed(key, content)) == content


@pytest.mark.defence
def test_sealed_file_that_was_changed_cut_or_reordered_does_not_open():
    key = quick_key()
    data = sealed(key, bytes(3 * PIECE))
    head = len(data) - 3 * (4 + PIECE + 16)
    piece = 4 + PIECE + 16
    pieces = [data[head + n * piece : head + (n + 1) * piece] for n in range(3)]
    spoilt = {
        "the end is cut off": data[: head + 2 * piece],
        "a piece is missing": data[:head] + pieces[0] + pieces[2],
        "pieces are exchanged": data[:head] + pieces[1] + pieces[0] + pieces[2],
        "a bit was turned": data[: head + 5000] + bytes((data[head + 5000] ^ 1,)) + data[head + 5001 :],
        "something follows": data + bytes(20),
    }
    for wrong in spoilt.values():
        with pytest.raises(FormatError):
            opened(key, wrong)


def test_backup_that_names_a_foreign_file_writes_nothing(tmp_path: Path):
    import tarfile

    import zstandard

    key = quick_key()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        member = tarfile.TarInfo("../outside")
        member.size = 4
        file.addfile(member, io.BytesIO(b"evil"))
    data = sealed(key, zstandard.compress(tar.getvalue()))
    with pytest.raises(RebuildRefused, match="does not belong there"):
        unpack(
            io.BufferedReader(io.BytesIO(data)), key, key.public.key_hash, tmp_path / "out", Demands(unverified=True)
        )
    assert not (tmp_path / "outside").exists()
