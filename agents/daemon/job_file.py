"""What the daemon tells the process that does a job, beyond its command line: a file in the job's own directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agents.errors import UsageFault

MAX_FILE = 4 << 20
CHUNKERS = {"default": "fastcdc-1m", "fine": "fastcdc-64k"}


def names_asked_for(settings: Mapping[str, Any]) -> bool:
    """Whether a policy's settings ask for names of files in progress. Only a plain true does."""
    return settings.get("privacy.file_names_in_progress") is True


class JobFile(msgspec.Struct, frozen=True, kw_only=True):
    """One job. `settings` are a policy's, flat; `expected_…`: what the policy's last backup held (0: unknown)."""

    job: str
    policy: str = ""
    settings: dict[str, Any] = {}
    zone: str = ""
    progress_seconds: float = 5.0
    expected_files: int = 0
    expected_bytes: int = 0

    @property
    def may_name_files(self) -> bool:
        """Whether the policy asks for the name of the file that is being read. The daemon decides what leaves."""
        return names_asked_for(self.settings)

    @property
    def job_id(self) -> bytes:
        """The job's id as the protocol writes it."""
        return bytes.fromhex(self.job)


def read_job_file(path: Path) -> JobFile:
    """Read it. Raises UsageFault: only a person's own hand could have spoilt it."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE), type=JobFile)
    except OSError as fault:
        raise UsageFault(f"The job file {path} cannot be read: {(fault.strerror or '').lower()}.") from fault
    except msgspec.MsgspecError as fault:
        raise UsageFault(f"The job file {path} is damaged.", "It is the daemon's own: leave it alone.") from fault
