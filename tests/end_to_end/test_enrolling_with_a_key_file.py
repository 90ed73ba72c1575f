"""`strongroom enroll - --key FILE`: the platform's part of the string, and the kit's key file on the machine."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from agents.keys.enrollment import new_enrollment, server_part
from agents.keys.enrollment_key import EnrollmentKey
from backup_platform.fleet.models import EnrollmentToken, Machine
from backup_platform.fleet.tokens import create_token
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.vaults.models import Vault
from tests.end_to_end.stage import Agent, World
from tests.end_to_end.trees import describe

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "enrolment-key.json"


def string(world: World, **terms: Any) -> str:
    made = server_part(world.gateway.host, world.gateway.port, world.gateway.ca_hash)
    create_token(world.vault, made.token, b"", actor="tests", **terms)
    return made.format()


def newcomer(world: World, name: str = "gamma") -> Agent:
    return Agent(world.directory / f"agent-{name}")


def foreign_key(world: World, tmp_path: Path) -> Path:
    key = world.kit.enrollment
    other = EnrollmentKey(b"f" * 16, key.epoch, b"s" * 32, b"h" * 32, 1)
    file = tmp_path / "other.json"
    file.write_bytes(other.to_json())
    return file


def test_machine_with_the_key_file_is_a_full_member(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = string(world)
    assert "#" not in text
    monkeypatch.setattr("sys.stdin", io.StringIO(text + "\n"))
    agent = newcomer(world)
    said = agent.json("enroll", "-", "--key", world.kit_directory / KEY, "--name", "gamma")
    assert said.code == 0, said
    assert said.summary["machine_name"] == "gamma"
    source = tmp_path / "source"
    source.mkdir()
    (source / "letter").write_text("dear all")
    assert agent.run("backup", source, "--no-wait").code == 0
    assert agent.run("restore", "latest", "--target", tmp_path / "back").code == 0
    assert describe(tmp_path / "back" / source.relative_to("/")) == describe(source)
    # Another machine of the vault, enrolled the usual way, has the same secret: nothing is sent twice.
    again = world.agent().json("backup", source, "--no-wait")
    assert again.summary["chunks_sent"] == 0 or again.summary["bytes_sent"] < 10_000


def test_whole_string_that_is_cut_at_its_hash_works_with_the_key_file(world: World):
    made, blob = new_enrollment(world.gateway.host, world.gateway.port, world.gateway.ca_hash, world.kit.enrollment)
    create_token(world.vault, made.token, blob, actor="tests")
    said = newcomer(world).run("enroll", made.format().partition("#")[0], "--key", world.kit_directory)
    assert said.code == 0, said


def test_key_file_of_another_vault_is_refused_and_nothing_stays(world: World, tmp_path: Path):
    agent = newcomer(world)
    said = agent.run("enroll", string(world), "--key", foreign_key(world, tmp_path))
    assert said.code != 0
    assert "another vault" in said.err
    assert not agent.home.exists()


@pytest.mark.parametrize("by_server", [True, False])
def test_write_only_has_to_be_said_on_both_sides(world: World, by_server: bool):
    agent = newcomer(world)
    options = [] if by_server else ["--write-only"]
    said = agent.run("enroll", string(world, write_only=by_server), "--key", world.kit_directory, *options)
    assert said.code == 4
    assert "write-only" in said.err
    assert not agent.home.exists()


def test_write_only_machine_is_enrolled_with_the_key_file(world: World):
    agent = newcomer(world)
    said = agent.json("enroll", string(world, write_only=True), "--key", world.kit_directory, "--write-only")
    assert said.code == 0, said
    assert said.summary["write_only"] is True
    with without_tenant_scope("test"):
        assert Machine.objects.get().write_only


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--key", "{kit}"], "Leave --key out"),
        (["--write-only"], "goes with --key"),
        (["--key", "/nowhere/at/all"], "cannot be read"),
    ],
)
def test_what_does_not_fit_together_is_said_before_anything_is_used(world: World, options: list[str], wanted: str):
    agent = newcomer(world)
    given = [option.format(kit=world.kit_directory) for option in options]
    said = agent.run("enroll", world.enrollment(), *given)
    assert said.code != 0
    assert wanted in said.err
    with without_tenant_scope("test"):
        assert EnrollmentToken.objects.get().uses_left == 1


def test_string_without_its_key_and_without_a_file_names_the_file(world: World):
    said = newcomer(world).run("enroll", string(world))
    assert said.code != 0
    assert "--key FILE" in said.err


def test_command_without_a_kit_prints_the_platforms_part(world: World, strongroom_home, capsys, monkeypatch):
    monkeypatch.setattr(
        "backup_platform.fleet.management.commands.create_enrollment.gateway_address", lambda: ("backup.example", 7443)
    )
    call_command("create_enrollment", "--tenant", "north", "--json", "--write-only")
    said = capsys.readouterr()
    text = json.loads(said.out)["enrollment"]
    assert text.startswith("strongroom://backup.example:7443/?token=")
    assert "#" not in text
    assert "strongroom enroll - --key FILE --write-only" in said.err
    with without_tenant_scope("test"):
        token = EnrollmentToken.objects.get()
        assert (bytes(token.blob), token.write_only) == (b"", True)
        first = Vault.objects.get()
        Vault.objects.create(
            id="00000000-0000-0000-0000-000000000007", number=77, tenant=first.tenant, name="second",
            record=b"r", record_number=1, signing_key_hash=b"h" * 32,
        )  # fmt: skip
    with pytest.raises(CommandError, match=r"several vaults.*main, second"):
        call_command("create_enrollment", "--tenant", "north")
    with pytest.raises(CommandError, match="no vault named 'third'"):
        call_command("create_enrollment", "--tenant", "north", "--vault", "third")
    call_command("create_enrollment", "--tenant", "north", "--vault", "second")
    assert "#" not in capsys.readouterr().out
