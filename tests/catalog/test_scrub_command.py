"""`manage.py scrub` as an operator runs it: its exit codes, its lines, and that it needs PostgreSQL only."""

from __future__ import annotations

import json
import subprocess
import sys

from backup_platform.catalog.models import Pack
from backup_platform.tenants.scope import tenant_scope
from tests.catalog.stage import Backup, contents, make_machine, make_vault, overwrite, pack_path, run_jobs


def scrub(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "django", "scrub", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_scrub_works_while_the_broker_is_away_and_says_what_it_found(transactional_db, platform_environment):
    environment = {**platform_environment, "REDIS_URL": "redis://127.0.0.1:1/0"}
    vault = make_vault("north", 7005)
    with tenant_scope(vault.tenant_id):
        committed = Backup(make_machine(vault, "alpha")).run(contents(3))
        run_jobs()
        clean = scrub(environment)
        assert clean.returncode == 0, clean.stderr
        assert "1 packs" in clean.stdout
        assert clean.stdout.strip().endswith("All is well.")
        pack = Pack.objects.get()
        overwrite(pack_path(pack), 200, b"\xff\xfe\xfd")
        spoilt = scrub(environment, "--json")
    lines = [json.loads(line) for line in spoilt.stdout.splitlines()]
    assert spoilt.returncode == 20, spoilt.stderr
    assert lines[-1]["message_type"] == "summary"
    assert lines[-1]["damaged_packs"] == [pack.uid.hex]
    assert lines[-1]["damaged_snapshots"] == [committed.snapshot.hex]
    assert {line["name"] for line in lines[:-1]} == {pack.uid.hex, committed.snapshot.hex}
    assert str(environment["STRONGROOM_HOME"]) not in spoilt.stdout


def test_scrub_that_cannot_run_says_so(platform_environment):
    environment = {**platform_environment, "DATABASE_URL": "postgresql://nobody:secret@/nothing?host=/nowhere"}
    failed = scrub(environment)
    assert failed.returncode == 1
    assert "could not run" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "secret" not in failed.stderr
