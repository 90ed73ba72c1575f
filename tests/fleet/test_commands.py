"""The operator's commands: what they make works, and every fault is one sentence without a traceback."""

from __future__ import annotations

import json
import os

import pytest
from django.core.management import CommandError, call_command

from agents.keys.enrollment import EnrollmentString, open_blob
from agents.keys.kit import open_kit
from backup_platform.fleet.models import EnrollmentToken, Machine, MachineState
from backup_platform.fleet.services import authority, enroll_machine
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.models import Vault
from tests.fleet.conftest import make_csr, rsa_key, spki

pytestmark = pytest.mark.django_db
PASSPHRASE = "correct horse"


@pytest.fixture
def passphrase(monkeypatch):
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", PASSPHRASE)


@pytest.fixture(autouse=True)
def address(settings, strongroom_home):
    settings.STRONGROOM_GATEWAY_ADDRESS = "backup.example:8443"


@pytest.fixture(scope="session")
def made_kit(tmp_path_factory):
    """A kit made by the customer, once: its keys take seconds."""
    from agents.keys.kit import create_kit

    directory = tmp_path_factory.mktemp("kit") / "kit"
    create_kit(directory, PASSPHRASE, "acme main", rounds=1000)
    return directory


@pytest.fixture
def acme(made_kit):
    call_command("create_tenant", "acme")
    call_command("add_vault", "--tenant", "acme", "--record", str(made_kit / "vault-registration.json"))
    return made_kit


def enrollment(capsys, kit, *options) -> EnrollmentString:
    capsys.readouterr()
    call_command("create_enrollment", "--tenant", "acme", "--kit", str(kit), "--json", *options)
    return EnrollmentString.parse(json.loads(capsys.readouterr().out)["enrollment"])


def enroll(made: EnrollmentString):
    return enroll_machine(made.token, make_csr(rsa_key("identity")), spki(rsa_key("reading")), {"hostname": "db01"})


def test_tenant_with_kit_can_enrol_a_machine(tmp_path, passphrase, capsys):
    kit = tmp_path / "kit"
    call_command("create_tenant", "acme", "--kit", str(kit))
    said = capsys.readouterr()
    assert "trusted at that moment" in said.err
    opened = open_kit(kit, PASSPHRASE)
    with without_tenant_scope("test"):
        vault = Vault.objects.get()
    assert vault.operator_made
    assert vault.pk.bytes == opened.enrollment.vault_id
    made = enrollment(capsys, kit)
    assert (made.host, made.port, made.ca_hash) == ("backup.example", 8443, authority().fingerprint)
    secret = open_blob(made, enroll(made).blob, vault.pk.bytes)
    assert secret.dedup_secret == opened.enrollment.dedup_secret


def test_a_customers_vault_is_not_marked_operator_made(acme):
    with without_tenant_scope("test"):
        assert not Vault.objects.get().operator_made


def test_the_platform_keeps_neither_token_nor_key(acme, capsys):
    made = enrollment(capsys, acme, "--uses", "3", "--minutes", "60", "--write-only", "--name", "ledger")
    with without_tenant_scope("test"):
        row = EnrollmentToken.objects.get()
    kept = repr({name: value for name, value in vars(row).items() if not name.startswith("_")})
    for secret in (made.token, made.key):
        assert repr(secret)[2:-1] not in kept
        assert secret.hex() not in kept
    assert (row.uses_left, row.write_only) == (3, True)
    assert enroll(made).machine.name == "ledger"


def test_revoking_by_name_and_by_id(acme, capsys):
    machine = enroll(enrollment(capsys, acme)).machine
    call_command("revoke_machine", "db01", "--tenant", "acme")
    call_command("revoke_machine", str(machine.pk), "--tenant", "acme")
    with tenant_scope(machine.tenant_id):
        assert Machine.objects.get().state == MachineState.REVOKED
    assert "was revoked before" in capsys.readouterr().out


def test_faults_are_one_sentence(acme, tmp_path, capsys, settings, made_kit):
    registration, kit = str(made_kit / "vault-registration.json"), str(made_kit)
    damaged = tmp_path / "damaged.json"
    damaged.write_text("{}")
    call_command("create_tenant", "other")
    faults = [
        (["create_tenant", "acme"], "already a tenant"),
        (["create_tenant", "a/b"], "not a tenant's name"),
        (["create_tenant", ""], "not a tenant's name"),
        (["add_vault", "--tenant", "nobody", "--record", registration], "no tenant named 'nobody'. There are: acme"),
        (["add_vault", "--tenant", "acme", "--record", registration], "registered already"),
        (["add_vault", "--tenant", "other", "--record", registration], "registered already"),
        (["add_vault", "--tenant", "acme", "--record", str(damaged)], "not a vault registration"),
        (["add_vault", "--tenant", "acme", "--record", str(tmp_path / "none")], "cannot be read"),
        (["create_enrollment", "--tenant", "nobody", "--kit", kit], "no tenant named"),
        (["create_enrollment", "--tenant", "other", "--kit", kit], "no vault with this kit"),
        (["create_enrollment", "--tenant", "acme", "--kit", str(tmp_path)], "cannot be read"),
        (["create_enrollment", "--tenant", "acme", "--kit", str(damaged)], "damaged"),
        (["create_enrollment", "--tenant", "acme", "--kit", kit, "--uses", "0"], "1 to"),
        (["create_enrollment", "--tenant", "acme", "--kit", kit, "--minutes", "0"], "between"),
        (["create_enrollment", "--tenant", "acme", "--kit", kit, "--minutes", str(10**30)], "between"),
        (["revoke_machine", "nothing", "--tenant", "acme"], "no machine named"),
    ]
    for arguments, sentence in faults:
        with pytest.raises(CommandError, match=sentence):
            call_command(*arguments)
    settings.STRONGROOM_GATEWAY_ADDRESS = ""
    with pytest.raises(CommandError, match="STRONGROOM_GATEWAY_ADDRESS"):
        call_command("create_enrollment", "--tenant", "acme", "--kit", kit)


def test_a_kit_that_cannot_be_written_leaves_no_tenant(tmp_path, passphrase, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(CommandError):
        call_command("create_tenant", "acme", "--kit", str(tmp_path / "full"))
    monkeypatch.delenv("STRONGROOM_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    with pytest.raises(CommandError, match="STRONGROOM_PASSPHRASE"):
        call_command("create_tenant", "acme", "--kit", str(tmp_path / "kit"))
    with without_tenant_scope("test"):
        assert not Tenant.objects.exists()
    assert os.listdir(tmp_path / "full") == ["file"]
