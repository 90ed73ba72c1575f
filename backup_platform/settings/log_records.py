"""One JSON object a log line, and nothing secret in any of them.

Every record, ours or a library's, passes `redact_secrets` last: it blanks fields by their name and, in all text,
the shapes in which secrets travel (enrolment strings, passwords in URLs, bearer tokens, private keys).
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

import structlog

REDACTED = "[redacted]"

# Names whose value is a secret wherever it stands. `h` is a chunk's plaintext hash: whoever has it can read the chunk.
SECRET_NAMES = re.compile(
    r"(?i)^(h|authorization|cookie|set-cookie|fragment)$"
    r"|(password|passphrase|secret|token|private|plaintext|enrolment|enrollment|session_?key|csrf)"
)
SECRET_SHAPES = (
    (re.compile(r"strongroom://\S+"), "strongroom://" + REDACTED),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s@/]+@"), r"\1:" + REDACTED + "@"),
    (re.compile(r"(?i)\b(bearer|token|basic)\s+[A-Za-z0-9._~+/=-]{16,}"), r"\1 " + REDACTED),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), REDACTED),
)
MAX_DEPTH = 6


def redact_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: the event with every secret blanked, nested values included."""
    return {name: REDACTED if SECRET_NAMES.search(str(name)) else _redact(value, 0) for name, value in event.items()}


def _drop_colours(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("color_message", None)  # uvicorn says everything a second time, in colours
    return event


def _redact(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _redact_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"  # ids are logged as hex by whoever means them; raw bytes may be anything
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, MutableMapping):
        return {k: REDACTED if SECRET_NAMES.search(str(k)) else _redact(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact(item, depth + 1) for item in value]
    return value


def _redact_text(text: str) -> str:
    for shape, replacement in SECRET_SHAPES:
        text = shape.sub(replacement, text)
    return text


def logging_settings(level: str) -> dict[str, Any]:
    """Django's LOGGING: JSON lines on standard error, from the standard library's loggers and structlog's alike."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": shared,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _drop_colours,
            redact_secrets,
            structlog.processors.JSONRenderer(default=str),
        ],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Both log a line for each request or file and say nothing that our own lines do not.
            "uvicorn.access": {"level": "WARNING"},
            "botocore": {"level": "WARNING"},
        },
    }
