"""Servers that take whatever an agent gives them, and write it down: what a fooled agent would have handed over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from protocol.stored.recipients import decode_recipient
from protocol.stored.statements import decode_statement
from protocol.wire import Event, messages
from tests.agent.scripted_gateway import Peer, begun, welcome
from tests.restore.forge import Shelf


@dataclass
class Taker:
    """A gateway that agrees to everything; `welcome`, `begun` and `committed` are the lies that it tells."""

    welcome: dict[str, Any] = field(default_factory=dict)
    begun: dict[str, Any] = field(default_factory=dict)
    committed: dict[str, Any] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    puts: list[bytes] = field(default_factory=list)
    commits: list[messages.Commit] = field(default_factory=list)

    def __call__(self, peer: Peer) -> None:
        while True:
            event = peer.next()
            self.heard.append(type(event.message).__name__)
            if isinstance(event.message, messages.Put):
                self.puts.append(event.message.id)
                peer.send(messages.Stored(through=peer.connection.puts))
            elif isinstance(event.message, messages.Goodbye):
                return
            else:
                peer.send(self._answer(event), event.request)

    def _answer(self, event: Event) -> messages.Message:
        match event.message:
            case messages.Hello():
                return welcome(**self.welcome)
            case messages.Begin():
                return begun(**self.begun)
            case messages.Question(ids=ids):
                count = len(ids) // 32
                return messages.Answer(missing=((1 << count) - 1).to_bytes((count + 7) // 8, "little"))
            case messages.Flush():
                return messages.Flushed()
            case messages.Commit() as commit:
                self.commits.append(commit)
                assert decode_statement(commit.statement).root_hash == blake3(event.payload).digest()
                values = {"snapshot": decode_statement(commit.statement).snapshot_id, "state": "received"}
                return messages.Committed(**{**values, "received_at": 5, **self.committed})
        raise AssertionError(event.message)

    @property
    def sealed_to(self) -> set[bytes]:
        """Hashes of the keys that the roots which arrived are sealed to."""
        return {decode_recipient(record).key_hash for commit in self.commits for record in commit.recipients}

    @property
    def got_data(self) -> bool:
        """Whether anything of a backup arrived."""
        return not {"Question", "Put", "Commit"}.isdisjoint(self.heard)


@dataclass
class Giver:
    """A gateway that serves a shelf of snapshots, as they are."""

    shelf: Shelf
    heard: list[str] = field(default_factory=list)

    def __call__(self, peer: Peer) -> None:
        peer.welcome()
        while True:
            event = peer.next()
            self.heard.append(type(event.message).__name__)
            match event.message:
                case messages.List():
                    peer.send(next(self.shelf.snapshots()), event.request)
                case messages.Root(snapshot=snapshot):
                    said, file = self.shelf.root(snapshot)
                    peer.send(said, event.request, file)
                case messages.Fetch(ids=ids):
                    self._give(peer, event.request, [ids[i : i + 32] for i in range(0, len(ids), 32)])
                case messages.Goodbye():
                    return

    def _give(self, peer: Peer, request: int, ids: list[bytes]) -> None:
        lacking = []
        for chunk_id in ids:
            sealed = self.shelf.chunks.get(chunk_id)
            if sealed is None:
                lacking.append(chunk_id)
            else:
                record = messages.Record(kind=1, id=chunk_id, digest=blake3(sealed).digest())
                peer.send(record, request, sealed)
        peer.send(messages.Fetched(missing=b"".join(lacking)), request)
