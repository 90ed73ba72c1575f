"""A store that fails on purpose, for tests and drills: a script says which call of what goes wrong, and how."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, TypeVar

from backup_platform.storage.base import NoSpace, Store, StoreUnavailable

Result = TypeVar("Result")


class Failure(StrEnum):
    """How a call goes wrong."""

    INPUT_OUTPUT = "input-output"
    """Nothing happens and the store says that it failed (EIO)."""
    NO_SPACE = "no-space"
    """Nothing happens: the store is full (ENOSPC)."""
    AFTER_EFFECT = "after-effect"
    """It happens, and the answer is lost (a timeout)."""
    SHORT = "short"
    """Reads give half of the bytes; a put stores half of them and fails, as a write that a crash cut off."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The `call`-th call (from 1) of `operation` fails so; `operation` is a method's name."""

    operation: str
    call: int
    failure: Failure = Failure.INPUT_OUTPUT


class FaultyStore(Store):
    """Passes everything on to `inner`, but for what the script says. `calls` counts what was asked."""

    def __init__(self, inner: Store, faults: Iterable[Fault] = ()) -> None:
        self.inner = inner
        self.faults = {(fault.operation, fault.call): fault.failure for fault in faults}
        self.calls: Counter[str] = Counter()

    def put(
        self, key: str, data: bytes | BinaryIO, *, sha256: bytes | None = None, only_if_absent: bool = True
    ) -> None:
        content = data if isinstance(data, bytes) else data.read()
        half = lambda: self.inner.put(key, content[: len(content) // 2], only_if_absent=only_if_absent)  # noqa: E731
        whole = lambda: self.inner.put(key, content, sha256=sha256, only_if_absent=only_if_absent)  # noqa: E731
        self._run("put", whole, half, fails_when_short=True)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        def half() -> bytes:
            data = self.inner.get(key, offset, length)
            return data[: len(data) // 2]

        return self._run("get", lambda: self.inner.get(key, offset, length), half)

    def open(self, key: str) -> BinaryIO:
        def half() -> BinaryIO:
            return io.BytesIO(self.inner.get(key, 0, self.inner.size(key) // 2))

        return self._run("open", lambda: self.inner.open(key), half)

    def size(self, key: str) -> int:
        return self._run("size", lambda: self.inner.size(key), lambda: self.inner.size(key) // 2)

    def list(self, prefix: str = "") -> Iterator[str]:
        """A short listing ends in an error: a store that ends one early without saying so breaks the contract."""
        keys = list(self.inner.list(prefix))
        failure = self._next_failure("list")
        if failure is None:
            yield from keys
            return
        yield from keys[: len(keys) // 2]
        raise StoreUnavailable("The listing broke off.")

    def delete(self, key: str) -> None:
        self._run("delete", lambda: self.inner.delete(key))

    def adopt(self, key: str, path: Path) -> None:
        self._run("adopt", lambda: self.inner.adopt(key, path))

    def _next_failure(self, operation: str) -> Failure | None:
        self.calls[operation] += 1
        return self.faults.get((operation, self.calls[operation]))

    def _run(
        self,
        operation: str,
        whole: Callable[[], Result],
        half: Callable[[], Result] | None = None,
        *,
        fails_when_short: bool = False,
    ) -> Result:
        failure = self._next_failure(operation)
        if failure is None:
            return whole()
        if failure is Failure.NO_SPACE:
            raise NoSpace(f"{operation}: no space left.")
        if failure is Failure.SHORT and half is not None:
            result = half()
            if not fails_when_short:
                return result
        elif failure is Failure.AFTER_EFFECT:
            whole()
        raise StoreUnavailable(f"{operation}: input/output error.")
