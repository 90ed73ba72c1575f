"""The enrolment page in a real browser: what its script seals is what an agent opens, and the key file is not sent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client

from agents.keys.enrollment import EnrollmentString, open_blob
from agents.keys.enrollment_key import EnrollmentKey
from backup_platform.fleet.models import EnrollmentToken
from backup_platform.fleet.services import authority
from backup_platform.tenants.models import Member, Role, User
from backup_platform.tenants.scope import tenant_scope
from tests.fleet.conftest import make_vault

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

# A process of its own: the browser's driver runs an event loop, in which Django refuses to ask its database.
DRIVER = """
import json, sys
from playwright.sync_api import sync_playwright

chromium, address, session, key_file = sys.argv[1:]
sent, faults = [], []
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    context = browser.new_context()
    context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
    page = context.new_page()
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.on("request", lambda request: sent.append([request.url, request.post_data or ""]))
    page.goto(address + "/admin/fleet/enrollmenttoken/add/")
    if key_file == "-":
        page.check("#without-key")
        page.select_option("#vault", index=0)
    else:
        page.set_input_files("#key-file", key_file)
        page.wait_for_function(
            "document.getElementById('key-said').textContent || !document.getElementById('faults').hidden")
    name = page.input_value("[name=machine_name]")
    page.check("[name=write_only]", force=True)
    page.click("#enroll button[type=submit]")
    page.wait_for_function(
        "!document.getElementById('made').hidden || !document.getElementById('faults').hidden", timeout=60000)
    print(json.dumps({"string": page.text_content("#string"), "fault": page.text_content("#faults"), "name": name,
                      "command": page.text_content("#command"), "sent": sent, "faults": faults}))
    browser.close()
"""


@pytest.fixture
def vault(strongroom_home, settings):
    settings.STRONGROOM_GATEWAY_ADDRESS = "backup.example.org:9443"
    return make_vault("acme")


def key_of(vault, **changes) -> EnrollmentKey:
    values = {
        "vault_id": vault.pk.bytes,
        "epoch": vault.epoch,
        "dedup_secret": bytes(range(32)),
        "signing_key_hash": bytes(vault.signing_key_hash),
        "vault_record_number": 300,
    }
    return EnrollmentKey(**values | changes)


def drive(live_server, vault, content: bytes | None, directory: Path) -> dict:
    """What an operator's browser did with a key file of this content; None: without one."""
    with tenant_scope(vault.tenant_id):
        user, _ = User.objects.get_or_create(username="operator")
        Member.objects.get_or_create(user=user, tenant=vault.tenant, role=Role.OPERATOR)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    file = directory / "enrolment-key.json"
    file.write_bytes(content or b"")
    key_file = "-" if content is None else str(file)
    arguments = [CHROMIUM, live_server.url, client.cookies["sessionid"].value, key_file]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_agent_opens_what_the_page_sealed_and_no_secret_was_sent(live_server, vault, tmp_path):
    key = key_of(vault)
    seen = drive(live_server, vault, key.to_json(), tmp_path)
    assert seen["faults"] == []
    string = EnrollmentString.parse(seen["string"])
    assert (string.host, string.port, string.ca_hash) == ("backup.example.org", 9443, authority().fingerprint)
    with tenant_scope(vault.tenant_id):
        token = EnrollmentToken.objects.get()
    assert bytes(token.token_hash) == string.token_hash
    assert (token.uses_left, token.write_only, token.machine_name, seen["name"]) == (1, True, "", "")
    secret = open_blob(string, bytes(token.blob), vault.pk.bytes)
    assert (secret.dedup_secret, secret.signing_key_hash) == (key.dedup_secret, key.signing_key_hash)
    assert (secret.epoch, secret.vault_record_number, secret.write_only) == (1, 300, True)
    fragment = seen["string"].partition("#")[2]
    for url, body in seen["sent"]:
        assert url.startswith((live_server.url, "data:")), url
        for hidden in (fragment, seen["string"].partition("token=")[2][:43], json.loads(key.to_json())["dedup_secret"]):
            assert hidden not in url + body


def test_a_wrong_key_file_is_refused_with_a_sentence(live_server, vault, tmp_path):
    other = drive(live_server, vault, key_of(vault, vault_id=bytes(16)).to_json(), tmp_path)
    assert other["string"] == ""
    with tenant_scope(vault.tenant_id):
        assert not EnrollmentToken.objects.exists()


def test_without_a_key_file_the_page_makes_the_platforms_part(live_server, vault, tmp_path):
    seen = drive(live_server, vault, None, tmp_path)
    assert (seen["faults"], seen["fault"]) == ([], "")
    string = EnrollmentString.parse(seen["string"], key_file=True)
    assert (string.host, string.port, string.ca_hash) == ("backup.example.org", 9443, authority().fingerprint)
    assert seen["command"] == "strongroom enroll - --key FILE --write-only"
    with tenant_scope(vault.tenant_id):
        token = EnrollmentToken.objects.get()
    assert bytes(token.token_hash) == string.token_hash
    assert (bytes(token.blob), token.vault_id, token.write_only) == (b"", vault.pk, True)
