"""Whoever connects, however badly they behave, costs a bounded amount and disturbs nobody else."""

from __future__ import annotations

import logging
import os
import socket
import time

import msgspec
import pytest

from backup_platform.gateway.admission import COMMIT_BYTES
from backup_platform.gateway.limits import GatewayLimits
from protocol.wire import FailureCode, messages
from protocol.wire import limits as wire_limits
from protocol.wire.codec import kind_of
from protocol.wire.frames import encode_header
from protocol.wire.types import MessageType
from tests.gateway.agent_peer import (
    BLOCK,
    CHUNK,
    AgentPeer,
    Closed,
    Failed,
    begin_when_free,
    block_of,
    contents,
    digest,
    wait_until,
)
from tests.gateway.faulty_files import SlowFileLayer

QUICK = {"sweep_seconds": 0.05, "goodbye_seconds": 0.2}


def test_garbage_on_the_port_is_closed_and_logged_once(running_gateway, stage, caplog):
    caplog.set_level(logging.INFO)
    with socket.create_connection((running_gateway.host, running_gateway.port), 5) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while raw.recv(4096):
            pass
    with AgentPeer(running_gateway, stage.machine()) as agent:
        agent.ask(messages.Status())
    said = [record for record in caplog.records if "handshake" in str(record.msg)]
    assert len(said) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_garbage_inside_tls_is_told_so(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine(), greet=False) as agent:
        agent.socket.sendall(b"\x00" * 64)
        with pytest.raises(Failed) as failed:
            agent.wait_end()
    assert failed.value.code == FailureCode.PROTOCOL


def test_frame_of_four_gibibytes_is_refused_before_anything_is_allocated(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine()) as agent:
        agent.begin()
        agent.socket.sendall(encode_header(MessageType.PUT, 0, 100, 0xFFFFFFFF))
        with pytest.raises(Failed) as failed:
            agent.wait_end()
    assert failed.value.code == FailureCode.TOO_LARGE


def test_peer_that_never_says_hello_is_sent_away(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(hello_seconds=0.2, **QUICK))
    with AgentPeer(gateway, greet=False) as agent, pytest.raises(Failed, match="No HELLO"):
        agent.wait_end()


def test_peer_that_never_finishes_the_handshake_is_sent_away(gateway_factory):
    gateway = gateway_factory(limits=GatewayLimits(handshake_seconds=0.2))
    with socket.create_connection((gateway.host, gateway.port), 5) as raw:
        assert raw.recv(1) == b""


def test_stranger_that_never_enrolls_is_sent_away(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(enroll_seconds=0.2, **QUICK))
    with AgentPeer(gateway) as agent, pytest.raises(Failed, match="No certificate"):
        agent.wait_end()


def test_frame_that_drips_is_cut_off(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(frame_seconds=0.3, frame_rate=10_000, **QUICK))
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        header = encode_header(MessageType.PUT, 0, 100, 1 << 20)
        with pytest.raises((Failed, Closed), match="too slowly"):
            drip(agent, header + bytes(99))  # the body is never whole, so that nothing else is wrong with it


def drip(agent: AgentPeer, data: bytes) -> None:
    agent.socket.settimeout(0.02)
    for one in data:
        agent.socket.sendall(bytes([one]))
        try:
            agent.receive()
        except TimeoutError:
            continue
    pytest.fail("a hundred slow bytes were taken without a word")


def test_slow_but_steady_frame_is_taken(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(frame_seconds=0.1, frame_rate=1000, **QUICK))
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        payload = os.urandom(40_000)
        message = messages.Put(kind=1, id=digest(payload), digest=digest(payload))
        frame = b"".join(bytes(part) for part in agent.connection.send(message, 0, payload))
        for start in range(0, len(frame), 2000):
            agent.socket.sendall(frame[start : start + 2000])
            time.sleep(0.02)
        agent.flush()
        assert agent.missing([digest(payload)]) == set()


def test_silent_peer_is_pinged_and_then_sent_away(gateway_factory, stage):
    silence = 2.0  # ten pings long: a machine under load may keep the lively one from answering for a while
    gateway = gateway_factory(limits=GatewayLimits(idle_seconds=silence, keep_alive_seconds=0.2, **QUICK))
    machines = stage.machine(), stage.machine("beta")
    with AgentPeer(gateway, machines[0]) as quiet, AgentPeer(gateway, machines[1]) as lively:
        heard: list[messages.Message] = []
        quiet._take = lambda event: heard.append(event.message)
        until = time.monotonic() + 1.5 * silence
        lively.socket.settimeout(0.1)
        while time.monotonic() < until:
            try:
                lively.receive()  # answers every PING
            except TimeoutError:
                continue
        lively.socket.settimeout(5)
        lively.ask(messages.Status())
        while not heard or not isinstance(heard[-1], messages.Failure):
            quiet.receive()
    assert isinstance(heard[0], messages.Ping)


def test_strangers_of_one_address_are_bounded_and_machines_are_not_counted(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(unauthenticated_per_address=3))
    machine = stage.machine()
    with AgentPeer(gateway, machine) as known:
        strangers = [AgentPeer(gateway) for _ in range(3)]
        with pytest.raises(Closed):
            AgentPeer(gateway)
        known.ask(messages.Status())
        for stranger in strangers:
            stranger.close()
        wait_until(lambda: gateway.gateway.context.admission.connections == 1)
        with AgentPeer(gateway, stage.machine("beta")) as other:
            other.ask(messages.Status())


def test_connections_are_bounded_and_those_inside_are_not_disturbed(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(connections=2))
    with AgentPeer(gateway, stage.machine()) as first, AgentPeer(gateway, stage.machine("beta")):
        with pytest.raises(Closed):
            AgentPeer(gateway, stage.machine("gamma"))
        first.ask(messages.Status())
    wait_until(lambda: gateway.gateway.context.admission.connections == 0)


def test_backups_at_the_same_time_are_bounded(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(backups=1))
    with AgentPeer(gateway, stage.machine()) as first, AgentPeer(gateway, stage.machine("beta")) as second:
        first.begin()
        with pytest.raises(Failed) as failed:
            second.begin()
    assert failed.value.code == FailureCode.BUSY
    assert failed.value.failure.retry_after


def test_flood_of_questions_is_refused_with_a_time_to_wait(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(question_ids_burst=100, question_ids_per_second=10))
    machine, ids = stage.machine(), [os.urandom(32) for _ in range(150)]
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        assert len(agent.missing(ids[:100])) == 100
        with pytest.raises(Failed) as failed:
            agent.missing(ids[:150])
        assert failed.value.code == FailureCode.RATE
        assert failed.value.failure.retry_after > 10
    with AgentPeer(gateway, machine) as again:  # counted by machine: a new connection is no way out
        again.begin()
        with pytest.raises(Failed) as failed:
            again.missing(ids[:150])
        assert failed.value.code == FailureCode.RATE


def test_flood_of_huge_commits_is_refused_with_a_time_to_wait(running_gateway, stage):
    machine, other, context = stage.machine(), stage.machine("beta"), running_gateway.gateway.context
    huge = {"blocks": os.urandom(32) * wire_limits.MAX_LONG_LIST}
    size = COMMIT_BYTES + len(huge["blocks"])
    context.committed._burst, context.committed._rate = 3 * size + 2048, 1000.0
    with AgentPeer(running_gateway, machine) as agent:
        agent.begin()
        for _ in range(3):
            with pytest.raises(Failed) as failed:
                agent.commit(**huge)
            assert failed.value.code == FailureCode.INVALID
        with pytest.raises(Failed) as failed:
            agent.commit(**huge)
        assert failed.value.code == FailureCode.RATE
        assert failed.value.failure.retry_after > 10
    with AgentPeer(running_gateway, machine) as again:  # counted by machine: a new connection is no way out
        begin_when_free(again)
        with pytest.raises(Failed) as failed:
            again.commit(**huge)
        assert failed.value.code == FailureCode.RATE
    with AgentPeer(running_gateway, other) as honest:
        honest.back_up(contents(1))


def test_peer_that_never_reads_costs_a_bounded_amount(gateway_factory, stage):
    limits = GatewayLimits(read_batch=1 << 20, sent_bytes=2 << 20, write_buffer=256 * 1024, write_seconds=0.5, **QUICK)
    gateway = gateway_factory(limits=limits)
    machine = stage.machine()
    segment = [os.urandom(1 << 20) for _ in range(12)]
    with AgentPeer(gateway, machine) as agent:
        committed = agent.back_up(segment)
    with AgentPeer(gateway, machine) as deaf, AgentPeer(gateway, stage.machine("beta")) as other:
        block, ids = digest(block_of(segment)), b"".join(digest(one) for one in segment)
        for _ in range(10):
            deaf.request(messages.Fetch(snapshot=committed.snapshot, block=block, ids=ids))
        sent = gateway.gateway.context.sent
        wait_until(lambda: sent._free < limits.sent_bytes)
        peak = 0
        while gateway.gateway.context.admission.connections == 2:
            other.ask(messages.Status())  # everybody else goes on
            for peer in list(gateway.gateway.peers):
                peak = max(peak, peer.transport.get_write_buffer_size() if not peer.gone else 0)
        assert 0 < peak <= (2 << 20) + limits.write_buffer
        wait_until(lambda: sent._free == limits.sent_bytes)


def test_received_bytes_are_bounded_while_the_disk_is_slow(gateway_factory, stage):
    files = SlowFileLayer(0.05)
    limits = GatewayLimits(connection_bytes=2 << 20, total_bytes=3 << 20, append_batch=1 << 20)
    gateway = gateway_factory(limits=limits, files=files)
    context = gateway.gateway.context
    peak = 0
    with AgentPeer(gateway, stage.machine()) as first, AgentPeer(gateway, stage.machine("beta")) as second:
        payloads = [os.urandom(1 << 19) for _ in range(16)]
        for agent in (first, second):
            agent.begin()
            agent.socket.settimeout(10)
        for payload in payloads:
            for agent in (first, second):
                agent.put(payload)
                peak = max(peak, context.received.held)
        for agent in (first, second):
            agent.flush()
        assert first.missing([digest(one) for one in payloads]) == set()
    assert peak <= limits.total_bytes + (2 << 20), "each connection may be one chunk over when it is paused"
    wait_until(lambda: context.received.held == 0)


def test_memory_of_a_connection_is_given_back_when_it_ends(gateway_factory, stage):
    gateway = gateway_factory(files=SlowFileLayer(0.05))
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        for _ in range(8):
            agent.put(os.urandom(1 << 20))
    wait_until(lambda: not gateway.gateway.peers and not gateway.gateway.context.backups)
    assert gateway.gateway.context.received.held == 0


def test_unknown_message_is_refused_politely(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine()) as agent:
        request = agent.request(messages.Status())
        agent.result(request)
        agent.socket.sendall(encode_header(200, request, 0, 0))
        requests = agent.connection._talk.requests[agent.connection.role]
        requests.ask(kind_of(messages.Status()), request, messages.Status(), 0)
        with pytest.raises(Failed) as failed:
            agent.result(request)
        assert failed.value.code == FailureCode.UNSUPPORTED
        agent.ask(messages.Status())


def test_put_with_another_digest_is_refused_and_not_stored(running_gateway, stage):
    machine = stage.machine()
    with AgentPeer(running_gateway, machine) as agent:
        agent.begin()
        agent.put(b"good")
        agent.put(b"bad", claimed=digest(b"something else"))
        with pytest.raises(Failed) as failed:
            agent.wait_end()
    assert failed.value.code == FailureCode.INVALID
    with AgentPeer(running_gateway, machine) as agent:
        begin_when_free(agent)
        assert agent.missing([digest(b"bad")]) == {digest(b"bad")}


@pytest.mark.defence
def test_rubbish_under_a_blocks_name_is_refused(running_gateway, stage):
    """The name of a reference block is the hash of its content, so the gateway can tell."""
    block = block_of([b"what another machine is going to store"])
    with AgentPeer(running_gateway, stage.machine()) as agent:
        agent.begin()
        rubbish = messages.Put(kind=BLOCK, id=digest(block), digest=digest(b"rubbish"))
        agent.send(rubbish, 0, b"rubbish")
        with pytest.raises(Failed) as failed:
            agent.wait_end()
    assert failed.value.code == FailureCode.INVALID


@pytest.mark.defence
def test_chunk_under_a_blocks_name_does_not_keep_another_machine_from_its_backup(running_gateway, stage):
    """A chunk's name is keyed and cannot be checked: a hostile machine of the vault squats a block's name with one."""
    segment = [os.urandom(2000) for _ in range(3)]
    block = block_of(segment)
    with AgentPeer(running_gateway, stage.machine("hostile")) as hostile:
        hostile.begin()
        hostile.send(messages.Put(kind=CHUNK, id=digest(block), digest=digest(b"rubbish")), 0, b"rubbish")
        hostile.flush()
    with AgentPeer(running_gateway, stage.machine("victim")) as victim:
        victim.begin()
        assert victim.missing([digest(block)]) == set(), "the squatter's record counts as present"
        for content in segment:
            victim.put(content)
        answer = victim.commit(segment)
        assert isinstance(answer, messages.Missing), answer
        assert answer.ids == digest(block)
        victim.put(block, BLOCK)
        committed = victim.commit(segment)
        assert isinstance(committed, messages.Committed), committed
        records, missing = victim.fetch(committed.snapshot, digest(block), [digest(one) for one in segment])
        assert victim.fetch(committed.snapshot, digest(block)) == ({digest(block): block}, b"")
    assert (records, missing) == ({digest(one): one for one in segment}, b"")


@pytest.mark.parametrize("name", ["alpha\0", "\0" * 255])
def test_name_that_the_database_cannot_hold_is_the_peers_fault(running_gateway, stage, caplog, name):
    """PostgreSQL has no NUL in text: without a rule of the wire this would be a fault of ours, with a trace."""
    body = msgspec.msgpack.encode({"scope_name": name, "signature": b"s" * 384})
    with AgentPeer(running_gateway, stage.machine()) as agent:
        agent.socket.sendall(encode_header(MessageType.PROVE, 77, len(body), 0) + body)
        with pytest.raises(Failed) as failed:
            agent.wait_end()
    assert failed.value.code == FailureCode.INVALID
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
