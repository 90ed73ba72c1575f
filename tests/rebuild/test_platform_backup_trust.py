"""Who made a platform's backup: only what the operator keeps himself says so, and nothing that lies in a target."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from agents.keys.rsa import PrivateKey, load_private
from backup_platform.audit.models import Entry
from backup_platform.notifications.models import Alert
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.platform_backup import chain, daily, putting
from backup_platform.rebuilding.platform_backup.signing_key import SIGNING_KEY, SigningKey
from backup_platform.targets.home import home_target
from backup_platform.targets.opening import open_store
from backup_platform.tenants.scope import without_tenant_scope
from tests.end_to_end.stage import PASSPHRASE
from tests.rebuild.platform_stage import (
    new_signer,
    packed,
    sealed,
    sealed_to,
    unpacked_files,
    with_anothers_signature,
)
from tests.rebuild.stage import empty_database
from tests.rebuild.test_platform_backup import operator

__all__ = ["operator"]

pytestmark = pytest.mark.django_db(transaction=True)

LATER = "20990101t000000z.backup"


class Stage:
    """A platform that has backed itself up once, and what an operator and a forger do with that."""

    def __init__(self, home: Path, key: Path, tmp_path: Path) -> None:
        self.home, self.key, self.tmp_path = home, key, tmp_path
        self.signers = key.with_name("platform-signers.txt")
        self.outs = 0

    @property
    def private(self) -> PrivateKey:
        return load_private(self.key.read_bytes(), PASSPHRASE)

    @property
    def names(self) -> list[str]:
        """The keys of the backups in the store, the oldest name first."""
        return putting.backups_in(open_store(home_target()))

    def put(self, data: bytes, name: str = LATER) -> str:
        key = f"{putting.folder()}/{name}"
        open_store(home_target()).put(key, data)
        return key

    def unpack(self, *arguments: str, key: Path | None = None) -> dict[str, bytes]:
        """The content of the backup that a restore takes."""
        self.outs += 1
        out = self.tmp_path / f"out-{self.outs}"
        try:
            self.restore("--out", str(out), *arguments, key=key)
        except CommandError:
            assert not out.exists(), "nothing was opened before it was decided"
            raise
        return unpacked_files(out)

    def restore(self, *arguments: str, key: Path | None = None) -> None:
        call_command("restore_platform", "--directory", str(self.home / "store"), "--key", str(key or self.key),
                     *arguments)  # fmt: skip

    def content(self) -> bytes:
        """What a forger would put there: it opens, and brings what it should."""
        return packed(self.unpack("--backup", self.names[0]))


@pytest.fixture
def stage(strongroom_home: Path, operator: Path, tmp_path: Path) -> Stage:
    call_command("back_up_platform")
    return Stage(strongroom_home, operator, tmp_path)


def hash_in(path: Path) -> str:
    """The one signer in a list."""
    (line,) = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return line.split()[0]


def test_the_operator_gets_the_signers_hash_with_his_key_and_the_key_itself_stays(stage: Stage):
    path = stage.home / SIGNING_KEY
    key = SigningKey(path.read_bytes())
    assert path.stat().st_mode & 0o777 == 0o600
    assert hash_in(stage.signers) == key.key_hash.hex()
    files = stage.unpack()
    secret = path.read_bytes().splitlines()[5]
    assert secret in files[SIGNING_KEY], "it survives with the backup, sealed"
    assert secret not in files["database.dump"]


@pytest.mark.defence
def test_a_forged_newer_backup_is_refused_and_the_genuine_one_is_named(stage: Stage):
    (genuine,) = stage.names
    forged = stage.put(sealed_to(stage.private.public, stage.content(), new_signer(), number=99))
    with pytest.raises(CommandError, match=genuine):
        stage.unpack()
    with pytest.raises(CommandError, match="none of the keys that you name"):
        stage.unpack("--backup", forged)
    with pytest.raises(CommandError, match="none of the keys that you name"):
        stage.unpack("--backup", forged, "--unverified")
    assert "database.dump" in stage.unpack("--backup", genuine)


@pytest.mark.defence
def test_a_forged_backup_under_a_genuine_signature_is_refused(stage: Stage):
    data = open_store(home_target()).get(stage.names[0])
    forged = stage.put(with_anothers_signature(data, stage.private.public, stage.content()))
    with pytest.raises(CommandError, match="signature of this backup does not match"):
        stage.unpack("--backup", forged)
    with pytest.raises(CommandError, match="signature of this backup does not match"):
        stage.unpack("--backup", forged, "--unverified")


@pytest.mark.defence
def test_an_unsigned_backup_is_taken_only_by_who_says_so(stage: Stage, capsys: pytest.CaptureFixture[str]):
    older = stage.put(sealed(stage.private, stage.content()), "20200101t000000z.backup")
    with pytest.raises(CommandError, match="not signed"):
        stage.unpack("--backup", older)
    with pytest.raises(CommandError, match="--at-least refuses"):
        stage.unpack("--backup", older, "--unverified", "--at-least", "1")
    assert "database.dump" in stage.unpack("--backup", older, "--unverified")
    assert "nobody vouches for this backup" in capsys.readouterr().err


@pytest.mark.defence
def test_an_older_genuine_backup_does_not_pass_for_the_newest(stage: Stage):
    call_command("back_up_platform")
    first, second = sorted(stage.names)
    store = open_store(home_target())
    renamed = stage.put(store.get(first))
    with pytest.raises(CommandError, match=second):
        stage.unpack()
    store.delete(second)  # what a list of numbers cannot show, the operator's own number does
    assert "database.dump" in stage.unpack("--backup", renamed)
    with pytest.raises(CommandError, match="--at-least asks for 2"):
        stage.unpack("--backup", renamed, "--at-least", "2")


@pytest.mark.defence
def test_names_from_the_future_let_no_genuine_backup_go(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """Who may write to a target, but not delete there, would else have the platform delete its own backups."""
    monkeypatch.setattr(putting, "KEPT", 2)
    first = stage.names[0]
    for day in (1, 2, 3):
        stage.put(b"forged", f"2099010{day}t000000z-1.backup")
    call_command("back_up_platform")
    genuine = [name for name in stage.names if "/2099" not in name]
    assert len(genuine) == 2
    assert first in genuine
    call_command("back_up_platform")
    later = [name for name in stage.names if "/2099" not in name]
    assert len(later) == 2
    assert first not in later


def test_a_restore_says_number_and_time_and_warns_of_an_older_one(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    call_command("back_up_platform")
    call_command("platform_signing_key", "--out", str(stage.signers))
    capsys.readouterr()
    stage.unpack()
    said = capsys.readouterr()
    assert "number 2, begun 20" in said.out
    assert not said.err
    stage.unpack("--backup", sorted(stage.names)[0])
    assert "number 2 was made already" in capsys.readouterr().err
    monkeypatch.setattr("backup_platform.rebuilding.platform_backup.trust.OLD", daily.EVERY * -1)
    stage.unpack()
    assert "one is made a day" in capsys.readouterr().err


def test_the_list_says_who_signed_what(stage: Stage, capsys: pytest.CaptureFixture[str]):
    stage.put(sealed(stage.private, b""), "20200101t000000z.backup")
    stage.put(sealed_to(stage.private.public, b"", new_signer(), number=7))
    stage.put(b"rubbish", "20200102t000000z.backup")
    capsys.readouterr()
    stage.restore("--list")
    lines = capsys.readouterr().out.splitlines()
    endings = ("not signed", "damaged, or no backup", "(yours)", "(not a key that you name)")
    assert [line.endswith(ending) for line, ending in zip(lines, endings, strict=True)] == [True] * 4, lines
    assert "number 7," in lines[3]


# --- an operator's key from before, and other keys -----------------------------------------------------------------


def test_an_operators_key_from_before_comes_to_know_the_signer(stage: Stage, capsys: pytest.CaptureFixture[str]):
    signer = hash_in(stage.signers)
    stage.signers.unlink()
    with pytest.raises(CommandError, match=f"{signer}, and nothing here says"):
        stage.unpack()
    assert stage.unpack("--signer", signer)
    assert stage.unpack("--unverified")
    assert "nobody vouches" in capsys.readouterr().err
    call_command("platform_signing_key", "--out", str(stage.signers))
    assert stage.unpack()


def test_the_platform_asks_until_somebody_keeps_the_signers_hash(stage: Stage):
    def asked() -> bool:
        daily.ask_when_due()
        with without_tenant_scope("the test looks"):
            return Alert.objects.filter(dedupe_key=daily.SIGNER_ALERT, resolved_at__isnull=True).exists()

    assert not asked()
    (stage.home / chain.CHAIN).unlink()
    assert asked()
    call_command("platform_signing_key")
    assert not asked()


@pytest.mark.defence
def test_after_a_replacement_only_the_new_key_signs_and_leaves_a_line(stage: Stage):
    before = stage.tmp_path / "before.txt"
    shutil.copy(stage.signers, before)
    with pytest.raises(CommandError, match="--out FILE with --replace"):
        call_command("platform_signing_key", "--replace")
    call_command("platform_signing_key", "--replace", "--out", str(stage.signers))
    call_command("back_up_platform")
    first, second = sorted(stage.names)
    assert stage.unpack()
    assert stage.unpack("--backup", first), "the old key's line still stands in the list"
    with pytest.raises(CommandError, match="none of the keys"):
        stage.unpack("--signers", str(before), "--backup", second)
    with without_tenant_scope("test"):
        made = Entry.objects.get(verb="platform_signing_key.made")
        replaced = Entry.objects.get(verb="platform_signing_key.replaced")
    assert replaced.detail["before"] == made.detail["key"] == hash_in(before)
    stage.signers.write_text("".join(line for line in stage.signers.open() if hash_in(before) not in line))
    with pytest.raises(CommandError, match="none of the keys"):
        stage.unpack("--backup", first)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(("--signer", "abc"), "is no key's hash"), (("--signers", "nowhere.txt"), "nowhere.txt: no such file")],
)
def test_a_signer_that_is_none_is_named(stage: Stage, arguments: tuple[str, ...], sentence: str):
    with pytest.raises(CommandError, match=sentence):
        stage.unpack(*arguments)


def test_a_list_with_a_wrong_line_is_refused_with_its_number(stage: Stage):
    stage.signers.write_text("# mine\n\nnot a hash\n")
    with pytest.raises(CommandError, match="line 3"):
        stage.unpack()


def test_notes_in_another_encoding_stay_in_a_list_that_is_written_to(stage: Stage):
    signer = hash_in(stage.signers)
    stage.signers.write_bytes(b"# f\xfcr den Tresor\n" + f"{signer.upper()} 1\n".encode())
    call_command("platform_signing_key", "--out", str(stage.signers))
    note, line = stage.signers.read_text().splitlines()
    assert note.endswith("r den Tresor")
    assert line.startswith(signer)


@pytest.mark.parametrize("number", ["1.5", "-1", "true", str(2**64), '"7"', "null"])
def test_a_number_that_is_none_is_named_and_nothing_is_signed(stage: Stage, number: str):
    (stage.home / chain.CHAIN).write_text(f'{{"number": {number}}}')
    with pytest.raises(RebuildRefused, match="is damaged: it keeps the number"):
        chain.sign_next(bytes(32), b"wrapped")


def test_a_damaged_key_signs_nothing_and_is_named(stage: Stage):
    (stage.home / SIGNING_KEY).write_bytes(b"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n")
    with pytest.raises(CommandError, match="signing key is damaged"):
        call_command("back_up_platform")
    call_command("platform_signing_key", "--replace", "--out", str(stage.signers))
    call_command("back_up_platform")
    assert stage.unpack()


# --- coming back ---------------------------------------------------------------------------------------------------


def new_home(stage: Stage, settings) -> Path:
    """Nothing is left but the store and what the operator has."""
    home = stage.tmp_path / "new-home"
    (home / "secrets").mkdir(parents=True, mode=0o700)
    empty_database()
    settings.STRONGROOM_HOME = home
    return home


@pytest.mark.defence
def test_a_restored_platform_signs_on_and_gives_no_number_twice(
    stage: Stage, settings, capsys: pytest.CaptureFixture[str]
):
    home = new_home(stage, settings)
    stage.restore()
    said = capsys.readouterr().out
    assert (home / SIGNING_KEY).read_bytes() == (stage.home / SIGNING_KEY).read_bytes()
    assert (home / SIGNING_KEY).stat().st_mode & 0o777 == 0o600
    assert chain.chain().number == 1 + chain.LEAP
    order = ["start it again", "create_operator_key --public", "rebuild_catalog", "manage.py scrub", "reclaim --resume"]
    assert [said.index(word) for word in order] == sorted(said.index(word) for word in order)
    with without_tenant_scope("test"):
        assert Entry.objects.get(verb="platform.restored").detail["proven"] is True
    call_command("create_operator_key", "--public", str(stage.key.with_name("operator-public.pem")))
    call_command("back_up_platform")
    call_command("restore_platform", "--directory", str(home / "store"), "--key", str(stage.key), "--at-least",
                 str(2 + chain.LEAP), "--out", str(stage.tmp_path / "again"))  # fmt: skip


@pytest.mark.defence
def test_a_signing_key_that_nobody_vouched_for_is_not_taken_over(
    stage: Stage, settings, capsys: pytest.CaptureFixture[str]
):
    stage.signers.unlink()
    home = new_home(stage, settings)
    stage.restore("--unverified")
    assert "platform_signing_key --out" in capsys.readouterr().out
    assert not (home / SIGNING_KEY).exists()
    with without_tenant_scope("test"):
        assert Entry.objects.get(verb="platform.restored").detail["proven"] is False
