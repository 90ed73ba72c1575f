"""The recovery kit: written whole or not at all, opened only when nothing in it was changed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agents.errors import ExitCode
from agents.keys import kit_files
from agents.keys.enrollment_key import EnrollmentKey
from agents.keys.faults import KeyFault, KitDamaged, KitFault, WrongPassphrase
from agents.keys.kit import Kit, create_kit, open_kit, rebuild_kit
from agents.keys.passphrases import entropy_bits, generate_passphrase, word_list
from agents.keys.rsa import load_private
from agents.keys.vault_record import open_vault_record
from agents.keys.wrapped_secret import unwrap_secret
from tests.keys.material import private_key

PASSPHRASE = "acorn-badger-canoe"
NAME = 'Büro <script>alert("1")</script> & Söhne'
FILES = {
    "recovery-key.pem",
    "signing-key.pem",
    "kit.json",
    "recovery-kit.html",
    "enrolment-key.json",
    "vault-registration.json",
}


def make(directory: Path, passphrase: str = PASSPHRASE, name: str = NAME) -> Kit:
    keys = {"opening": private_key("opening"), "signing": private_key("signing")}
    return create_kit(directory, passphrase, name, rounds=500, **keys)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Path]:
    make(tmp_path / "kit")
    return tmp_path / "kit"


def test_a_kit_opens_to_what_was_made(tmp_path: Path) -> None:
    made = make(tmp_path / "kit")
    opened = open_kit(tmp_path / "kit", PASSPHRASE)
    assert opened.name == NAME
    assert opened.opening.public == private_key("opening").public
    assert opened.signing.public == private_key("signing").public
    assert opened.vault_record == made.vault_record
    assert opened.enrollment == made.enrollment == EnrollmentKey.read(tmp_path / "kit")


def test_a_kit_is_made_with_two_new_keys_and_the_full_rounds_unless_asked_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = [private_key("opening"), private_key("signing")]
    monkeypatch.setattr("agents.keys.kit.generate", fresh.pop)
    made = create_kit(tmp_path / "kit", PASSPHRASE, "Office")
    assert fresh == []
    assert json.loads((tmp_path / "kit" / "kit.json").read_text())["passphrase"]["rounds"] == 600_000
    assert made.opening.public != made.signing.public


def test_the_files_are_private_and_complete(kit: Path) -> None:
    assert {path.name for path in kit.iterdir()} == FILES
    assert stat.S_IMODE(kit.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in kit.iterdir()} == {0o600}


def test_the_files_are_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make(tmp_path / "kit")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "kit").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "kit").iterdir()} == {0o600}


def test_the_registration_lets_the_platform_know_the_vault_and_nothing_secret(kit: Path) -> None:
    registration = json.loads((kit / "vault-registration.json").read_text())
    opened = open_kit(kit, PASSPHRASE)
    record = open_vault_record(base64.b64decode(registration["record"]), opened.signing.public.key_hash, 1)
    (wrapped,) = [base64.b64decode(item) for item in registration["wrapped_secrets"]]
    unwrapped = unwrap_secret(wrapped, opened.opening, vault_id=record.vault_id)
    assert unwrapped == (1, opened.enrollment.dedup_secret)
    assert_no_secret((kit / "vault-registration.json").read_bytes(), opened)


def assert_no_secret(content: bytes, kit: Kit) -> None:
    secret = kit.enrollment.dedup_secret
    for form in (
        secret,
        secret.hex().encode(),
        base64.b64encode(secret),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    ):
        assert form not in content
    for key in (kit.opening, kit.signing):
        der = key.to_der()
        assert der[200:230] not in content
        assert base64.b64encode(der)[300:360] not in content.replace(b"\n", b"")


@pytest.mark.parametrize("name", sorted(FILES - {"enrolment-key.json"}))
def test_no_file_but_the_enrolment_key_holds_a_secret_in_clear(kit: Path, name: str) -> None:
    content = (kit / name).read_bytes()
    assert_no_secret(content, open_kit(kit, PASSPHRASE))
    assert PASSPHRASE.encode() not in content


def test_openssl_opens_the_key_files_with_the_passphrase_only(kit: Path) -> None:
    for name in ("recovery-key.pem", "signing-key.pem"):
        command = ["openssl", "pkey", "-noout", "-in", str(kit / name), "-passin"]
        assert subprocess.run([*command, f"pass:{PASSPHRASE}"], capture_output=True, timeout=20).returncode == 0
        assert subprocess.run([*command, "pass:wrong"], capture_output=True, timeout=20).returncode != 0


def test_a_wrong_passphrase_and_damage_are_told_apart(kit: Path) -> None:
    with pytest.raises(WrongPassphrase, match="passphrase is wrong") as wrong:
        open_kit(kit, "badger-acorn-canoe")
    assert wrong.value.exit_code == ExitCode.AUTHENTICATION
    damage(kit / "signing-key.pem", 900)
    with pytest.raises(KitDamaged, match=r"signing-key\.pem of this kit is damaged") as damaged:
        open_kit(kit, PASSPHRASE)
    assert damaged.value.exit_code == ExitCode.DAMAGE
    for caught in (wrong, damaged):
        assert PASSPHRASE not in str(caught.value)


def damage(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["kit.json", "recovery-key.pem", "signing-key.pem"])
def test_any_damaged_byte_is_damage_and_never_called_a_wrong_passphrase(kit: Path, name: str) -> None:
    whole = (kit / name).read_bytes()
    for position in range(0, len(whole), 37):
        (kit / name).write_bytes(whole)
        damage(kit / name, position)
        if name == "kit.json" and json_equal((kit / name).read_bytes(), whole):
            continue  # white space, or another spelling of the same value
        with pytest.raises(KitDamaged):
            open_kit(kit, PASSPHRASE)


def json_equal(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


@pytest.mark.defence
@pytest.mark.parametrize("name", ["recovery-key.pem", "signing-key.pem"])
def test_no_key_is_looked_at_before_its_file_was_checked(kit: Path, name: str, monkeypatch) -> None:
    """CBC does not authenticate: a key that was altered under its encryption must not be used even to find that out."""
    loaded: list[bytes] = []
    monkeypatch.setattr("agents.keys.kit.load_private", lambda data, passphrase: loaded.append(data))
    damage(kit / name, 900)
    with pytest.raises(KitDamaged, match="damaged or was exchanged"):
        open_kit(kit, PASSPHRASE)
    assert loaded == []


def test_an_altered_kit_with_a_corrected_checksum_is_still_damage(kit: Path) -> None:
    """Whoever alters kit.json knowingly can make the checksum right, but not the MAC."""
    import hashlib

    body = json.loads((kit / "kit.json").read_text())
    del body["checksum"]
    body["name"] = "Another vault"
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    body["checksum"] = hashlib.sha256(canonical).hexdigest()
    (kit / "kit.json").write_text(json.dumps(body))
    with pytest.raises(KitDamaged, match="altered"):
        open_kit(kit, PASSPHRASE)


def test_key_files_of_another_kit_under_the_same_passphrase_are_refused(kit: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    create_kit(other, PASSPHRASE, NAME, opening=private_key("evil"), signing=private_key("signing"), rounds=500)
    shutil.copy(other / "recovery-key.pem", kit / "recovery-key.pem")
    with pytest.raises(KitDamaged, match=r"recovery-key\.pem"):
        open_kit(kit, PASSPHRASE)


def test_swapped_key_files_are_refused(kit: Path) -> None:
    one, other = (kit / "recovery-key.pem").read_bytes(), (kit / "signing-key.pem").read_bytes()
    (kit / "recovery-key.pem").write_bytes(other)
    (kit / "signing-key.pem").write_bytes(one)
    with pytest.raises(KitDamaged):
        open_kit(kit, PASSPHRASE)


@pytest.mark.parametrize("name", ["kit.json", "recovery-key.pem", "signing-key.pem"])
def test_a_missing_file_is_named(kit: Path, name: str) -> None:
    (kit / name).unlink()
    with pytest.raises(KitDamaged, match=name.replace(".", r"\.")):
        open_kit(kit, PASSPHRASE)


def test_a_kit_opens_without_the_enrolment_key_and_the_page(kit: Path) -> None:
    for name in ("enrolment-key.json", "recovery-kit.html", "vault-registration.json"):
        (kit / name).unlink()
    assert len(open_kit(kit, PASSPHRASE).enrollment.dedup_secret) == 32


def test_where_no_kit_is_that_is_said(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere", Path(__file__)):
        with pytest.raises(KitFault, match="no kit in"):
            open_kit(place, PASSPHRASE)


def test_an_existing_kit_is_never_overwritten(kit: Path) -> None:
    before = {path.name: path.read_bytes() for path in kit.iterdir()}
    with pytest.raises(KitFault, match="already holds a kit"):
        make(kit)
    assert {path.name: path.read_bytes() for path in kit.iterdir()} == before


def test_a_directory_with_anything_in_it_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(KitFault, match="not empty"):
        make(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"letter.txt"}
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_an_empty_directory_is_taken_and_made_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@pytest.mark.parametrize("step", range(1, 20))
def test_a_crash_at_any_step_leaves_no_kit_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The process ends before its n-th file operation, cleaning nothing up, as a power cut would."""
    directory = tmp_path / "kit"
    crashed = crash_at(monkeypatch, step, lambda: make(directory))
    if not crashed:
        assert open_kit(directory, PASSPHRASE).name == NAME
        return
    if (directory / "kit.json").exists():
        assert open_kit(directory, PASSPHRASE).name == NAME  # only tidying up was left to do
    else:
        with pytest.raises((KitFault, KitDamaged)):
            open_kit(directory, PASSPHRASE)
    with pytest.raises(KitFault, match=r"interrupted|already holds a kit"):
        make(directory)


class PowerCutError(BaseException):
    pass


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int, action: object) -> bool:
    """Run ``action`` and end it before the n-th file operation of a kit's writing; True when that happened."""
    count = 0

    def counted(function: object) -> object:
        def run(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == step:
                raise PowerCutError
            return function(*arguments, **options)

        return run

    with monkeypatch.context() as patched:
        patched.setattr(kit_files, "write_private", counted(kit_files.write_private))
        patched.setattr(kit_files, "fsync_directory", counted(kit_files.fsync_directory))
        patched.setattr(Path, "rename", counted(Path.rename))
        patched.setattr(kit_files, "_take_back", lambda *_: None)
        try:
            action()
        except PowerCutError:
            return True
    return False


def test_a_fault_while_writing_takes_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def full(path: Path, data: bytes) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_bytes(data)

    with monkeypatch.context() as patched:
        patched.setattr(kit_files, "write_private", full)
        with pytest.raises(KitFault, match="No space left"):
            make(tmp_path / "kit")
    assert list((tmp_path / "kit").iterdir()) == []
    make(tmp_path / "kit")


def test_of_two_at_once_only_one_makes_a_kit(tmp_path: Path) -> None:
    kit_files.prepare_directory(tmp_path / "kit")
    (tmp_path / "kit" / ".unfinished").mkdir()  # the other one is at it
    with pytest.raises(KitFault):
        kit_files.write_kit(tmp_path / "kit", {"kit.json": b"{}"})
    assert {path.name for path in (tmp_path / "kit").iterdir()} == {".unfinished"}


@pytest.mark.parametrize("name", ["", "   ", "a" * 101, "two\nlines", "bell\a"])
def test_an_unusable_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KitFault, match="name"):
        make(tmp_path / "kit", name=name)
    assert not (tmp_path / "kit").exists()


def test_a_kit_without_a_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KitFault, match="needs a passphrase"):
        make(tmp_path / "kit", passphrase="")


class Page(HTMLParser):
    """Collects what a browser would load or run, and the text of blocks."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.blocks: list[str] = []
        self._block = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "onload", "action")]
        self._block = tag == "pre"

    def handle_data(self, data: str) -> None:
        if self._block:
            self.blocks.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._block = False


def test_the_page_loads_nothing_runs_nothing_and_escapes_the_name(kit: Path) -> None:
    text = (kit / "recovery-kit.html").read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert page.links == []
    assert "url(" not in text
    assert "@import" not in text
    assert "&lt;script&gt;" in text
    assert "$" not in text


def test_the_paper_alone_is_enough_to_have_both_keys_again(kit: Path) -> None:
    blocks = [block for block in Page((kit / "recovery-kit.html").read_text()).blocks if "BEGIN" in block]
    keys = [load_private(block.encode(), PASSPHRASE).public for block in blocks]
    assert keys == [private_key("opening").public, private_key("signing").public]


def test_a_whole_kit_is_made_again_from_paper_and_registration(kit: Path, tmp_path: Path) -> None:
    typed = tmp_path / "typed"
    typed.mkdir()
    blocks = [block for block in Page((kit / "recovery-kit.html").read_text()).blocks if "BEGIN" in block]
    for name, block in zip(("recovery-key.pem", "signing-key.pem"), blocks, strict=True):
        (typed / name).write_text(block)
    registration = (kit / "vault-registration.json").read_bytes()
    again = rebuild_kit(tmp_path / "again", PASSPHRASE, NAME, keys=typed, registration=registration, rounds=500)
    first = open_kit(kit, PASSPHRASE)
    assert open_kit(tmp_path / "again", PASSPHRASE).vault_record == again.vault_record == first.vault_record
    assert again.enrollment == first.enrollment


def test_keys_and_registration_of_different_vaults_make_no_kit(kit: Path, tmp_path: Path) -> None:
    other = create_kit(
        tmp_path / "other", PASSPHRASE, NAME, opening=private_key("evil"), signing=private_key("signing"), rounds=500
    )
    for registration, fault in ((other.registration(), "one vault"), (b"{}", "damaged"), (b"[", "damaged")):
        with pytest.raises(KitFault, match=fault):
            rebuild_kit(tmp_path / "again", PASSPHRASE, NAME, keys=kit, registration=registration, rounds=500)
    with pytest.raises(WrongPassphrase):
        rebuild_kit(tmp_path / "again", "wrong", NAME, keys=kit, registration=other.registration(), rounds=500)
    with pytest.raises((KitFault, KeyFault), match="not in"):
        rebuild_kit(tmp_path / "again", PASSPHRASE, NAME, keys=tmp_path, registration=b"{}", rounds=500)
    assert not (tmp_path / "again").exists()


def test_a_generated_passphrase_has_six_words_of_the_list() -> None:
    words = generate_passphrase().split("-")
    assert len(words) == 6
    assert set(words) <= set(word_list())
    assert generate_passphrase() != generate_passphrase()
    assert entropy_bits() > 65


def test_the_word_list_is_what_it_says() -> None:
    words = word_list()
    assert len(words) == len(set(words)) >= 1296
    assert list(words) == sorted(words)
    assert all(word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 9 for word in words)
