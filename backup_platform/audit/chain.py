"""What binds an audit line to the one before: the digest of its canonical JSON, and the check of a whole chain."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from blake3 import blake3

from .models import Entry

FIRST_PREVIOUS = bytes(32)
CONTEXT = "strongroom/v1/audit"
MAX_TEXT = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Break:
    """The first line of a chain that does not fit."""

    entry_id: int
    fault: str


def entry_digest(entry: Entry) -> bytes:
    """BLAKE3 of everything a line says and of the line before it, as JSON with sorted keys and no blanks."""
    facts = {
        "context": CONTEXT,
        "tenant": str(entry.tenant_id) if entry.tenant_id else None,
        "at": (entry.at - _EPOCH) // timedelta(microseconds=1),
        "actor": entry.actor,
        "verb": entry.verb,
        "object": entry.object,
        "detail": entry.detail,
        "previous": bytes(entry.previous).hex(),
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return bytes(blake3(text.encode("ascii")).digest())


def find_break(entries: Iterable[Entry]) -> Break | None:
    """The first broken line of one whole chain, oldest first; None when it holds."""
    previous = FIRST_PREVIOUS
    for entry in entries:
        if bytes(entry.previous) != previous:
            return Break(entry.pk, "it does not follow the line before it: a line was removed, added or moved")
        if entry_digest(entry) != bytes(entry.digest):
            return Break(entry.pk, "its content was changed after it was written")
        previous = bytes(entry.digest)
    return None


def chain_lock_key(tenant_id: UUID | None) -> int:
    """A tenant's half of the advisory lock's key: 32 bits, signed. Two tenants that share one merely wait."""
    return int.from_bytes(tenant_id.bytes[:4] if tenant_id else bytes(4), "big", signed=True)


def clean_text(text: str, length: int = MAX_TEXT) -> str:
    """Text that PostgreSQL can hold and a page can show: no NUL, no lone surrogates, bounded."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()[:length]


def clean_detail(value: dict[str, Any]) -> dict[str, Any]:
    """Details as JSON that comes back from the database exactly as it went in."""
    return {clean_text(str(key), 100): _clean(item) for key, item in value.items()}


def _clean(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, dict):
        return clean_detail(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return clean_text(str(value))  # floats too: jsonb may spell a number in another way
