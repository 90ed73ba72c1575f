"""A server in memory behind the engine's own interface: it remembers, answers, checks commits, and can misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from blake3 import blake3

from agents.engine.link import KIND_BLOCK, NO_DIGEST, Begun, CommitAnswer, Statistics
from agents.errors import Disconnected, Refused
from protocol.stored.blocks import decode_block
from protocol.stored.statements import blocks_hash, decode_statement


@dataclass
class Snapshot:
    """What was committed."""

    id: bytes
    statement: bytes
    root: bytes
    recipients: list[bytes]
    blocks: list[bytes]
    statistics: Statistics


@dataclass
class Vault:
    """What the server keeps of one vault."""

    records: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    snapshots: dict[bytes, list[Snapshot]] = field(default_factory=dict)
    wanted: set[bytes] = field(default_factory=set)
    generation: int = 1

    def has(self, identity: bytes) -> bool:
        return (1, identity) in self.records or (KIND_BLOCK, identity) in self.records

    def lose(self, ids: set[bytes]) -> None:
        for identity in ids:
            self.records.pop((1, identity), None)
            self.records.pop((KIND_BLOCK, identity), None)

    def stored_bytes(self) -> int:
        return sum(map(len, self.records.values()))


class MemoryLink:
    """One machine's connection to a vault in memory."""

    def __init__(self, vault: Vault, machine_id: bytes) -> None:
        self.vault = vault
        self.machine_id = machine_id
        self.asked: list[int] = []
        self.asked_ids = 0
        self.puts: list[tuple[int, bytes, int]] = []
        self.begun_with: tuple[int, bytes, int] | None = None
        self.commits = 0
        #: Called before each put with the number of puts so far; may raise.
        self.before_put: Callable[[int], None] = lambda number: None
        #: Called before each commit with its number (1 is the first); may change the vault or raise.
        self.before_commit: Callable[[int], None] = lambda number: None
        #: The commit is stored, but its answer never comes.
        self.lose_answer = False
        self.head: tuple[bytes, int] | None = None
        self._interrupted = threading.Event()
        self._answers = ThreadPoolExecutor(1, "memory-link")
        self._lock = threading.Lock()

    @property
    def generation(self) -> int:
        return self.vault.generation

    def begin(self, generation: int, head: bytes, head_sequence: int) -> Begun:
        self.begun_with = (generation, head, head_sequence)
        newest = self._head()
        return Begun(bytes(16), 1, self.vault.generation, frozenset(self.vault.wanted), *newest)

    def _head(self) -> tuple[bytes, int]:
        if self.head is not None:
            return self.head
        snapshots = self.vault.snapshots.get(self.machine_id, [])
        if not snapshots:
            return NO_DIGEST, 0
        statement = decode_statement(snapshots[-1].statement)
        return statement.digest, statement.sequence

    def ask(self, ids: Sequence[bytes]) -> Future[set[bytes]]:
        self._check()
        assert 0 < len(ids) <= 4096
        with self._lock:
            self.asked.append(len(ids))
            self.asked_ids += len(ids)
        return self._answers.submit(
            lambda: {each for each in ids if not self.vault.has(each) or each in self.vault.wanted}
        )

    def put(self, kind: int, identity: bytes, digest: bytes, sealed: bytes) -> None:
        self._check()
        assert blake3(sealed).digest() == digest
        with self._lock:
            self.before_put(len(self.puts))
            self.puts.append((kind, identity, len(sealed)))
            self.vault.records.setdefault((kind, identity), bytes(sealed))
            self.vault.wanted.discard(identity)

    def drain(self) -> None:
        self._check()

    def commit(
        self,
        statement: bytes,
        root: bytes,
        recipients: Sequence[bytes],
        blocks: Sequence[bytes],
        statistics: Statistics,
    ) -> CommitAnswer:
        self._check()
        self.commits += 1
        self.before_commit(self.commits)
        missing = self._missing(blocks)
        if missing:
            return CommitAnswer(missing=frozenset(missing))
        said = decode_statement(statement)
        if (said.previous, said.sequence - 1) != self._head():
            raise Refused("The statement does not continue the chain.")
        assert said.root_hash == blake3(root).digest()
        assert said.blocks_hash == blocks_hash(b"".join(blocks))
        made = Snapshot(said.snapshot_id, statement, root, list(recipients), list(blocks), statistics)
        self.vault.snapshots.setdefault(self.machine_id, []).append(made)
        if self.lose_answer:
            raise Disconnected("The connection broke.")
        return CommitAnswer(said.snapshot_id, "received", 1)

    def _missing(self, blocks: Sequence[bytes]) -> set[bytes]:
        missing = set()
        for block_id in blocks:
            block = self.vault.records.get((KIND_BLOCK, block_id))
            if block is None:
                missing.add(block_id)
                continue
            missing |= {each for each in decode_block(block) if (1, each) not in self.vault.records}
        return missing

    def interrupt(self) -> None:
        self._interrupted.set()

    def _check(self) -> None:
        if self._interrupted.is_set():
            raise Disconnected("The link was interrupted.")

    def close(self) -> None:
        self._answers.shutdown(wait=True)

    @property
    def bytes_put(self) -> int:
        return sum(size for _, _, size in self.puts)
