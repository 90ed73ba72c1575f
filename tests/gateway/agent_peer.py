"""A small agent for tests: protocol.wire.Connection over a blocking TLS socket, one step at a time."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from blake3 import blake3

from protocol.stored.blocks import encode_block
from protocol.stored.recipients import RecipientKind, RecipientRecord
from protocol.stored.roots import RootHeader, encode_root_header
from protocol.stored.statements import Statement, blocks_hash
from protocol.wire import NEED_DATA, Connection, Ended, Event, FailureCode, Role, messages
from tests.gateway.fixtures import RunningGateway
from tests.gateway.stage import Identity, signing_key

WAIT = 10.0
CHUNK, BLOCK = messages.KIND_CHUNK, messages.KIND_BLOCK


class Closed(Exception):
    """The gateway closed the connection, or refused the handshake."""


class Failed(Exception):
    """The gateway answered FAILURE."""

    def __init__(self, failure: messages.Failure) -> None:
        super().__init__(f"{failure.code} {failure.message}")
        self.failure = failure
        self.code = failure.code


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


def client_context(identity: Identity | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


class AgentPeer:
    """One connection. `greet=False` stops after TLS."""

    def __init__(self, gateway: RunningGateway, identity: Identity | None = None, *, greet: bool = True) -> None:
        self.identity = identity
        self.connection = Connection(Role.AGENT)
        self.stored = 0
        self._answers: dict[int, deque[Event]] = {}
        self.welcome: messages.Welcome | None = None
        raw = socket.create_connection((gateway.host, gateway.port), WAIT)
        try:
            self.socket = client_context(identity).wrap_socket(raw, server_hostname="gateway.strongroom.internal")
        except OSError as fault:
            raw.close()
            raise Closed(str(fault)) from fault
        if greet:
            self.welcome = self.ask(messages.Hello(versions=[1], agent_version="test agent")).message

    # --- one message -------------------------------------------------------------------------------------------------

    def send(self, message: messages.Message, request: int = 0, payload: bytes = b"") -> None:
        try:
            for part in self.connection.send(message, request, payload):
                self.socket.sendall(part)
        except OSError as fault:
            self._last_words(fault)

    def _last_words(self, fault: OSError) -> None:
        """What the gateway said before it closed is more telling than the broken pipe."""
        while True:
            self.receive()

    def ask(self, message: messages.Message, payload: bytes = b"") -> Event:
        """Send a request and return its last answer; Failed for a FAILURE."""
        return self.result(self.request(message, payload))

    def request(self, message: messages.Message, payload: bytes = b"") -> int:
        request = self.connection.new_request()
        self._answers[request] = deque()
        self.send(message, request, payload)
        return request

    def result(self, request: int) -> Event:
        while not self._answers[request]:
            self.receive()
        event = self._answers[request].popleft()
        if isinstance(event.message, messages.Failure):
            raise Failed(event.message)
        return event

    def receive(self) -> None:
        """Take what the next read brings. Failed for a closing FAILURE, Closed at the end."""
        try:
            count = self.socket.recv_into(self.connection.buffer())
        except (ssl.SSLError, ConnectionError) as fault:
            raise Closed(str(fault)) from fault
        if count == 0:
            self.connection.receive_eof()
        else:
            self.connection.filled(count)
        while (event := self.connection.next_event()) is not NEED_DATA:
            self._take(event)

    def _take(self, event: Any) -> None:
        if isinstance(event, Ended):
            raise Closed("the stream ended")
        match event.message:
            case messages.Stored(through=through):
                self.stored = through
            case messages.Ping(time=when):
                self.send(messages.Pong(time=when), event.request)
            case messages.Failure() as failure if event.request == 0:
                raise Failed(failure)
            case messages.Goodbye():
                raise Closed("goodbye")
            case _:
                self._answers[event.request].append(event)

    def wait_stored(self, through: int) -> None:
        while self.stored < through:
            self.receive()

    def wait_end(self) -> None:
        """Until the gateway ends the connection; raises Failed or Closed."""
        while True:
            self.receive()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> AgentPeer:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    # --- a backup ----------------------------------------------------------------------------------------------------

    def begin(self) -> messages.Begun:
        message = messages.Begin(generation=0, head=bytes(32), head_sequence=0)
        self.begun = self.ask(message).message
        return self.begun

    def put(self, payload: bytes, kind: int = CHUNK, *, claimed: bytes | None = None) -> int:
        """Send a record whose id is its digest; returns its ordinal."""
        self.send(messages.Put(kind=kind, id=digest(payload), digest=claimed or digest(payload)), 0, payload)
        return self.connection.puts

    def flush(self) -> None:
        assert isinstance(self.ask(messages.Flush()).message, messages.Flushed)

    def missing(self, ids: list[bytes]) -> set[bytes]:
        bitmap = self.ask(messages.Question(ids=b"".join(ids))).message.missing
        return {one for index, one in enumerate(ids) if bitmap[index >> 3] >> (index & 7) & 1}

    def commit(self, *segments: list[bytes], **changes: Any) -> messages.Message:
        proposal = propose(self.identity, self.begun, segments)
        session = {"session": self.begun.session, "fence": self.begun.fence}
        message = messages.Commit(**session | proposal.fields | changes)
        return self.ask(message, proposal.root).message

    def back_up(self, *segments: list[bytes]) -> messages.Committed:
        """A whole backup: begin, put everything, commit."""
        self.begin()
        for contents in segments:
            for content in contents:
                self.put(content)
            self.put(block_of(contents), BLOCK)
        committed = self.commit(*segments)
        assert isinstance(committed, messages.Committed), committed
        return committed

    # --- a restore ---------------------------------------------------------------------------------------------------

    def fetch(self, snapshot: bytes, block: bytes, ids: list[bytes] | None = None) -> tuple[dict[bytes, bytes], bytes]:
        """The records by id, and the ids that could not be read."""
        request = self.request(messages.Fetch(snapshot=snapshot, block=block, ids=b"".join(ids or [])))
        records: dict[bytes, bytes] = {}
        while True:
            event = self.result(request)
            if isinstance(event.message, messages.Fetched):
                return records, event.message.missing
            payload = bytes(event.payload)
            assert digest(payload) == event.message.digest
            records[event.message.id] = payload


def block_of(contents: list[bytes]) -> bytes:
    return encode_block(digest(content) for content in contents)


def contents(count: int, size: int = 2000) -> list[bytes]:
    return [os.urandom(size) for _ in range(count)]


@dataclass
class Proposal:
    root: bytes
    fields: dict[str, Any] = field(default_factory=dict)


def propose(identity: Identity, begun: messages.Begun, segments: tuple[list[bytes], ...]) -> Proposal:
    """A signed statement over a root that nobody can open; the gateway cannot tell."""
    row, sequence = identity.row, begun.head_sequence + 1
    blocks = b"".join(digest(block_of(contents)) for contents in segments)
    header = RootHeader(row.tenant_id.bytes, row.vault_id.bytes, 1, row.pk.bytes, sequence, bytes(32))
    root = encode_root_header(header) + os.urandom(12 + 200 + 16)
    unsigned = Statement(
        vault_id=row.vault_id.bytes,
        epoch=1,
        machine_id=row.pk.bytes,
        sequence=sequence,
        time=time.time_ns() // 1000,
        previous=begun.head,
        root_hash=digest(root),
        blocks_hash=blocks_hash(blocks),
    )
    statement = unsigned.with_signature(signing_key(identity.key_label).sign(unsigned.signed_bytes())).encode()
    recipient = RecipientRecord(RecipientKind.VAULT, bytes(32), digest(root), os.urandom(384)).encode()
    return Proposal(root, {"statement": statement, "blocks": blocks, "recipients": [recipient]})


def snapshot_uuid(committed: messages.Committed) -> UUID:
    return UUID(bytes=committed.snapshot)


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def begin_when_free(agent: AgentPeer) -> messages.Begun:
    """The old connection's end and our begin race; BUSY says to come again."""
    until = time.monotonic() + 10
    while True:
        try:
            return agent.begin()
        except Failed as failed:
            if failed.code != FailureCode.BUSY or time.monotonic() > until:
                raise
            time.sleep(0.05)
