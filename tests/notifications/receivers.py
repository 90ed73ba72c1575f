"""A real SMTP server and a real HTTP receiver, small, on the loopback address, for as long as a test lasts."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 30


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


@dataclass
class Letter:
    to: list[str]
    message: Message

    @property
    def text(self) -> str:
        return self.message.get_payload(decode=True).decode()


class _SmtpTalk(socketserver.StreamRequestHandler):
    """One conversation: EHLO, MAIL, RCPT, DATA, RSET, QUIT."""

    timeout = PATIENCE

    def handle(self) -> None:
        self.say(220, "ready")
        to: list[str] = []
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            if verb == "RCPT":
                refused = any(word in line for word in self.server.refuse)
                self.say(550 if refused else 250, "recipient")
                to += [] if refused else [line.partition("<")[2].partition(">")[0]]
            elif verb == "DATA":
                self.say(354, "go on")
                self.server.letters.append(Letter(to, message_from_bytes(self.data())))
                to = []
                self.say(250, "kept")
            elif verb == "QUIT":
                self.say(221, "bye")
                return
            else:
                self.say(self.server.answer, "as you say")

    def data(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def say(self, code: int, words: str) -> None:
        self.wfile.write(f"{code} {words}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    """Keeps every letter. `refuse`: recipients that hold one of these words; `answer`: its code for EHLO and MAIL."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _SmtpTalk)
        self.letters: list[Letter] = []
        self.refuse: list[str] = []
        self.answer = 250

    @property
    def port(self) -> int:
        return self.server_address[1]


@dataclass
class Hit:
    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


@dataclass
class Behaviour:
    """How the receiver answers: the status, headers, and how long it takes before it does."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hold: threading.Event | None = None


class _Receive(BaseHTTPRequestHandler):
    timeout = PATIENCE

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        held = {key.lower(): value for key, value in self.headers.items()}
        self.server.hits.append(Hit(self.path, held, body, self.command))
        behaviour = self.server.behaviour
        if behaviour.hold:
            behaviour.hold.wait(PATIENCE)
        self.send_response(behaviour.status)
        for name, value in {"content-length": str(len(behaviour.body)), **behaviour.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(behaviour.body)

    do_GET = do_POST  # noqa: N815 - the library's name

    def log_message(self, *_) -> None:
        """Quiet."""


class Receiver(ThreadingHTTPServer):
    """Keeps every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.hits: list[Hit] = []
        self.behaviour = Behaviour()

    def url(self, path: str = "/hook/very-secret-path", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_address[1]}{path}"


def serve(server: socketserver.BaseServer) -> threading.Thread:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    return thread


def stop(server: socketserver.BaseServer) -> None:
    server.shutdown()
    server.server_close()
