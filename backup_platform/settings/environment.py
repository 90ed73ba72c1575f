"""What the environment says: secrets from files, addresses from URLs. Errors name the variable, never its value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

MIN_KEY_LENGTH = 32
"""Characters: fewer could be guessed from a copy of the database."""


def read_setting(name: str, default: str | None = None) -> str:
    """The value of NAME, or the content of the file that NAME_FILE names (which wins: files do not show in `ps`)."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as fault:
            raise ImproperlyConfigured(f"{name}_FILE names a file that cannot be read: {fault.strerror}") from None
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"Set {name}, or {name}_FILE to the path of a file that holds it.")
    return value


def read_key(name: str) -> str:
    """The value of NAME (or of NAME_FILE), empty when unset: a secret that is long enough to derive keys from."""
    value = read_setting(name, "")
    if value and len(value) < MIN_KEY_LENGTH:
        raise ImproperlyConfigured(f"{name} must have {MIN_KEY_LENGTH} characters or more, drawn at random.")
    return value


def read_number(name: str, default: int) -> int:
    """The value of NAME as a whole number."""
    value = os.environ.get(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number.") from None


def read_list(name: str, default: str = "") -> list[str]:
    """The value of NAME cut at commas, without blanks."""
    return [part.strip() for part in os.environ.get(name, default).split(",") if part.strip()]


def database_from_url(url: str, *, name: str = "DATABASE_URL") -> dict[str, Any]:
    """Django's description of `postgresql://user:password@host:port/database?host=/socket/directory&sslmode=…`.

    A `host` in the query is libpq's way to name a unix socket's directory; other query items become libpq options.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(f"{name} must be a postgresql:// URL: Strongroom has one database engine.")
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    socket_directory = query.pop("host", "")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": socket_directory or unquote(parts.hostname or ""),
        "PORT": str(parts.port or query.pop("port", "") or ""),
        "OPTIONS": dict(query),
    }


def broker_from_redis_url(url: str) -> str:
    """Celery's spelling of a Redis URL: kombu calls `unix://` `redis+socket://` and `db` `virtual_host`."""
    if not url.startswith("unix://"):
        return url
    return url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)


def connection_patience() -> dict[str, str]:
    """libpq parameters: a server that vanishes without a word is given up after half a minute, not after hours.

    Numbers are seconds, the last one milliseconds. On a unix socket only the first counts.
    """
    return {
        "connect_timeout": "5",
        "keepalives_idle": "15",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }


def session_options(environment: Mapping[str, str] = os.environ) -> str:
    """libpq `options` of every connection: no lock, and no idle transaction, is waited for without end.

    What is acknowledged rests on commits, so a database or role that was set to commit asynchronously is overruled.
    """
    settings = {
        "synchronous_commit": "on",
        "lock_timeout": "15s",
        "idle_in_transaction_session_timeout": "60s",
        "statement_timeout": environment.get("STRONGROOM_STATEMENT_TIMEOUT", "0"),
        "timezone": "UTC",
    }
    return " ".join(f"-c {key}={value}" for key, value in settings.items())
