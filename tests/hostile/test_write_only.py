"""A write-only machine cannot read its own snapshots, whatever it does with its files; the kit can, from anywhere.

The modified agent here is what a thief of the machine would write: it has every file of the agent's home, the cache
with all ids and hashes, both private keys and the certificate, and speaks the protocol as it likes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from blake3 import blake3

from agents.engine.cache import Binding, Cache
from agents.engine.sealing import OpeningFault, open_root
from agents.keys import machine_record
from agents.keys.kit_proof import sign_kit_proof
from agents.keys.rsa import PrivateKey, load_private
from agents.state import AgentHome
from backup_platform.catalog.models import Snapshot
from backup_platform.catalog.stores import local_target, root_key
from backup_platform.tenants.scope import tenant_scope
from protocol.stored.recipients import split_recipients
from protocol.stored.statements import decode_statement
from protocol.wire import FailureCode, messages
from protocol.wire.codec import encode_body
from protocol.wire.frames import encode_header
from protocol.wire.types import MessageType
from tests.end_to_end.stage import Agent, World
from tests.end_to_end.trees import describe
from tests.gateway.agent_peer import AgentPeer, Failed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.defence]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "deep").mkdir(parents=True)
    (top / "deep" / "plans").write_bytes(b"what this machine may not read back " * 20_000)
    (top / "small").write_bytes(b"nor this")
    return top


@pytest.fixture
def sealed(world: World, source: Path) -> Agent:
    """A write-only machine with one snapshot."""
    agent = world.agent("sealed", write_only=True)
    said = agent.run("backup", source, "--no-wait")
    assert said.code == 0, said
    return agent


@dataclass
class Thief:
    """Everything that lies in a stolen agent home."""

    home: AgentHome

    @property
    def certificate(self) -> Path:
        return self.home.certificate_path

    @property
    def key(self) -> Path:
        return self.home.identity_path

    @property
    def snapshot(self) -> bytes:
        last = self.home.last_statement()
        assert last is not None
        return decode_statement(last).snapshot_id

    def keys(self) -> dict[str, PrivateKey]:
        return {
            "identity": load_private(self.home.identity_pem()),
            "reading": load_private(self.home.reading_pem()),
        }

    def ids(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """Every reference block of the snapshot with every chunk id in it, out of the cache."""
        machine = self.home.machine()
        cache = Cache(self.home.cache_path, Binding(machine.vault_id, machine.epoch, machine.machine_id))
        try:
            layout = cache.layout()
            assert layout is not None
            for segment in cache.segments(layout):
                yield segment.head.ref.block_id, [segment.head.ref.chunk_id, *cache.chunk_ids(segment)]
        finally:
            cache.close()

    def readings(self) -> list[messages.Message]:
        """Every way to ask for content."""
        asked: list[messages.Message] = [
            messages.Root(snapshot=self.snapshot),
            messages.Root(snapshot=self.snapshot, machine_name=self.home.machine().machine_name),
        ]
        for block, ids in self.ids():
            asked += [
                messages.Fetch(snapshot=self.snapshot, block=block),
                messages.Fetch(snapshot=self.snapshot, block=block, ids=b"".join(ids)),
                *(messages.Fetch(snapshot=self.snapshot, block=block, ids=one) for one in ids),
            ]
        assert len(asked) > 5
        return asked


@pytest.fixture
def thief(sealed: Agent) -> Thief:
    return Thief(AgentHome(sealed.home))


def fails_with(code: FailureCode, agent: AgentPeer, message: messages.Message) -> None:
    with pytest.raises(Failed) as failed:
        agent.ask(message)
    assert failed.value.code == code


def pretend_that_it_may_read(agent: Agent) -> None:
    file = agent.home / "machine.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"write_only": False}))


def test_roots_and_chunks_are_refused_by_every_name(world: World, thief: Thief):
    with AgentPeer(world.gateway, thief) as agent:
        assert agent.welcome.write_only
        for message in thief.readings():
            fails_with(FailureCode.FORBIDDEN, agent, message)


def test_its_own_keys_prove_nothing(world: World, thief: Thief):
    machine = thief.home.machine()
    for key in thief.keys().values():
        for name in (machine.machine_name, ""):
            with AgentPeer(world.gateway, thief) as agent:
                scope = blake3(name.encode()).digest()[:16]
                leaf = world.gateway.gateway.context.certificate_hash
                proof = sign_kit_proof(key, agent.welcome.nonce, leaf, machine.machine_id, scope)
                fails_with(FailureCode.FORBIDDEN, agent, messages.Prove(scope_name=name, signature=proof))
                fails_with(FailureCode.FORBIDDEN, agent, messages.Root(snapshot=thief.snapshot))


def test_proof_of_somebody_else_is_worth_nothing_on_its_connection(world: World, thief: Thief):
    """The kit's holder restores on another machine; what it signed there is replayed here."""
    other = world.agent("other")
    honest = AgentHome(other.home)
    machine = honest.machine()
    with AgentPeer(world.gateway, Thief(honest)) as agent, AgentPeer(world.gateway, thief) as thieving:
        scope = blake3(b"sealed").digest()[:16]
        leaf = world.gateway.gateway.context.certificate_hash
        proof = sign_kit_proof(world.kit.signing, agent.welcome.nonce, leaf, machine.machine_id, scope)
        replayed = messages.Prove(scope_name="sealed", signature=proof)
        fails_with(FailureCode.FORBIDDEN, thieving, replayed)
        agent.ask(replayed)
        fails_with(FailureCode.FORBIDDEN, thieving, replayed)
        fails_with(FailureCode.FORBIDDEN, thieving, messages.Root(snapshot=thief.snapshot))


@pytest.mark.parametrize("verb", [MessageType.FETCH, MessageType.ROOT, MessageType.LIST])
def test_beginning_a_backup_is_no_way_to_read(world: World, thief: Thief, verb: MessageType):
    block, ids = next(thief.ids())
    last = decode_statement(thief.home.last_statement())
    said = {
        MessageType.FETCH: messages.Fetch(snapshot=thief.snapshot, block=block, ids=ids[0]),
        MessageType.ROOT: messages.Root(snapshot=thief.snapshot),
        MessageType.LIST: messages.List(),
    }[verb]
    with AgentPeer(world.gateway, thief) as agent:
        agent.ask(messages.Begin(generation=1, head=last.digest, head_sequence=last.sequence))
        body = encode_body(said)  # past the agent's own half of the protocol, which would not send it
        agent.socket.sendall(encode_header(verb, 4711, len(body), 0) + body)
        with pytest.raises(Failed) as failed:
            agent.wait_end()
    assert failed.value.code == FailureCode.PROTOCOL


def test_machine_record_that_says_otherwise_is_refused(world: World, thief: Thief):
    machine, keys = thief.home.machine(), thief.keys()
    record = machine_record.make(
        vault_id=machine.vault_id,
        machine_id=machine.machine_id,
        epoch=machine.epoch,
        write_only=False,
        identity_key=keys["identity"].public,
        reading_key=keys["reading"].public,
        dedup_secret=thief.home.dedup_secret(),
    )
    with AgentPeer(world.gateway, thief) as agent:
        fails_with(FailureCode.INVALID, agent, messages.Publish(machine_record=record))
        fails_with(FailureCode.FORBIDDEN, agent, messages.Root(snapshot=thief.snapshot))


def test_command_with_its_flag_changed_is_refused_by_the_gateway(sealed: Agent, tmp_path: Path):
    pretend_that_it_may_read(sealed)
    for arguments in (["restore", "latest", "--target", tmp_path / "own"], ["ls", "latest"]):
        said = sealed.run(*arguments)
        assert said.code == 4, said
        assert "may only write backups" in said.err
    assert not (tmp_path / "own").exists()


def test_snapshot_that_it_seals_to_itself_is_not_taken(sealed: Agent, source: Path):
    """A root that the thief could open is never stored, so that a stolen store does not help either."""
    pretend_that_it_may_read(sealed)
    said = sealed.run("backup", source, "--no-wait")
    assert said.code == 1
    assert "This machine is write-only" in said.err
    thief = Thief(AgentHome(sealed.home))
    with tenant_scope(UUID(bytes=thief.home.machine().tenant_id)):
        assert Snapshot.objects.get().pk == UUID(bytes=thief.snapshot)
    with pytest.raises(OpeningFault, match="not sealed to this key"):
        open_root(*stored_root(thief), thief.keys()["reading"])


def stored_root(thief: Thief) -> tuple[bytes, list[bytes]]:
    """What a thief of the store has besides."""
    machine = thief.home.machine()
    with tenant_scope(UUID(bytes=machine.tenant_id)):
        row = Snapshot.objects.get(pk=UUID(bytes=thief.snapshot))
        return local_target().get(root_key(row.tenant_id, row.vault_id, row.pk)), split_recipients(
            bytes(row.recipients)
        )


def test_no_key_of_its_home_opens_the_root_even_out_of_a_stolen_store(thief: Thief):
    file, records = stored_root(thief)
    assert len(records) == 1
    for key in thief.keys().values():
        with pytest.raises(OpeningFault, match="not sealed to this key"):
            open_root(file, records, key)


def test_other_machines_of_the_vault_do_not_read_it_either(world: World, thief: Thief):
    other = Thief(AgentHome(world.agent("other").home))
    with AgentPeer(world.gateway, other) as agent:
        for message in thief.readings():
            fails_with(FailureCode.NOT_FOUND, agent, message)
        fails_with(FailureCode.FORBIDDEN, agent, messages.List(machine_name="sealed"))


@pytest.mark.parametrize("machine", ["sealed", "other"])
def test_kit_restores_on_the_machine_itself_and_on_another(
    world: World, sealed: Agent, source: Path, tmp_path: Path, machine: str
):
    agent = sealed if machine == "sealed" else world.agent("other")
    named = [] if machine == "sealed" else ["--machine", "sealed"]
    target = tmp_path / "target"
    said = agent.run("restore", "latest", "--target", target, "--kit", world.kit_directory, *named)
    assert said.code == 0, said
    assert describe(target / source.relative_to("/")) == describe(source)
    without = agent.run("restore", "latest", "--target", tmp_path / "again")
    assert without.code in (4, 10), "what the kit opened is open for that command alone"
