"""docker-compose.yml, read as data: every service is watched, and no secret stands in it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = sorted(name for name, service in SERVICES.items() if service.get("restart") != "no")


def test_every_part_of_the_platform_is_a_service() -> None:
    assert set(LASTING) == {"web", "gateway", "worker", "tier_worker", "beat", "postgres", "redis", "s3"}


@pytest.mark.parametrize("name", LASTING)
def test_service_has_a_health_check_with_an_end(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= set(check)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_service_gets_its_secrets_from_files(name: str) -> None:
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|KEY|DATABASE_URL|OWNER_URL|REDIS_URL", variable):
            assert variable.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])


def test_no_password_stands_in_the_file() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    assert not re.search(r"://[^/\s]*:[^/\s$]+@", text)
    assert not re.search(
        r"(?i)(password|secret)\w*:\s*['\"]?(?!/run/secrets|\{)[a-z0-9]+['\"]?\s*$", text, re.MULTILINE
    )


def test_only_the_migration_sees_the_owners_password() -> None:
    assert [name for name, service in SERVICES.items() if "database_owner_url" in service.get("secrets", [])] == [
        "migrate"
    ]


@pytest.mark.parametrize("name", ["web", "gateway", "worker", "tier_worker", "beat"])
def test_our_containers_have_no_rights_that_they_do_not_need(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert (REPOSITORY / "Dockerfile").read_text().count("USER 10001") == 1


def test_make_secrets_writes_every_secret_once(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = tmp_path / "deploy" / "make-secrets"
    script.write_bytes((REPOSITORY / "deploy" / "make-secrets").read_bytes())
    environment = {"PATH": os.environ["PATH"]}
    subprocess.run(["bash", str(script)], env=environment, check=True, timeout=20, capture_output=True)
    written = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(written) == set(COMPOSE["secrets"])
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert len({written[name] for name in written}) == len(written)
    assert written["database_app_password"] in written["database_url"]
    subprocess.run(["bash", str(script)], env=environment, check=True, timeout=20, capture_output=True)
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == written
