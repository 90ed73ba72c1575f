"""Gateways of the local network: found, shown without harm, and never trusted for what they say."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agents.transport.discovering import SERVICE, discover, read
from backup_platform.gateway.announcing import Announcer
from tests.end_to_end.stage import Agent

zeroconf = pytest.importorskip("zeroconf")


@contextmanager
def announced(**words: Any) -> Iterator[bool]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    announcer = Announcer(addresses=["127.0.0.1"], **words)
    try:
        yield asyncio.run_coroutine_threadsafe(announcer.start(), loop).result(30)
        asyncio.run_coroutine_threadsafe(announcer.stop(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_gateway_that_announces_itself_is_found():
    with announced(name="tests-north", port=4711, version="0.1.0", ca_fingerprint="ab" * 32, load=7) as started:
        if not started:
            pytest.skip("this machine has no multicast on its loopback")
        for _ in range(5):
            found = [each for each in discover(1.0, ["127.0.0.1"]) if each.name == "tests-north"]
            if found:
                break
    if not found:
        pytest.skip("multicast does not come back on this machine's loopback")
    (gateway,) = found
    assert (gateway.address, gateway.version, gateway.ca, gateway.load) == ("127.0.0.1:4711", "0.1.0", "ab" * 32, 7)


def info(port: int = 4711, **properties: bytes) -> Any:
    return zeroconf.ServiceInfo(
        SERVICE, f"evil.{SERVICE}", parsed_addresses=["192.0.2.1"], port=port, properties=properties
    )


def test_hostile_announcements_are_shown_without_harm():
    (found,) = read(info(name=b"a\x1b[2Jb\n" + b"x" * 220, version=b"\xff", ca=b"not a fingerprint", load=b"1e99"))
    assert found.name.startswith("a[2Jb")
    assert len(found.name) <= 200
    assert (found.ca, found.load) == ("", None)
    assert read(info(port=0)) == []


def test_nothing_found_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("agents.transport.discovering.discover", lambda seconds, interfaces: [])
    said = Agent(tmp_path).run("discover", "--seconds", "0.2")
    assert said.code == 0
    assert "No gateway announces itself here" in said.out
    assert Agent(tmp_path).run("discover", "--choose").code == 10
