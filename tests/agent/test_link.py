"""The backup's link: whatever breaks, everything that was put arrives, and nothing is acknowledged that did not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from agents.engine.link import Begun, CommitAnswer, Statistics
from agents.errors import AgentError, Busy, Disconnected, ExitCode, Fenced, Refused, Revoked, Temporary
from agents.transport import io_loop
from agents.transport.link import GatewayLink
from protocol.wire import FailureCode, limits, messages
from protocol.wire.frames import encode_header
from protocol.wire.types import MessageType
from tests.agent.scripted_gateway import Peer, begun, make_home, scripted, welcome

pytestmark = pytest.mark.usefixtures("hasty")

RECORDS = [bytes([number]) * (1000 + number) for number in range(6)]
SNAPSHOT = b"s" * 16


def identity_of(sealed: bytes) -> bytes:
    return blake3(b"id" + sealed).digest()


class Server:
    """An honest gateway's answers. `stop_at` names the step at which this connection dies, before it is answered."""

    def __init__(self) -> None:
        self.durable: dict[bytes, bytes] = {}
        self.begun = 0
        self.commits: list[messages.Commit] = []
        self.received: list[list[bytes]] = []

    def script(self, stop_at: str = "", store_every: int = 1):
        def serve(peer: Peer) -> None:
            seen: list[bytes] = []
            self.received.append(seen)
            pending: dict[bytes, bytes] = {}
            counts: dict[str, int] = {}
            while True:
                event = peer.next()
                name = type(event.message).__name__.lower()
                counts[name] = counts.get(name, 0) + 1
                if f"{name}{counts[name]}" == stop_at or name == stop_at:
                    return peer.reset()
                self.answer(peer, event, seen, pending, store_every)

        return serve

    def answer(self, peer: Peer, event: Any, seen: list[bytes], pending: dict[bytes, bytes], store_every: int) -> None:
        """Do what an honest gateway does."""
        message = event.message
        if isinstance(message, messages.Put):
            seen.append(message.id)
            pending[message.id] = bytes(event.payload)
            if len(pending) >= store_every:
                self.store(peer, pending)
        elif isinstance(message, messages.Goodbye):
            raise ConnectionError("done")
        else:
            if isinstance(message, messages.Flush) and pending:
                self.store(peer, pending)
            peer.send(self.reply(message), event.request)

    def reply(self, message: messages.Message) -> messages.Message:
        match message:
            case messages.Hello():
                return welcome()
            case messages.Begin():
                self.begun += 1
                return begun(fence=self.begun)
            case messages.Question(ids=ids):
                return messages.Answer(missing=self.missing(ids))
            case messages.Flush():
                return messages.Flushed()
            case messages.Commit():
                self.commits.append(message)
                return messages.Committed(snapshot=SNAPSHOT, state="received", received_at=5)
        return messages.StatusIs(worker_alive=True, states={SNAPSHOT.hex(): "verified"})

    def missing(self, ids: bytes) -> bytes:
        asked = [ids[i : i + 32] for i in range(0, len(ids), 32)]
        bits = bytearray((len(asked) + 7) // 8)
        for index, each in enumerate(asked):
            bits[index // 8] |= (each not in self.durable) << (index % 8)
        return bytes(bits)

    def store(self, peer: Peer, pending: dict[bytes, bytes]) -> None:
        self.durable |= pending
        pending.clear()
        peer.send(messages.Stored(through=peer.connection.puts))


@contextmanager
def linked(tmp_path: Path, *scripts: Any, retry_for: float = 10.0, **options: Any) -> Iterator[tuple[Any, GatewayLink]]:
    with scripted(tmp_path, *scripts, **options) as (gateway, home):
        link = GatewayLink(home, retry_for)
        try:
            yield gateway, link
        finally:
            link.close()


def back_up(link: GatewayLink) -> tuple[Begun, CommitAnswer]:
    """What the engine does, in short."""
    begun = link.begin(0, bytes(32), 0)
    missing = link.ask([identity_of(sealed) for sealed in RECORDS]).result(10)
    for sealed in RECORDS:
        if identity_of(sealed) in missing:
            link.put(1, identity_of(sealed), blake3(sealed).digest(), sealed)
    link.drain()
    return begun, link.commit(b"statement", b"r" * 200, [b"recipient"], [b"b" * 32], Statistics(files=3))


STEPS = [
    "hello",
    "begin",
    "question",
    "put1",
    "put3",
    "put6",
    "flush",
    "commit",
]


@pytest.mark.parametrize("store_every", [1, 4, 100])
@pytest.mark.parametrize("step", STEPS)
def test_backup_survives_a_connection_that_dies_at_any_step(tmp_path: Path, step: str, store_every: int):
    server = Server()
    scripts = (server.script(step, store_every), server.script("", store_every))
    with linked(tmp_path, *scripts) as (gateway, link):
        _, answer = back_up(link)
        assert answer == CommitAnswer(SNAPSHOT, "received", 5)
        assert server.durable == {identity_of(sealed): sealed for sealed in RECORDS}
        assert server.commits[-1].fence == server.begun
        assert server.commits[-1].statistics.files == 3
        if store_every > 1 and step == "flush":
            assert gateway.connections == 2


def test_only_what_was_not_acknowledged_is_sent_again(tmp_path: Path):
    server = Server()
    with linked(tmp_path, server.script("flush", 4), server.script()) as (_, link):
        back_up(link)
    first, second = server.received
    assert len(first) == 6
    assert set(second) <= set(first[4:]) | set(first)
    assert second[-2:] == first[4:]
    assert len(second) in (2, 6)


def test_half_closed_connection_is_mended(tmp_path: Path):
    """The gateway ends its sending side only; the agent must not wait for answers that cannot come."""
    server = Server()

    def half(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        peer.half_close()
        peer.wait_for_end()

    with linked(tmp_path, half, server.script()) as (gateway, link):
        back_up(link)
        assert gateway.connections == 2


def test_gateway_that_stalls_is_left_and_the_backup_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "IDLE", 0.3)
    monkeypatch.setattr(limits, "KEEP_ALIVE", 0.1)
    server = Server()

    def stall(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        stopped.wait(10)

    stopped = threading.Event()
    with linked(tmp_path, stall, server.script()) as (gateway, link):
        back_up(link)
        stopped.set()
        assert gateway.connections == 2


def test_gateway_that_takes_no_data_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "FRAME_STALL", 0.3)
    monkeypatch.setattr(limits, "KEEP_ALIVE", 0.2)
    stopped = threading.Event()

    def full(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        stopped.wait(10)

    with linked(tmp_path, full, retry_for=0) as (_, link):
        link.begin(0, bytes(32), 0)
        big = bytes(4 << 20)
        with pytest.raises(Disconnected, match="takes no more"):
            put_many(link, 40, big)
        stopped.set()


@pytest.mark.parametrize("ask", ["question", "commit", "put"])
def test_gateway_that_only_answers_pings_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str):
    """A wait has an end also when the other side is alive and simply does not do its work."""
    monkeypatch.setattr(io_loop, "SILENCE", 0.5)
    monkeypatch.setattr(limits, "KEEP_ALIVE", 0.1)

    def idle(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        peer.wait_for_end()

    asks = {
        "question": lambda link: link.ask([bytes(32)]).result(10),
        "commit": lambda link: link.commit(b"statement", b"r" * 200, [b"recipient"], [b"b" * 32], Statistics()),
        "put": lambda link: put_many(link, 20, bytes(4 << 20)),
    }
    with linked(tmp_path, idle, retry_for=0) as (_, link):
        link.begin(0, bytes(32), 0)
        with pytest.raises(Disconnected, match="has not answered"):
            asks[ask](link)


def test_gateway_that_floods_pings_is_left_and_costs_a_bounded_amount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(io_loop, "MOST_PONGS", 500)
    body = msgspec.msgpack.encode({"time": 1})
    pings = b"".join(encode_header(MessageType.PING, number, len(body), 0) + body for number in range(1, 5_000))

    def flood(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        while True:
            peer.socket.sendall(pings)

    with linked(tmp_path, flood, retry_for=0) as (_, link):
        link.begin(0, bytes(32), 0)
        with pytest.raises(Refused, match="does not read the answers"):
            link.ask([bytes(32)]).result(10)


def put_many(link: GatewayLink, count: int, sealed: bytes) -> None:
    for number in range(count):
        link.put(1, number.to_bytes(32, "big"), bytes(32), sealed)


def test_put_waits_while_the_window_is_full_and_goes_on_when_it_is_not(tmp_path: Path):
    release = threading.Event()

    def slow(peer: Peer) -> None:
        peer.welcome()
        peer.begin(window=limits.MIN_WINDOW)
        for _ in range(4):
            peer.expect(messages.Put)
        release.wait(10)
        peer.send(messages.Stored(through=4))
        peer.expect(messages.Put)
        peer.send(messages.Stored(through=5))
        peer.wait_for_end()

    with linked(tmp_path, slow) as (_, link):
        link.begin(0, bytes(32), 0)
        sealed = bytes(1 << 20)
        for number in range(4):
            link.put(1, number.to_bytes(32, "big"), bytes(32), sealed)
        done = threading.Event()
        thread = threading.Thread(target=lambda: (link.put(1, b"5" * 32, bytes(32), sealed), done.set()))
        thread.start()
        assert not done.wait(0.2)
        release.set()
        assert done.wait(5)
        thread.join()
        link._line.until(lambda: not link._count())


def test_window_that_is_smaller_after_a_reconnect_is_kept(tmp_path: Path):
    """The first gateway allowed more than the second: what is sent again must not overrun it."""
    sealed = bytes(3 << 20)
    all_put = threading.Event()

    def first(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        for _ in range(4):
            peer.expect(messages.Put)
        all_put.wait(10)
        peer.reset()

    def second(peer: Peer) -> None:
        peer.welcome()
        peer.begin(fence=2, window=limits.MIN_WINDOW)
        for number in range(1, 5):
            peer.expect(messages.Put)
            peer.send(messages.Stored(through=number))
        peer.wait_for_end()

    with linked(tmp_path, first, second) as (_, link):
        link.begin(0, bytes(32), 0)
        for number in range(4):
            link.put(1, number.to_bytes(32, "big"), bytes(32), sealed)
        all_put.set()
        link._line.until(lambda: not link._count())


def test_first_busy_ends_the_backup_at_once(tmp_path: Path):
    def busy(peer: Peer) -> None:
        peer.welcome()
        _, event = peer.expect(messages.Begin)
        peer.fail(FailureCode.BUSY, event.request, retry_after=30)
        peer.wait_for_end()

    with linked(tmp_path, busy) as (gateway, link):
        with pytest.raises(Busy) as caught:
            link.begin(0, bytes(32), 0)
        assert caught.value.exit_code == ExitCode.TEMPORARY
        assert gateway.connections == 1


def test_busy_after_a_broken_connection_is_waited_out(tmp_path: Path):
    server = Server()

    def busy(peer: Peer) -> None:
        peer.welcome()
        _, event = peer.expect(messages.Begin)
        peer.fail(FailureCode.BUSY, event.request, retry_after=0.01)
        peer.wait_for_end()

    with linked(tmp_path, server.script("put2", 100), busy, busy, server.script()) as (gateway, link):
        back_up(link)
        assert gateway.connections == 4


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        (FailureCode.FENCED, Fenced, ExitCode.TEMPORARY),
        (FailureCode.REVOKED, Revoked, ExitCode.AUTHENTICATION),
        (FailureCode.INVALID, Refused, ExitCode.FAILED),
        (FailureCode.INTERNAL, Refused, ExitCode.FAILED),
        (999, Refused, ExitCode.FAILED),
    ],
)
def test_failure_that_cannot_pass_ends_everything_at_once(
    tmp_path: Path, code: int, kind: type[AgentError], exit_code: ExitCode
):
    def fail(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        peer.expect(messages.Put)
        peer.fail(code)
        peer.wait_for_end()

    with linked(tmp_path, fail) as (gateway, link):
        with pytest.raises(kind) as caught:
            back_up_without_asking(link)
        assert caught.value.exit_code == exit_code
        assert "so the script says" in caught.value.what
        assert gateway.connections == 1


def back_up_without_asking(link: GatewayLink) -> None:
    link.begin(0, bytes(32), 0)
    for sealed in RECORDS:
        link.put(1, identity_of(sealed), bytes(32), sealed)
    link.drain()


def test_temporary_failure_of_a_request_is_tried_again_on_the_same_connection(tmp_path: Path):
    def later(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        for _ in range(2):
            _, event = peer.expect(messages.Question)
            peer.fail(FailureCode.TEMPORARY, event.request, retry_after=0.01)
        _, event = peer.expect(messages.Question)
        peer.send(messages.Answer(missing=b"\x01"), event.request)
        peer.wait_for_end()

    with linked(tmp_path, later) as (gateway, link):
        link.begin(0, bytes(32), 0)
        assert link.ask([b"i" * 32]).result(5) == {b"i" * 32}
        assert gateway.connections == 1


def test_patience_ends(tmp_path: Path):
    server = Server()
    with linked(tmp_path, server.script("put1"), lambda peer: peer.reset(), retry_for=3) as (gateway, link):
        began = time.monotonic()
        with pytest.raises(Temporary):
            back_up(link)
        assert time.monotonic() - began < 30
        assert gateway.connections > 2
        with pytest.raises(Temporary):
            link.put(1, bytes(32), bytes(32), b"x")


def test_new_generation_after_a_reconnect_is_told(tmp_path: Path):
    server = Server()

    def other(peer: Peer) -> None:
        peer.welcome()
        peer.begin(generation=8, fence=2)
        peer.wait_for_end()

    with linked(tmp_path, server.script("question"), other) as (_, link):
        link.begin(0, bytes(32), 0)
        assert link.generation == 1
        link.ask([b"i" * 32])
        link._line.until(lambda: link.generation == 8)


def test_missing_answer_to_a_commit_names_the_ids(tmp_path: Path):
    def lacking(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        _, event = peer.expect(messages.Commit)
        peer.send(messages.Missing(ids=b"a" * 32 + b"b" * 32), event.request)
        peer.wait_for_end()

    with linked(tmp_path, lacking) as (_, link):
        link.begin(0, bytes(32), 0)
        answer = link.commit(b"statement", b"r" * 200, [b"recipient"], [b"b" * 32], Statistics())
        assert answer.missing == {b"a" * 32, b"b" * 32}
        assert not answer.snapshot


def drain_in_vain(link: GatewayLink) -> None:
    with pytest.raises(AgentError):
        link.drain()


def test_interrupt_frees_everybody_who_waits(tmp_path: Path):
    def silent(peer: Peer) -> None:
        peer.welcome()
        peer.begin()
        peer.wait_for_end()

    with linked(tmp_path, silent) as (_, link):
        link.begin(0, bytes(32), 0)
        link.put(1, b"i" * 32, bytes(32), b"x")
        answer = link.ask([b"i" * 32])
        waiter = threading.Thread(target=drain_in_vain, args=(link,))
        waiter.start()
        link.interrupt()
        waiter.join(5)
        assert not waiter.is_alive()
        with pytest.raises(AgentError):
            answer.result(5)
        with pytest.raises(AgentError):
            link.put(1, b"j" * 32, bytes(32), b"x")


def test_nobody_listening_and_no_patience_is_temporary_at_once(tmp_path: Path):
    link = GatewayLink(make_home(tmp_path / "agent", 1), retry_for=0)
    with pytest.raises(Disconnected):
        link.connect()
    link.close()
