"""The public commands, run as a user runs them: as child processes, by their documented options and output."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from backup_platform.embedded.errors import EmbeddedError
from backup_platform.embedded.platform_processes import CHECKOUT, MANAGE

AGENT = [sys.executable, "-m", "agents"]
STEP_SECONDS = 3600
MOST_NAMED = 8


class StepFailed(EmbeddedError):
    """A command of the demonstration ended badly."""


def run(
    command: list[str],
    environment: dict[str, str],
    *,
    text: str = "",
    seconds: float = STEP_SECONDS,
    accepted: tuple[int, ...] = (0,),
) -> str:
    """What COMMAND printed. TEXT goes to its standard input. Raises StepFailed with its own words."""
    try:
        finished = subprocess.run(
            command,
            env=environment,
            cwd=CHECKOUT,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StepFailed(f"`{shown(command)}` did not end within {seconds:.0f} seconds.", "Look at the logs.") from None
    if finished.returncode not in accepted:
        words = (finished.stderr.strip() or finished.stdout.strip() or "it said nothing").splitlines()
        raise StepFailed(
            f"`{shown(command)}` ended with exit code {finished.returncode}.", "It said:\n" + "\n".join(words[-12:])
        )
    return finished.stdout


def shown(command: list[str]) -> str:
    """The command as a person would type it."""
    if command[:2] == MANAGE:
        command = ["manage.py", *command[2:]]
    elif command[:3] == AGENT:
        command = ["strongroom", *command[3:]]
    return shlex.join(command)


def unsaved(output: str) -> list[str]:
    """The sources that a backup's JSON names as not saved properly, some of them, for people."""
    objects = [json.loads(line) for line in output.splitlines() if line.startswith('{"message_type": "error"')]
    lines = [f"{found.get('path')}: {found.get('reason')}" for found in objects]
    return [*lines[:MOST_NAMED], *([f"… and {len(lines) - MOST_NAMED} more"] if len(lines) > MOST_NAMED else [])]


def last_object(output: str) -> dict[str, Any]:
    """The last JSON object of a command that prints one a line. Raises StepFailed if there is none."""
    for line in reversed(output.strip().splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    raise StepFailed("A command that was asked for JSON printed none.", f"It said: {output.strip()[-300:]}")


def shell_environment(home: Path, agent_home: Path, passphrase: str) -> dict[str, str]:
    """What a person's shell would hold. Nothing of the instance's own: the commands must find that by themselves."""
    hidden = {"DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "DJANGO_SECRET_KEY", "DJANGO_SETTINGS_MODULE"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {
        **kept,
        "PYTHONPATH": str(CHECKOUT),
        "STRONGROOM_HOME": str(home),
        "STRONGROOM_AGENT_HOME": str(agent_home),
        "STRONGROOM_PASSPHRASE": passphrase,
    }
