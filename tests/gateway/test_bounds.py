"""The counters behind the bounds, without sockets."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from backup_platform.gateway.admission import MOST_WAIT, Admission, QuestionMeter, ReceivedBytes, SentBytes
from backup_platform.gateway.file_layer import FileLayer, write_all
from backup_platform.gateway.limits import GatewayLimits

ADDRESSES = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(ADDRESSES, st.booleans(), st.booleans())))
def test_admission_never_exceeds_its_bounds_and_forgets_who_left(moves):
    limits = GatewayLimits(connections=5, unauthenticated_per_address=2)
    admission, inside = Admission(limits), []
    for address, recognise, leave in moves:
        strangers = sum(one == address and not known for one, known in inside)
        expected = len(inside) < 5 and strangers < 2
        assert admission.admit(address) == expected
        if expected:
            if recognise:
                admission.recognised(address)
            inside.append((address, recognise))
        if leave and inside:
            gone, known = inside.pop(0)
            admission.left(gone, recognised=known)
        assert admission.connections == len(inside)
    for address, known in inside:
        admission.left(address, recognised=known)
    assert not admission._strangers


def test_who_waits_for_received_bytes_goes_on_below_three_quarters():
    budget, went_on = ReceivedBytes(100), []
    assert budget.take(100)
    assert not budget.take(1)
    budget.when_free(lambda: went_on.append(budget.held))
    budget.give_back(20)
    assert went_on == []
    budget.give_back(10)
    assert went_on == [71]


async def test_sent_bytes_are_given_in_order_of_asking_and_never_too_many():
    budget, order = SentBytes(10), []

    async def hold(name: str, size: int) -> None:
        await budget.take(size)
        order.append(name)

    await hold("first", 8)
    waiting = [asyncio.create_task(hold("large", 9)), asyncio.create_task(hold("small", 1))]
    await asyncio.sleep(0)
    assert order == ["first"], "a small one does not overtake"
    budget.give_back(8)
    await asyncio.gather(*waiting)
    assert order == ["first", "large", "small"]
    budget.give_back(9)
    budget.give_back(1)
    assert budget._free == 10


async def test_cancelled_wait_for_sent_bytes_loses_nothing():
    budget = SentBytes(10)
    await budget.take(10)
    first, second = (asyncio.create_task(budget.take(10)) for _ in range(2))
    await asyncio.sleep(0)
    budget.give_back(10)  # first's turn has come, but it is cancelled before it runs
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await asyncio.wait_for(second, 1)
    await asyncio.wait_for(budget.take(0), 1)


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 5)), min_size=1, max_size=60))
def test_questions_answered_over_time_never_exceed_burst_and_rate(asked):
    limits = GatewayLimits(question_ids_burst=1000, question_ids_per_second=100)
    meter, machine, now, answered = QuestionMeter(limits), uuid4(), 0.0, 0
    for ids, pause in asked:
        now += pause
        wait = meter.ask(machine, ids, now)
        if wait <= MOST_WAIT:
            answered += ids
            assert answered <= 1000 + (now + wait) * 100 + 1e-6


def test_meter_remembers_a_bounded_number_of_machines():
    meter = QuestionMeter(GatewayLimits(), machines=10)
    for number in range(50):
        meter.ask(uuid4(), 1, float(number))
    assert len(meter._levels) == 10


@given(st.lists(st.binary(max_size=40), max_size=30), st.lists(st.integers(1, 50), min_size=1))
def test_short_writes_lose_no_byte_and_repeat_none(buffers, sizes):
    class ShortFiles(FileLayer):
        taken = b""

        def write(self, fd, buffers):
            size = sizes[len(self.taken) % len(sizes)]
            piece = b"".join(bytes(one) for one in buffers)[:size]
            self.taken += piece
            return len(piece)

    files = ShortFiles()
    assert write_all(files, 0, buffers) == sum(map(len, buffers))
    assert files.taken == b"".join(buffers)
