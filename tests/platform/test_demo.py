"""`make demo`'s promise, kept from outside: back up, verify, restore, compare, say so, leave nothing running."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platform.conftest import manage


@pytest.fixture
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sr-demo-"))
    directory.chmod(0o711)
    yield directory / "home"
    described = directory / "home" / "instance.json"
    if described.exists():
        shutil.rmtree(json.loads(described.read_text())["servers"], ignore_errors=True)
    shutil.rmtree(directory)


@pytest.mark.slow
def test_demo_backs_up_restores_and_finds_both_equal(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    for number in range(300):
        (source / "inner" / f"small-{number}").write_bytes(bytes([number % 256]) * number)
    (source / "large").write_bytes(b"".join(number.to_bytes(4, "big") for number in range(700_000)))
    (source / "link").symlink_to("large")
    finished = manage(home, "demo", DEMO_SOURCE=str(source), DEMO_EXIT="1", seconds=900)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    result = json.loads((home / "demo.json").read_text())
    assert (result["files"], result["state"], result["equal"]) == (301, "verified", True)
    assert result["equal_from_s3"] is True
    assert result["bytes"] == 2_800_000 + sum(range(300))
    assert not (home / "run.json").exists()
    password = (home / "secrets" / "admin-password").read_text().strip()
    assert password in finished.stdout
    passphrase = next(home.glob("demo/*/passphrase")).read_text().strip()
    assert passphrase not in finished.stdout


def test_demo_refuses_a_source_that_is_no_directory(home: Path) -> None:
    finished = manage(home, "demo", DEMO_SOURCE="/nowhere/at/all", DEMO_EXIT="1")
    assert finished.returncode == 1
    assert "DEMO_SOURCE is /nowhere/at/all, which is not a directory" in finished.stderr
    assert not home.exists()


def test_demo_refuses_a_source_without_a_file(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    finished = manage(home, "demo", DEMO_SOURCE=str(tmp_path / "empty"), DEMO_EXIT="1")
    assert finished.returncode == 1
    assert "there is no file in it that you may read" in finished.stderr
    assert not home.exists()
