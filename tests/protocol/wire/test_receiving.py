"""Bytes in: nothing copied that is large, nothing allocated that was not admitted, whatever the pieces."""

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.wire import (
    NEED_DATA,
    Connection,
    Ended,
    Event,
    LocalProtocolError,
    Phase,
    RemoteProtocolError,
    Role,
    limits,
    messages,
)
from protocol.wire.pair import AnyEvent, drain
from protocol.wire.receive_buffer import ReceiveBuffer

from . import samples

MIB = limits.MIB


def read_into(end: Connection, stream: bytes, most: int | None = None) -> Iterator[AnyEvent]:
    """What a shell does with recv_into: at most `most` bytes a read."""
    offset = 0
    while offset < len(stream):
        view = end.buffer()
        count = min(len(view), len(stream) - offset, most or len(view))
        view[:count] = stream[offset : offset + count]
        end.filled(count)
        offset += count
        yield from drain(end)


def puts_of(sizes: list[int]) -> tuple[list[bytes], bytes]:
    payloads = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    return payloads, b"".join(samples.frame(samples.PUT, 0, payload) for payload in payloads)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([1, 100, 5_000, 16_000, 33_000, 70_000, 300_000, 1_100_000]), max_size=8),
    st.lists(st.sampled_from([1, 7, 100, 4_096, 16_384, 100_000, 2_000_000]), min_size=1, max_size=8),
)
def test_payloads_arrive_whole_whatever_the_reads(sizes: list[int], reads: list[int]) -> None:
    payloads, stream = puts_of(sizes)
    end = samples.backing_up().gateway
    got: list[bytes] = []
    offset = turn = 0
    while offset < len(stream):
        most = reads[turn % len(reads)] if turn < 2_000 else 2_000_000
        piece = stream[offset : offset + most]
        got += [bytes(event.payload) for event in read_into(end, piece, most) if isinstance(event, Event)]
        offset, turn = offset + most, turn + 1
    assert got == payloads
    assert not end.mid_frame


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=30))
def test_small_messages_arrive_whole_at_any_split_points(cuts: list[int]) -> None:
    sent = [messages.Ping(time=n) for n in range(10)]
    stream = b"".join(samples.frame(message, n + 1) for n, message in enumerate(sent))
    end = samples.ready().gateway
    points = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events: list[AnyEvent] = []
    for start, stop in pairwise(points):
        end.receive_data(stream[start:stop])
        events += drain(end)
    assert [event.message for event in events if isinstance(event, Event)] == sent


def test_many_small_frames_come_with_one_read() -> None:
    stream = b"".join(samples.frame(messages.Ping(time=n), n + 1) for n in range(300))
    end = samples.ready().gateway
    view = end.buffer()
    assert len(view) >= len(stream)
    view[: len(stream)] = stream
    end.filled(len(stream))
    assert len(drain(end)) == 300


def test_large_payload_is_filled_in_place() -> None:
    end = samples.backing_up().gateway
    stream = samples.frame(samples.PUT, 0, b"p" * MIB)
    events = list(read_into(end, stream[: limits.MIN_RECEIVE_BUFFER]))
    assert not events
    assert end.mid_frame
    view = end.buffer()
    rest = stream[limits.MIN_RECEIVE_BUFFER :]
    assert len(view) == len(rest)  # exactly what the payload lacks
    view[:] = rest
    end.filled(len(rest))
    (event,) = drain(end)
    assert isinstance(event, Event)
    assert view.obj is event.payload  # what the socket wrote to is what the receiver gets
    assert event.payload == b"p" * MIB


def test_payload_that_lacks_little_is_not_worth_a_read_of_its_own() -> None:
    end = samples.backing_up().gateway
    end._received._grow = True  # as after a read that filled the small buffer
    stream = samples.frame(samples.PUT, 0, b"p" * 2 * limits.DIRECT_FILL)
    for lacking, in_place in [(limits.DIRECT_FILL, True), (limits.DIRECT_FILL - 1, False)]:
        list(read_into(end, stream[:-lacking]))
        view = end.buffer()
        assert (len(view) == lacking) is in_place
        view[:lacking] = stream[-lacking:]
        end.filled(lacking)
        (event,) = drain(end)
        assert isinstance(event, Event)
        assert bytes(event.payload) == b"p" * 2 * limits.DIRECT_FILL


def test_payload_is_sent_without_a_copy() -> None:
    payload = bytearray(b"p" * 1000)
    agent = samples.backing_up().agent
    assert agent.send(samples.PUT, 0, payload)[1] is payload
    view = memoryview(payload)[10:]
    assert agent.send(samples.PUT, 0, view)[1] is view


def test_payload_length_is_counted_in_bytes_not_items() -> None:
    pair = samples.backing_up()
    view = memoryview(bytearray(64)).cast("Q")
    (event,) = pair.from_agent(samples.PUT, 0, view)
    assert isinstance(event, Event)
    assert event.payload == bytes(64)
    assert pair.agent.unacknowledged_bytes == 64


def test_idle_connection_holds_a_small_buffer_and_a_busy_one_a_large_one() -> None:
    end = samples.backing_up().gateway
    assert len(end.buffer()) == limits.MIN_RECEIVE_BUFFER
    _, stream = puts_of([10_000] * 40)
    list(read_into(end, stream))
    assert len(end.buffer()) == limits.MAX_RECEIVE_BUFFER
    for n in range(limits.SMALL_READS_BEFORE_SHRINKING + 1):
        list(read_into(end, samples.frame(messages.Ping(), n + 1)))
    assert len(end.buffer()) == limits.MIN_RECEIVE_BUFFER


def test_shrinking_loses_nothing_that_is_held() -> None:
    buffer = ReceiveBuffer()
    for size in (limits.MIN_RECEIVE_BUFFER, limits.MAX_RECEIVE_BUFFER - limits.MIN_RECEIVE_BUFFER - 1_000):
        buffer.buffer()[:size] = b"a" * size
        buffer.filled(size)
    for _ in range(limits.SMALL_READS_BEFORE_SHRINKING + 4):
        buffer.buffer()[:1] = b"b"
        buffer.filled(1)
    held = len(buffer)
    assert bytes(buffer.take(held) or b"") == b"a" * (held - 20) + b"b" * 20


@pytest.mark.parametrize("count", [-1, limits.MIN_RECEIVE_BUFFER + 1])
def test_count_that_cannot_be_true_is_refused(count: int) -> None:
    end = samples.ready().gateway
    end.buffer()
    with pytest.raises(LocalProtocolError, match="cannot have been written"):
        end.filled(count)


def test_filling_twice_needs_two_buffers() -> None:
    end = samples.ready().gateway
    end.buffer()
    end.filled(1)
    with pytest.raises(LocalProtocolError, match="cannot have been written"):
        end.filled(1)


def fill_without_taking(end: Connection) -> None:
    one = samples.frame(messages.Ping(), 1)
    for _ in range(100):
        view = end.buffer()
        view[:] = (one * (len(view) // len(one) + 1))[: len(view)]
        end.filled(len(view))


def test_events_that_are_not_taken_stop_the_reading() -> None:
    end = samples.ready().gateway
    with pytest.raises(LocalProtocolError, match="take events"):
        fill_without_taking(end)


def test_the_two_doors_are_not_mixed_before_events_are_taken() -> None:
    end = samples.ready().gateway
    end.receive_data(samples.frame(messages.Ping(), 1))
    with pytest.raises(LocalProtocolError, match="take events first"):
        end.buffer()
    assert len(drain(end)) == 1
    assert end.buffer()


def test_given_data_may_be_reused_by_its_owner() -> None:
    end = samples.ready().gateway
    data = bytearray(samples.frame(messages.Ping(time=5), 1))
    end.receive_data(data)
    data[:] = bytes(len(data))
    (event,) = drain(end)
    assert isinstance(event, Event)
    assert event.message == messages.Ping(time=5)
    end.receive_data(b"")
    assert end.next_event() is NEED_DATA


@pytest.mark.parametrize(
    ("set_up", "code", "body", "payload"),
    [
        (samples.opening, 1, limits.MAX_STRANGER_BODY + 1, 0),
        (samples.opening, 36, 100, limits.MAX_SEALED),
        (samples.stranger, 3, limits.MAX_BODY, 0),
        (samples.ready, 36, 100, limits.MAX_SEALED),
        (samples.backing_up, 36, 100, limits.MAX_SEALED + 1),
        (samples.backing_up, 36, limits.MAX_BODY, 100),
        (samples.backing_up, 40, 100, limits.MAX_PAYLOAD + 1),
        (samples.backing_up, 40, 2**32 - 1, 100),
        (samples.ready, 99, 2**32 - 1, 0),
    ],
)
def test_length_is_refused_at_the_header_before_anything_is_allocated(
    set_up: object, code: int, body: int, payload: int
) -> None:
    from protocol.wire.frames import encode_header

    end = set_up().gateway  # type: ignore[operator]
    end.receive_data(encode_header(code, 3, body, payload) if code != 36 else encode_header(code, 0, body, payload))
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            end.next_event()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * limits.KIB


def test_largest_frames_of_a_connection_stay_within_the_documented_memory() -> None:
    end = samples.backing_up().gateway
    stream = samples.frame(samples.COMMIT, 3, bytes(limits.MAX_PAYLOAD))
    tracemalloc.start()
    try:
        events = list(read_into(end, stream, 100_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(events) == 1
    assert peak < limits.MAX_RECEIVE_MEMORY


def test_skipped_frames_are_not_kept() -> None:
    end = samples.ready().gateway
    stream = samples.raw_frame(99, b"\x80", 5, bytes(limits.MAX_PAYLOAD))
    tracemalloc.start()
    try:
        events = list(read_into(end, stream))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [event.type for event in events] == [99]  # type: ignore[union-attr]
    assert peak < MIB


def test_end_between_frames_after_goodbye_is_clean() -> None:
    pair = samples.ready()
    pair.from_agent(messages.Goodbye())
    pair.gateway.receive_eof()
    assert pair.gateway.next_event() == Ended(clean=True)
    assert pair.gateway.phase is Phase.CLOSED


def test_end_without_goodbye_is_told() -> None:
    gateway = samples.ready().gateway
    gateway.receive_data(samples.frame(messages.Ping(), 3))
    gateway.receive_eof()
    ping, ended = drain(gateway)
    assert isinstance(ping, Event)
    assert ended == Ended(clean=False)


@pytest.mark.parametrize("cut", [1, 19, 20, 25, 60, -1])
def test_end_in_the_middle_of_a_frame_is_a_fault(cut: int) -> None:
    gateway = samples.backing_up().gateway
    gateway.receive_data(samples.frame(samples.PUT, 0, b"p" * 40_000)[:cut])
    gateway.receive_eof()
    with pytest.raises(RemoteProtocolError, match="middle of a frame"):
        gateway.next_event()
    assert gateway.phase is Phase.FAILED


def test_end_in_the_middle_of_a_skipped_frame_is_a_fault() -> None:
    gateway = samples.ready().gateway
    gateway.receive_data(samples.raw_frame(99, b"\x80", 5, b"x" * 100)[:-1])
    gateway.receive_eof()
    with pytest.raises(RemoteProtocolError, match="middle of a frame"):
        gateway.next_event()


def test_nothing_is_received_after_the_end() -> None:
    gateway = samples.ready().gateway
    gateway.receive_eof()
    with pytest.raises(LocalProtocolError, match="no more data"):
        gateway.receive_data(b"x")
    with pytest.raises(LocalProtocolError, match="no more data"):
        gateway.buffer()


def test_frame_in_progress_is_visible_to_the_clock_of_the_shell() -> None:
    gateway = samples.ready().gateway
    assert not gateway.mid_frame
    frame = samples.frame(messages.Ping(), 3)
    gateway.receive_data(frame[:5])
    assert gateway.mid_frame
    assert gateway.next_event() is NEED_DATA
    assert gateway.mid_frame
    gateway.receive_data(frame[5:])
    drain(gateway)
    assert not gateway.mid_frame


def test_role_has_no_say_in_how_bytes_are_read() -> None:
    for role in Role:
        assert Connection(role).next_event() is NEED_DATA
