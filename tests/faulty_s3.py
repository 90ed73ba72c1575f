"""A real HTTP proxy before the S3 server that fails as clouds do: by chance (a seed is printed), or as a script says.

    faulty_s3.share = 0.1                                   # one request in ten fails, in one of the ways of `kinds`
    faulty_s3.next(S3Fault.TIMEOUT_AFTER, "PUT", ".pack")   # the next matching request fails so, once
    faulty_s3.refuse = True                                 # the service is away
    faulty_s3.denied = True                                 # the credentials are refused (`denied_code` says how)
    faulty_s3.counts[S3Fault.ERROR_500]                     # what was done so far

Requests go on unchanged, with the Host header that was signed, and bodies of tens of MiB are held in memory.
"""

from __future__ import annotations

import http.client
import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from backup_platform.storage.s3 import S3Store
from tests.s3_server import S3Server

HOP_HEADERS = {"connection", "keep-alive", "expect", "transfer-encoding", "proxy-connection"}
WAIT_SECONDS = 120


class S3Fault(StrEnum):
    """How a request goes wrong."""

    ERROR_500 = "500"
    """Not done, and answered 500 InternalError."""
    ERROR_503 = "503"
    """Not done, and answered 503 SlowDown."""
    DROP_BEFORE = "drop-before"
    """Not done: the connection ends without an answer."""
    TIMEOUT_AFTER = "timeout-after"
    """Done, and the answer is lost: silence for `hang` seconds (0 at first), then the connection ends."""
    TRUNCATED = "truncated"
    """The answer's body ends half-way; of a GET."""
    FLIPPED = "flipped"
    """One bit of the answer's body is another; of a GET of an object."""
    FLIPPED_UPLOAD = "flipped-upload"
    """One bit of the request's body is another on its way to the service; of a PUT."""
    FAILED_LIST = "failed-list"
    """A listing is answered 500."""
    STALE_LIST = "stale-list"
    """A listing is answered as it was some time ago: its newest key is not in it."""


ALL_FAULTS = frozenset(S3Fault)
UNSURE = frozenset({S3Fault.ERROR_500, S3Fault.ERROR_503, S3Fault.DROP_BEFORE, S3Fault.TIMEOUT_AFTER})
"""What any request may meet."""


@dataclass(frozen=True)
class Planned:
    """A fault for one request to come."""

    fault: S3Fault
    method: str | None
    part: str


class FaultyS3:
    """The proxy. Use it as a context manager, or by the fixture `faulty_s3`."""

    def __init__(self, server: S3Server, seed: int | None = None) -> None:
        self.server = server
        self.seed = random.randrange(2**32) if seed is None else seed
        self.share, self.kinds, self.hang = 0.0, set(ALL_FAULTS - {S3Fault.STALE_LIST}), 0.0
        self.refuse = self.denied = False
        self.denied_code = "InvalidAccessKeyId"
        self.counts: Counter[S3Fault] = Counter()
        self.requests: list[tuple[str, str]] = []
        self._random, self._lock = random.Random(self.seed), threading.Lock()
        self._planned: list[Planned] = []
        self._listener: ThreadingHTTPServer | None = None
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._listener is not None
        return f"http://127.0.0.1:{self._listener.server_address[1]}"

    def store(self, bucket: str = "", **options) -> S3Store:
        """A store through this proxy; options as `S3Server.store` has them."""
        return self.server.store(bucket, url=self.url, **options)

    def next(self, fault: S3Fault, method: str | None = None, part: str = "") -> None:
        """Let the next request fail whose method is this one and whose path and query hold `part`."""
        with self._lock:
            self._planned.append(Planned(fault, method, part))

    def calm(self) -> None:
        """No more faults."""
        with self._lock:
            self._planned.clear()
            self.share, self.refuse, self.denied = 0.0, False, False

    def wait_for(self, fault: S3Fault, number: int = 1) -> None:
        """Wait until so many of these faults were done."""
        end = time.monotonic() + WAIT_SECONDS
        while self.counts[fault] < number:
            assert time.monotonic() < end, f"{fault} did not happen {number} times"
            time.sleep(0.01)

    def __enter__(self) -> FaultyS3:
        print(f"faulty S3: seed {self.seed}")
        proxy = self

        class Handler(_Handler):
            faults = proxy
            upstream = urlsplit(proxy.server.url)

        self._listener = _Listener(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True, name="faulty-s3").start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._listener is not None
        self.stopped.set()
        self._listener.shutdown()
        self._listener.server_close()

    def draw(self, method: str, path: str) -> S3Fault | None:
        """The fault of a request, if it is to have one; counted."""
        with self._lock:
            self.requests.append((method, path))
            fault = self._planned_fault(method, path)
            if fault is None and self._random.random() < self.share:
                possible = [kind for kind in sorted(self.kinds) if applies(kind, method, path)]
                fault = self._random.choice(possible) if possible else None
            if fault is not None:
                self.counts[fault] += 1
            return fault

    def _planned_fault(self, method: str, path: str) -> S3Fault | None:
        for planned in self._planned:
            if planned.method in (None, method) and planned.part in path and applies(planned.fault, method, path):
                self._planned.remove(planned)
                return planned.fault
        return None


def applies(fault: S3Fault, method: str, path: str) -> bool:
    """Whether a request can fail so."""
    lists = method == "GET" and "list-type=" in path
    if fault in (S3Fault.FAILED_LIST, S3Fault.STALE_LIST):
        return lists
    if fault is S3Fault.TRUNCATED:
        return method == "GET"
    if fault is S3Fault.FLIPPED:
        return method == "GET" and not lists
    return fault is not S3Fault.FLIPPED_UPLOAD or method == "PUT"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    faults: FaultyS3

    def do(self) -> None:
        """Any request."""
        if self.faults.refuse:
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.faults.draw(self.command, self.path)
        if self.faults.denied:
            self._fail(403, self.faults.denied_code)
        elif fault in (S3Fault.ERROR_500, S3Fault.FAILED_LIST):
            self._fail(500, "InternalError")
        elif fault is S3Fault.ERROR_503:
            self._fail(503, "SlowDown")
        elif fault is S3Fault.DROP_BEFORE:
            self.close_connection = True
        else:
            self._pass_on(fault, flipped(body) if fault is S3Fault.FLIPPED_UPLOAD else body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do  # noqa: N815 - what the base class calls

    def _pass_on(self, fault: S3Fault | None, body: bytes) -> None:
        status, headers, answer = self._ask(body)
        if fault is S3Fault.TIMEOUT_AFTER:
            self.faults.stopped.wait(self.faults.hang)
            self.close_connection = True
            return
        length = len(answer)
        if fault is S3Fault.FLIPPED and status < 300:
            answer = flipped(answer)
        elif fault is S3Fault.STALE_LIST:
            answer = without_last_key(answer)
            length = len(answer)
        elif fault is S3Fault.TRUNCATED:
            answer = answer[: length // 2]
        self._answer(status, headers, answer, length)
        if fault is S3Fault.TRUNCATED:
            self.close_connection = True

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_HEADERS:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int) -> None:
        bodiless = self.command == "HEAD" or status in (204, 304)
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_HEADERS and (bodiless or name.lower() != "content-length"):
                self.send_header(name, value)
        if not bodiless:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if not bodiless:
            self.wfile.write(body)

    def _fail(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>On purpose.</Message></Error>".encode()
        self._answer(status, [("Content-Type", "application/xml")], text, len(text))

    def log_message(self, *_: object) -> None:
        """Quiet."""


def flipped(body: bytes) -> bytes:
    """With one bit in the middle turned round."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body


def without_last_key(answer: bytes) -> bytes:
    """A listing's page that has not heard of its last key yet."""
    found = list(re.finditer(rb"<Contents>.*?</Contents>", answer, re.DOTALL))
    if not found:
        return answer
    answer = answer[: found[-1].start()] + answer[found[-1].end() :]
    return re.sub(rb"<KeyCount>(\d+)</KeyCount>",
                  lambda match: b"<KeyCount>%d</KeyCount>" % (int(match[1]) - 1), answer)  # fmt: skip
