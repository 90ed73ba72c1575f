"""What the parts of `make bench-storage` share: cells, and code that runs inside the platform's Django."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.embedded_platform import CHECKOUT, EmbeddedPlatform
from benchmarks.measuring import StepFailed

INSIDE_SECONDS = 3600


def cell(
    corpus: str,
    step: str,
    figure: str,
    ours: float,
    *,
    peer: float | None = None,
    goal: float | None = None,
    mib: float | None = None,
) -> dict[str, Any]:
    """A cell: with a peer, `goal` bounds the ratio; without one, the figure itself (seconds, MiB).

    `mib` is what was done in that time, by both alike: then the table tells rates too.
    """
    ratio = None if not peer else round(ours / peer, 4)
    made = {"corpus": corpus, "step": step, "figure": figure, "ours": round(ours, 4),
            "peer": None if peer is None else round(peer, 4), "ratio": ratio, "goal": goal}  # fmt: skip
    return made if mib is None else {**made, "mib": round(mib, 1)}


def inside(platform: EmbeddedPlatform, module: str, *arguments: str, owner: bool = False) -> dict[str, Any]:
    """Run `python -m module arguments` with the platform's database and home; the JSON object that it printed last.

    `owner`: with the rights of who owns the tables. Without them ANALYZE does nothing, and says so to nobody.
    """
    run = json.loads((platform.home / "run.json").read_text())["environment"]
    environment = {**platform.environment, **run, "DJANGO_SETTINGS_MODULE": "backup_platform.settings.embedded"}
    if owner:
        environment["STRONGROOM_DATABASE_ROLE"] = "owner"
    finished = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSIDE_SECONDS,
    )
    if finished.returncode:
        raise StepFailed(f"{module} {' '.join(arguments)}:\n{finished.stderr[-1500:]}")
    return json.loads(finished.stdout.strip().splitlines()[-1])


def prepare_django() -> None:
    """For the process that `inside` starts: Django, as the platform's own processes have it."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backup_platform.settings.embedded")
    django.setup()


def own_directory(path: Path) -> Path:
    """An empty directory that servers of another account can enter."""
    path.mkdir(parents=True, mode=0o755, exist_ok=True)
    path.parent.chmod(0o755)
    return path
