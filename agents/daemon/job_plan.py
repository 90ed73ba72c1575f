"""From a job's description to the command that does it: what a policy may ask for, and what it may not.

A description comes from the server. It may choose what is read and where, inside this machine's own configuration,
something is written; it never names a command, an option of its own making, or a place to write to (law 8).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.daemon.configuration_file import Loaded
from agents.errors import Refused

SNAPSHOT = re.compile(r"^[0-9a-f]{32}$|^[0-9a-f]{64}$")
RETRY_FOR = 900.0
"""Seconds that a job keeps trying to reach the gateway without progress: longer than a restart of everything there."""
MOST_PATHS = 10_000
MOST_ATTEMPTS = 100
RESTORES = "restores"
MOST_SAMPLED = {"files": 1_000, "mib": 10_240}
"""A drill of a job tries no more, whatever the platform asks: it shares the machine with its users."""


@dataclass(frozen=True)
class Plan:
    """Command lines for `strongroom`, to be run one after the other. `target` is a directory to be made for them."""

    commands: list[list[str]]
    target: Path | None = None


def plan_backup(spec: Mapping[str, Any], job_file: Path) -> Plan:
    """The command of a backup job. Raises Refused when the description makes no sense."""
    settings = _mapping(spec.get("settings"))
    options = [
        "backup",
        "--json",
        "--quiet",
        "--no-wait",
        "--retry-for",
        f"{RETRY_FOR:.0f}",
        "--job-file",
        str(job_file),
    ]
    options += _selection(settings)
    hook = _text(settings, "stdin.hook")
    if hook:
        name = _text(settings, "stdin.name") or hook
        return Plan([[*options, f"--stdin={name}", f"--stdin-hook={hook}"]])
    sources = _texts(settings, "selection.sources")
    if not sources:
        raise Refused("The policy names nothing to back up.", "Add sources to the policy.")
    for source in sources:
        if not source.startswith("/"):
            raise Refused(f"The source {source!r} is no absolute path.", "Mend it in the policy.")
    return Plan([[*options, "--", *sources]])


def _selection(settings: Mapping[str, Any]) -> list[str]:
    """Values go behind an equals sign, so that none can be taken for an option."""
    options = [f"--exclude={line}" for line in _texts(settings, "selection.exclude")]
    options += [f"--include={line}" for line in _texts(settings, "selection.include")]
    if settings.get("selection.default_exclusions") is False:
        options.append("--no-default-exclusions")
    if settings.get("selection.one_file_system") is True:
        options.append("--one-file-system")
    if isinstance(tags := settings.get("selection.cache_dir_tags"), bool):
        options.append("--cache-dir-tags" if tags else "--no-cache-dir-tags")
    for name, option in (("selection.max_file_size", "max-size"), ("selection.max_file_age_days", "max-age")):
        if isinstance(value := settings.get(name), int) and not isinstance(value, bool):
            options.append(f"--{option}={value}")
    if settings.get("selection.chunker") == "fine":
        options.append("--chunker=fine")
    return options


def plan_restore(spec: Mapping[str, Any], job: bytes, home: Path, loaded: Loaded, job_file: Path) -> Plan:
    """The commands of a restore job, and the fresh directory that they write into. Raises Refused."""
    snapshot = _text(spec, "snapshot").replace("-", "")
    if not SNAPSHOT.match(snapshot):
        raise Refused("The job names no snapshot.", "Ask for the restore again.")
    target = restore_target(_text(spec, "into"), job, home, loaded)
    paths = _texts(spec, "paths") or ["/"]
    if len(paths) > MOST_PATHS or any(not path.startswith("/") for path in paths):
        raise Refused("The job names paths that cannot be restored.", "Ask for absolute paths.")
    options = ["--json", "--quiet", "--retry-for", f"{RETRY_FOR:.0f}", "--job-file", str(job_file)]
    commands = []
    for index, path in enumerate(paths):
        # The directory is ours alone and fresh; what a later path replaces there, an earlier one has put there.
        again = ["--overwrite"] if index else []
        commands.append(["restore", *options, *again, f"--target={target}", "--", f"{snapshot}:{path}"])
    return Plan(commands, target)


def plan_drill(spec: Mapping[str, Any], job_file: Path) -> Plan:
    """The command of a drill job. It writes into the agent's own scratch directory only. Raises Refused."""
    snapshot = _text(spec, "snapshot").replace("-", "")
    if not SNAPSHOT.match(snapshot):
        raise Refused("The job names no snapshot.", "Ask for the drill again.")
    options = ["--json", "--quiet", "--retry-for", f"{RETRY_FOR:.0f}", "--job-file", str(job_file)]
    for name, most in MOST_SAMPLED.items():
        if isinstance(value := spec.get(name), int) and not isinstance(value, bool):
            options.append(f"--{name}={min(max(value, 1), most)}")
    return Plan([["drill", *options, "--", snapshot]])


def restore_target(into: str, job: bytes, home: Path, loaded: Loaded) -> Path:
    """Where a restore job writes: a fresh directory in a folder that this machine's own configuration names.

    Without a name it is one in the agent's home. Raises Refused for everything else.
    """
    restore = loaded.configuration.restore
    if not restore.allow:
        raise Refused(
            "This machine takes no restores from the platform.",
            "Set allow = true in [restore] of its agent.toml, or run `strongroom restore` on the machine.",
        )
    if not into:
        return _fresh(home / RESTORES / job.hex())
    if loaded.distrust:
        raise Refused(f"Nothing was restored into '{into}': {loaded.distrust}")
    folder = restore.folders.get(into)
    if folder is None:
        raise Refused(
            f"This machine has no restore folder '{into}'.",
            "Add it to folders in [restore] of the machine's agent.toml, or leave the folder out.",
        )
    return _fresh(Path(folder) / f"strongroom-{job.hex()}")


def _fresh(path: Path) -> Path:
    """The path, or one beside it when an earlier attempt has left something there."""
    names = [path, *(path.with_name(f"{path.name}-{attempt}") for attempt in range(2, MOST_ATTEMPTS))]
    return next((name for name in names if not os.path.lexists(name)), path)


def make_target(target: Path, home: Path) -> None:
    """Make the directory of a restore, which must not exist. Raises Refused."""
    try:
        if target.parent == home / RESTORES:
            target.parent.mkdir(mode=0o700, exist_ok=True)
        os.mkdir(target, 0o700)
    except FileExistsError:
        raise Refused(f"{target} exists already.", "Ask for the restore again, under a new job.") from None
    except OSError as fault:
        why = (fault.strerror or "").lower()
        raise Refused(f"The directory {target} cannot be made: {why}.", "Check the folder in agent.toml.") from fault


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) and "\0" not in value else ""


def _texts(values: Mapping[str, Any], name: str) -> list[str]:
    value = values.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) and "\0" not in each for each in value):
        raise Refused(f"The job's {name} is no list of texts.", "Ask the operator of the platform.")
    return value
