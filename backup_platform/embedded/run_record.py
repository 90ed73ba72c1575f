"""HOME/run.json: how other commands find the running instance. There while `up` runs, for its owner only."""

from __future__ import annotations

import json
from pathlib import Path

from backup_platform.embedded.durable_files import write_private
from backup_platform.embedded.errors import NotRunning
from backup_platform.embedded.locks import is_locked

NAME = "run.json"


def write_run_record(home: Path, environment: dict[str, str]) -> None:
    """Publish the environment that a command needs to work on this instance."""
    write_private(home / NAME, json.dumps({"environment": environment}, indent=1) + "\n")


def remove_run_record(home: Path) -> None:
    """The instance stops: its addresses mean nothing any more."""
    (home / NAME).unlink(missing_ok=True)


def running_environment(home: Path) -> dict[str, str]:
    """The environment of the instance that runs in HOME. Raises NotRunning, also when its record is a leftover."""
    remedy = "Start it with `make up` (or `python manage.py up`), or set STRONGROOM_HOME to where it runs."
    if not is_locked(home):
        raise NotRunning(f"No Strongroom runs in {home}.", remedy)
    try:
        environment = json.loads((home / NAME).read_text(encoding="utf-8"))["environment"]
    except FileNotFoundError:
        raise NotRunning(f"The Strongroom in {home} is still starting.", "Try again in a few seconds.") from None
    except PermissionError:
        raise NotRunning(
            f"The Strongroom in {home} belongs to another user.", "Run the command as that user."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise NotRunning(f"{home / NAME} cannot be read.", "Restart `up`.") from None
    return {str(name): str(value) for name, value in environment.items()}
