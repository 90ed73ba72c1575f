"""manage.py from wherever a person stands: paths are theirs, the instance is the checkout's unless they name one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.platform.conftest import OWN, REPOSITORY


def refusal(cwd: Path, **more: str) -> str:
    """What a command says that finds no instance."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    command = [sys.executable, str(REPOSITORY / "manage.py"), "create_tenant", "x"]
    finished = subprocess.run(
        command, cwd=cwd, env={**kept, **more}, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 1
    return finished.stderr


def test_home_that_is_named_relatively_is_found_from_where_the_person_stands(tmp_path: Path) -> None:
    assert f"No Strongroom runs in {tmp_path}/here." in refusal(tmp_path, STRONGROOM_HOME="here")


def test_files_that_are_named_relatively_are_found_from_where_the_person_stands(tmp_path: Path) -> None:
    """A command that changed into the checkout would look there for the kit and the record."""
    probe = (
        "import os, sys; sys.argv = ['manage.py', 'check']; import manage; manage.main(sys.argv); print(os.getcwd())"
    )
    finished = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); {probe}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert finished.stdout.splitlines()[-1] == str(tmp_path)


def test_python_without_django_is_told_which_one_to_take(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-I", str(REPOSITORY / "manage.py"), "create_tenant", "x"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 1
    assert "has no Django" in finished.stderr
    assert ".venv/bin/python manage.py" in finished.stderr
    assert "Traceback" not in finished.stderr
