"""The `strongroom` command against a gateway that cheats: one sentence, its exit code, and nothing handed over.

Each gateway here speaks real TLS with the pinned authority's certificate, so it is the right server gone bad.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from msgspec.structs import replace

from agents.errors import ExitCode
from agents.keys.statement import sign_statement
from agents.state import AgentHome
from protocol.stored.statements import NO_PREVIOUS, Statement, decode_statement
from protocol.stored.vault_records import Recipient, SignedVaultRecord, decode_vault_record, encode_vault_body
from protocol.wire import FailureCode, messages
from tests.agent.scripted_gateway import MACHINE, TENANT, VAULT, Peer, rsa_key, scripted, vault_record
from tests.agent.test_cli import strongroom
from tests.hostile.servers import Giver, Taker
from tests.restore import forge
from tests.restore.forge import Shelf, directory, file

pytestmark = pytest.mark.defence


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    (top / "plans").write_bytes(b"what nobody else may read " * 50)
    return top


def statement(sequence: int, previous: bytes = b"p" * 32, **changes: Any) -> Statement:
    """A statement that this machine made."""
    values = {
        "vault_id": VAULT,
        "epoch": 1,
        "machine_id": MACHINE,
        "sequence": sequence,
        "time": 1_700_000_000_000_000,
        "previous": previous if sequence > 1 else NO_PREVIOUS,
        "root_hash": b"r" * 32,
        "blocks_hash": b"b" * 32,
        **changes,
    }
    return sign_statement(rsa_key("identity"), **values)


def remember(home: AgentHome, newest: Statement) -> None:
    home.save_pending_statement(newest.encode())
    home.promote_pending_statement()


def altered_record(**changes: Any) -> bytes:
    """The true vault record with fields exchanged, still under its true signature."""
    true = decode_vault_record(vault_record(number=2))
    body = replace(true.body, **changes)
    return SignedVaultRecord(body, encode_vault_body(body), true.signature).encode()


# --- backing up --------------------------------------------------------------------------------------


def test_honest_gateway_gets_a_backup_that_is_sealed_to_the_vault_and_the_machine(tmp_path: Path, source: Path):
    """The measure of the refusals below: the same gateway without a lie gets everything."""
    taker = Taker()
    with scripted(tmp_path, taker) as (_, home):
        said = strongroom("backup", str(source), "--no-wait", home=home.path)
    assert said.returncode == ExitCode.DONE, said
    assert {"Put", "Commit"} <= set(taker.heard)
    assert taker.sealed_to == {rsa_key("opening").public.key_hash, rsa_key("reading").public.key_hash}
    assert home.last_statement() == taker.commits[0].statement


def test_recipient_that_the_kit_named_is_sealed_to_and_a_later_record_without_it_is_final(tmp_path: Path, source: Path):
    """A signed record decides. Once a newer one was seen, the older cannot bring a removed recipient back."""
    auditor = vault_record(number=2, further=[("auditor", rsa_key("auditor").public)])
    first, second, third = (
        Taker(welcome={"vault_record": record}) for record in (auditor, vault_record(number=3), auditor)
    )
    with scripted(tmp_path, first, second, third) as (_, home):
        assert strongroom("backup", str(source), "--no-wait", home=home.path).returncode == 0
        assert rsa_key("auditor").public.key_hash in first.sealed_to
        newest = decode_head(home)
        second.begun = third.begun = newest
        assert strongroom("backup", str(source), "--no-wait", home=home.path).returncode == 0
        assert rsa_key("auditor").public.key_hash not in second.sealed_to
        third.begun = decode_head(home)
        refused = strongroom("backup", str(source), "--no-wait", home=home.path)
    assert_refused(refused, ExitCode.AUTHENTICATION, "vault record 2, but record 3 has been seen")
    assert not third.got_data


def decode_head(home: AgentHome) -> dict[str, Any]:
    last = home.last_statement()
    assert last is not None
    newest = decode_statement(last)
    return {"head": newest.digest, "head_sequence": newest.sequence}


def assert_refused(said, code: ExitCode, sentence: str) -> None:
    assert said.returncode == code, said
    assert sentence in said.stderr, said
    assert said.stdout == ""
    assert "Traceback" not in said.stderr
    assert "unexpected" not in said.stderr


SERVER = {"opening_key": rsa_key("server").public}
LIES = [
    pytest.param(
        {"vault_record": vault_record(number=2, signer="server's signing", **SERVER)},
        "signed by another key",
        id="its own vault key, signed by itself",
    ),
    pytest.param(
        {"vault_record": altered_record(opening_key=rsa_key("server").public.spki)},
        "altered or forged",
        id="its own vault key under the true signature",
    ),
    pytest.param(
        {"vault_record": vault_record(number=2, signer="server's signing", further=[("x", rsa_key("server").public)])},
        "signed by another key",
        id="an extra recipient, signed by itself",
    ),
    pytest.param(
        {"vault_record": altered_record(recipients=[Recipient("helpful", 1, rsa_key("server").public.spki)])},
        "altered or forged",
        id="an extra recipient under the true signature",
    ),
    pytest.param({"vault_record": vault_record(number=1)}, "record 4 has been seen", id="an older vault record"),
    pytest.param(
        {"vault_record": vault_record(number=9, vault_id=b"W" * 16)},
        "belongs to another vault",
        id="a record of another vault of the same kit",
    ),
    pytest.param({"vault_record": b""}, "damaged", id="no vault record"),
    pytest.param({"vault_id": b"W" * 16}, "names another vault", id="another vault"),
]


@pytest.mark.parametrize(("lie", "sentence"), LIES)
def test_backup_is_refused_and_nothing_is_handed_over(tmp_path: Path, source: Path, lie: dict, sentence: str):
    taker = Taker(welcome=lie)
    with scripted(tmp_path, taker, home={"record_number": 4}) as (_, home):
        said = strongroom("backup", str(source), "--no-wait", home=home.path)
        assert home.machine().record_number == 4
    assert_refused(said, ExitCode.AUTHENTICATION, sentence)
    assert not taker.got_data
    assert taker.sealed_to == set()


CHAINS = [
    pytest.param({"head": statement(4).digest, "head_sequence": 4}, id="shortened"),
    pytest.param({"head": bytes(32), "head_sequence": 0}, id="empty"),
    pytest.param({"head": statement(5, b"q" * 32).digest, "head_sequence": 5}, id="forked"),
    pytest.param({"head": b"f" * 32, "head_sequence": 6}, id="forged"),
    pytest.param({"head": statement(5).digest, "head_sequence": 6}, id="renumbered"),
    pytest.param({"head": b"f" * 32, "head_sequence": 2**63 - 1}, id="at the end of numbers"),
]


@pytest.mark.parametrize("head", CHAINS)
def test_chain_that_is_not_this_machines_is_refused_and_nothing_is_handed_over(
    tmp_path: Path, source: Path, head: dict
):
    taker = Taker(begun=head)
    with scripted(tmp_path, taker) as (_, home):
        remember(home, statement(5))
        said = strongroom("backup", str(source), "--no-wait", home=home.path)
        assert home.last_statement() == statement_bytes(home)
        assert home.pending_statement() is None
    assert_refused(said, ExitCode.FAILED, "is not the one that this machine made (number 5)")
    assert not taker.got_data


def statement_bytes(home: AgentHome) -> bytes:
    return (home.path / "statement.last").read_bytes()


def test_ids_that_nobody_knows_are_wanted_in_vain(tmp_path: Path, source: Path):
    wanted = b"".join(blake3(b"%d" % number).digest() for number in range(20_000))
    taker = Taker(begun={"wanted": wanted})
    with scripted(tmp_path, taker) as (_, home):
        assert strongroom("backup", str(source), "--no-wait", home=home.path).returncode == ExitCode.DONE
    assert len(taker.puts) == len(set(taker.puts)) > 0
    assert taker.heard.count("Commit") == 1


def test_acknowledgement_of_another_snapshot_is_refused(tmp_path: Path, source: Path):
    taker = Taker(committed={"snapshot": b"x" * 16})
    with scripted(tmp_path, taker) as (_, home):
        said = strongroom("backup", str(source), "--no-wait", home=home.path)
        assert home.last_statement() is None
    assert_refused(said, ExitCode.FAILED, "published another snapshot")


def test_words_of_the_server_do_not_steer_the_terminal(tmp_path: Path, source: Path):
    taker = Taker(committed={"state": "received\x1b[2J\x1b]0;owned\x07"})

    def refuse(peer: Peer) -> None:
        _, event = peer.expect(messages.Hello)
        failure = messages.Failure(code=FailureCode.REVOKED, message="gone\x1b[31m\nerror: all is well\x9b")
        peer.send(failure, event.request)

    with scripted(tmp_path, taker, refuse) as (_, home):
        done = strongroom("backup", str(source), "--no-wait", home=home.path)
        refused = strongroom("backup", str(source), "--no-wait", home=home.path)
    assert (done.returncode, refused.returncode) == (ExitCode.DONE, ExitCode.AUTHENTICATION)
    assert "\\x1b[2J" in done.stdout
    assert "gone\\x1b[31m error: all is well" in refused.stderr
    for said in (done.stdout, done.stderr, refused.stdout, refused.stderr):
        assert not set(said) & {"\x1b", "\x07", "\x9b"}


# --- restoring ---------------------------------------------------------------------------------------


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """Three honest snapshots of the machine that `scripted` makes a home for."""
    assert (forge.TENANT, forge.VAULT, forge.MACHINE) == (TENANT, VAULT, MACHINE)
    monkeypatch.setattr(forge, "key", rsa_key)
    forge.record.cache_clear()
    made = Shelf()
    for number in range(3):
        made.snapshot([directory(b"/a"), file(b"/a/f", b"%d" % number)], [directory(b"/b"), file(b"/b/g", b"g")])
    yield made
    forge.record.cache_clear()


def restore(tmp_path: Path, shelf: Shelf, newest: Statement | None = None):
    giver = Giver(shelf)
    with scripted(tmp_path, giver) as (_, home):
        remember(home, newest or shelf.made[-1].statement)
        said = strongroom("restore", "latest", "--target", str(tmp_path / "target"), home=home.path)
    return said, giver


def test_honest_gateway_gives_the_snapshot_back(tmp_path: Path, shelf: Shelf):
    said, _ = restore(tmp_path, shelf)
    assert said.returncode == ExitCode.DONE, said
    assert (tmp_path / "target" / "a" / "f").read_bytes() == b"2"


def hide_the_newest(shelf: Shelf) -> None:
    shelf.made.pop()


def fork(shelf: Shelf) -> None:
    shelf.made.pop()
    shelf.snapshot([file(b"/x", b"another history")])


def forge_the_newest(shelf: Shelf) -> None:
    shelf.made.pop()
    shelf.snapshot([file(b"/x", b"x")], signer="server")


def give_an_older_root(shelf: Shelf) -> None:
    older, newest = shelf.made[1], shelf.made[2]
    shelf.made[2] = forge.Made(newest.statement, older.root, older.recipients, older.blocks)


def reorder(shelf: Shelf) -> None:
    shelf.made[0], shelf.made[1] = shelf.made[1], shelf.made[0]


def replay_an_older_statement_as_the_newest(shelf: Shelf) -> None:
    shelf.made.append(shelf.made[0])


CHEATS = [
    pytest.param(hide_the_newest, "missing at the end", id="hides the newest"),
    pytest.param(fork, "is not the one that this machine made last", id="forks"),
    pytest.param(forge_the_newest, "was not signed by this machine", id="forges"),
    pytest.param(give_an_older_root, "not the one that the machine signed for", id="gives another root"),
    pytest.param(replay_an_older_statement_as_the_newest, "missing at the end", id="replays"),
]


@pytest.mark.parametrize(("cheat", "sentence"), CHEATS)
def test_restore_is_refused_as_damage_and_nothing_is_written(tmp_path: Path, shelf: Shelf, cheat, sentence: str):
    newest = shelf.made[-1].statement
    cheat(shelf)
    said, giver = restore(tmp_path, shelf, newest)
    assert_refused(said, ExitCode.DAMAGE, sentence)
    assert "Fetch" not in giver.heard
    assert not (tmp_path / "target").exists()


def test_snapshots_in_another_order_are_damage(tmp_path: Path, shelf: Shelf):
    reorder(shelf)
    with scripted(tmp_path, Giver(shelf)) as (_, home):
        said = strongroom("snapshots", home=home.path)
    assert said.returncode == ExitCode.DAMAGE
    assert "does not come after" in said.stderr


def test_numbers_that_are_not_listed_are_named(tmp_path: Path, shelf: Shelf):
    del shelf.made[1]
    with scripted(tmp_path, Giver(shelf)) as (_, home):
        said = strongroom("snapshots", home=home.path)
    assert said.returncode == ExitCode.DONE
    assert "Snapshot number 2 is not listed: expired, or hidden by the server." in said.stdout


def test_swapped_segment_and_foreign_chunks_are_damage_and_never_content(tmp_path: Path, shelf: Shelf):
    """The server answers with another snapshot's segment, and for one file with another file's chunk."""
    h = {number: forge.SEALER.identify(b"%d" % number)[1] for number in range(3)}
    shelf.chunks[h[2]] = shelf.chunks[h[0]]
    reader = forge.SnapshotReader(shelf, forge.trust())
    segments = [reader.open(each).body.segments[1] for each in reader.listed()]
    shelf.chunks[segments[0].chunk_id] = shelf.chunks[h[1]]
    said, _ = restore(tmp_path, shelf)
    assert said.returncode == ExitCode.DAMAGE, said
    assert [path.name for path in (tmp_path / "target").rglob("*")] == ["a"]
