"""Whom a bucket's client talks to: checked addresses, and nobody whom the environment or an answer names."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backup_platform import safe_addresses
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.s3 import Account, Patience, Place, S3Store

QUICK = Patience(connect=10, silence=30, attempts=1)
ACCOUNT = Account("some-access", "some-secret")


def store_at(url: str, *, private: bool = False) -> S3Store:
    return S3Store(Place("bucket", url, "us-east-1", private), ACCOUNT, patience=QUICK)


class Listener:
    """Counts connections and requests, and answers each with what it was told."""

    def __init__(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.command, self.path, self.headers.get("Host", "")))
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_PUT = do_GET  # noqa: N815 - what the base class calls

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


@pytest.mark.defence
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "0.0.0.0"])  # noqa: S104
def test_an_endpoint_inside_the_house_is_not_dialled(listener, host):
    with pytest.raises(StoreUnavailable, match="address is refused"):
        store_at(f"http://{host}:{listener.port}").get("key")
    assert listener.asked == []


@pytest.mark.defence
def test_a_clouds_own_service_is_not_dialled_even_where_private_addresses_are_allowed():
    with pytest.raises(StoreUnavailable, match="never allowed"):
        store_at("http://169.254.169.254", private=True).get("key")


@pytest.mark.defence
def test_a_name_that_changes_its_mind_is_asked_once_and_the_checked_address_is_dialled(listener, monkeypatch):
    """DNS rebinding: the second look-up would lead inside; there is none."""
    answers, dialled = ["93.184.215.14", "127.0.0.1"], []

    def look_up(host, port, *arguments, **named):
        if host == "rebinding.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]
        return real(host, port, *arguments, **named)

    def dial(address, *_arguments, **_named):
        dialled.append(address)
        raise ConnectionRefusedError

    real = socket.getaddrinfo
    monkeypatch.setattr(safe_addresses.socket, "getaddrinfo", look_up)
    monkeypatch.setattr("backup_platform.storage.s3_wire.create_connection", dial)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store_at(f"http://rebinding.example:{listener.port}").get("key")
    assert [host for host, _ in dialled] == ["93.184.215.14"]
    assert answers == ["127.0.0.1"]


def test_a_redirect_is_not_followed(listener):
    redirecting = Listener(307, {"Location": f"http://127.0.0.1:{listener.port}/inside"})
    try:
        with pytest.raises(StoreUnavailable, match="region or at another endpoint"):
            store_at(f"http://127.0.0.1:{redirecting.port}", private=True).get("key")
    finally:
        redirecting.close()
    assert redirecting.asked
    assert listener.asked == []


def test_the_environment_names_no_proxy_key_or_endpoint(s3_server, listener, monkeypatch):
    bucket, elsewhere = s3_server.make_bucket(), f"http://127.0.0.1:{listener.port}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "AWS_ENDPOINT_URL",
                 "AWS_ENDPOINT_URL_S3"):  # fmt: skip
        monkeypatch.setenv(name, elsewhere)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "from-the-environment")
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    store = s3_server.store(bucket)
    store.put("key", b"content")
    assert store.get("key") == b"content"
    assert listener.asked == []


def test_a_service_that_is_none_is_an_error_and_not_absence(listener):
    store = store_at(f"http://127.0.0.1:{listener.port}", private=True)
    with pytest.raises(StoreUnavailable):
        list(store.list())
    other = Listener(404)
    try:
        with pytest.raises(StoreUnavailable, match="404 without a reason"):
            store_at(f"http://127.0.0.1:{other.port}", private=True).exists("key")
    finally:
        other.close()
