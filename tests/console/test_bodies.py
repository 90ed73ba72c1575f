"""Requests that carry too much, or something too deep: refused with a bounded amount read."""

from __future__ import annotations

import asyncio
from io import BytesIO

import pytest

from backup_platform.api.parsers import MOST_BYTES as MOST_OF_API
from backup_platform.asgi import application
from backup_platform.console.bodies import MOST_BYTES

PIECE = 256 * 1024
TRIED = "/api/v1/retention-preview/"


def asked(headers: list[tuple[bytes, bytes]], pieces: int) -> tuple[list[dict], int]:
    """What a POST of so many pieces is answered, and how many of them were taken."""
    said: list[dict] = []
    taken = 0

    async def receive() -> dict:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": bytes(PIECE), "more_body": taken < pieces}

    async def send(message: dict) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/nowhere", "raw_path": b"/nowhere", "query_string": b"",
             "headers": [(b"host", b"localhost"), *headers], "http_version": "1.1", "scheme": "http",
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "root_path": "",
             "asgi": {"version": "3.0"}}  # fmt: skip
    asyncio.run(application(scope, receive, send))
    return said, taken


@pytest.mark.defence
def test_a_body_that_says_it_is_too_large_is_not_read_at_all():
    said, taken = asked([(b"content-length", str(MOST_BYTES + 1).encode())], 40)
    assert (said[0]["status"], taken) == (413, 0)


@pytest.mark.defence
def test_a_body_without_an_end_is_read_in_part_only():
    said, taken = asked([(b"transfer-encoding", b"chunked")], 60)
    assert taken <= MOST_BYTES // PIECE + 2
    assert said[0]["status"] == 413


def body_of(client, text: bytes):
    return client.generic("POST", TRIED, text, content_type="application/json")


@pytest.mark.defence
def test_the_api_reads_a_bounded_body(member, worlds):
    assert body_of(member, b'{"settings": "' + b"x" * MOST_OF_API + b'"}').status_code == 413


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 50_000, b"{", b"\xff\xfe", b'"\\ud800"', b"NaN", b"null"])
def test_what_is_no_json_or_too_deep_is_refused_in_a_sentence(member, worlds, text):
    answer = body_of(member, text)
    assert answer.status_code == 400
    assert answer.json()


def test_the_parser_takes_no_more_than_it_may():
    from backup_platform.api.parsers import BoundedJSONParser, TooLarge

    class Endless(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 <= size <= MOST_OF_API + 1
            return bytes(size)

    with pytest.raises(TooLarge):
        BoundedJSONParser().parse(Endless())


@pytest.mark.parametrize("address", [
    "/admin/audit/entry/?verb=a%00b", "/admin/fleet/machine/?state__exact=%00", "/api/v1/machines/?name=%00",
    "/admin/retention/expiry/preview/?retention__keep_last=%00",
])  # fmt: skip
def test_an_address_with_a_null_is_refused_in_a_sentence(member, worlds, address):
    answer = member.get(address)
    assert (answer.status_code, "NUL" in answer.content.decode()) == (400, True)
    assert "Content-Security-Policy" in answer.headers
