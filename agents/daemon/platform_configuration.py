"""What the platform says this machine's policies are: kept for people to look at, and for tidying up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from agents.errors import AgentError
from agents.state import write_private

FILE = "platform.json"
MAX_FILE = 4 << 20


class PlatformPolicy(msgspec.Struct, frozen=True):
    """A policy as it applies here: each setting with its value, and where that comes from."""

    id: str
    name: str
    settings: dict[str, Any] = {}
    origins: dict[str, str] = {}


class PlatformConfiguration(msgspec.Struct, frozen=True):
    """CONFIGURE's document. Further members are passed over: a newer platform may say more."""

    version: int | str = 0
    policies: list[PlatformPolicy] = []
    tenant: str | dict[str, Any] = ""
    machine: str | dict[str, Any] = ""


def take(home: Path, text: str) -> str:
    """Keep a document if it can be read. Returns why it cannot, "" when it is in force."""
    try:
        msgspec.json.decode(text, type=PlatformConfiguration)
    except msgspec.MsgspecError as fault:
        return f"The configuration cannot be read: {fault}."
    try:
        write_private(home / FILE, text.encode())
    except OSError as fault:
        return f"The configuration cannot be kept: {(fault.strerror or '').lower()}."
    return ""


def kept(home: Path) -> PlatformConfiguration:
    """The document that is in force; an empty one before the first. Raises AgentError when the file is spoilt."""
    try:
        with open(home / FILE, "rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE), type=PlatformConfiguration)
    except FileNotFoundError:
        return PlatformConfiguration()
    except (OSError, msgspec.MsgspecError) as fault:
        raise AgentError(f"{home / FILE} cannot be read.", "Remove it; the platform sends it anew.") from fault
