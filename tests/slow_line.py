"""A line of so many bytes a second before a server: real TCP, both ways, all its connections together.

    with SlowLine(s3_server.url, rate=200_000) as line:
        ...                       # use line.url
        line.rate = None          # as fast as this machine from now on
        line.sent                 # bytes that went to the server so far

Its own buffers are small, so that a sender feels the line and not this machine's memory.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

PIECE = 8 * 1024
BUFFER = 32 * 1024


class SlowLine:
    """A context manager; bytes go on unchanged."""

    def __init__(self, url: str, rate: float | None) -> None:
        self.server, self.rate, self.sent = urlsplit(url), rate, 0
        self._lock, self._free_at = threading.Lock(), 0.0
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> SlowLine:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True, name="slow-line").start()
        return self

    def __exit__(self, *_: object) -> None:
        self.rate = None
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((self.server.hostname, self.server.port))
                self._open += [near, far]
                for source, sink, counted in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._carry, args=(source, sink, counted), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                self._wait(len(piece))
                sink.sendall(piece)
                self.sent += len(piece) if counted else 0
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _wait(self, size: int) -> None:
        """Until the line is free for so many bytes; a line that was made faster is free at once."""
        with self._lock:
            rate = self.rate
            self._free_at = max(self._free_at, time.monotonic()) + (size / rate if rate else 0)
            until = self._free_at
        while self.rate == rate and rate and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
        if not self.rate:
            self._free_at = 0.0
