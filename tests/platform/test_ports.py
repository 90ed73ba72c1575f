"""Reserved ports: ours while nobody listens, and a clear sentence when somebody does."""

from __future__ import annotations

import asyncio
import socket

import pytest

from backup_platform.embedded.errors import PortTaken
from backup_platform.embedded.ports import reserve_port


async def test_reserved_port_can_be_listened_on_again_and_again() -> None:
    reserved = reserve_port("127.0.0.1", 0, variable="X")
    for _ in range(3):
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", reserved.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", reserved.port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        server.close()
        await server.wait_closed()
    reserved.close()


def test_taken_port_is_named_with_the_setting_to_change() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Port {port} on 127\.0\.0\.1 is taken.*STRONGROOM_WEB_PORT"):
            reserve_port("127.0.0.1", port, variable="STRONGROOM_WEB_PORT")


def test_free_ports_are_not_handed_out_twice() -> None:
    held = [reserve_port("127.0.0.1", 0, variable="X") for _ in range(50)]
    assert len({reservation.port for reservation in held}) == 50
    for reservation in held:
        reservation.close()


def test_number_beyond_all_ports_is_refused() -> None:
    with pytest.raises(PortTaken, match="not a port"):
        reserve_port("127.0.0.1", 70000, variable="X")
