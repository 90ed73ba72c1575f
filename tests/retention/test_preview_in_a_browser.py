"""The preview in a real browser: a policy's form shows what would go before anything was saved."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from django.test import Client
from django.urls import reverse

from backup_platform.policies.models import Policy
from backup_platform.retention.holds import set_hold
from backup_platform.tenants.scope import tenant_scope

CHROMIUM = shutil.which("chromium")
PICTURES = os.environ.get("STRONGROOM_TEST_PICTURES", "")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

# A process of its own: the browser's driver runs an event loop, in which Django refuses to ask its database.
DRIVER = """
import json, sys
from playwright.sync_api import sync_playwright

chromium, address, session, pictures, policy, pages = sys.argv[1:]
faults = []
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    context = browser.new_context(viewport={"width": 1360, "height": 1000})
    context.set_default_timeout(120000)
    context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
    page = context.new_page()
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.goto(address + policy)
    page.fill("[name=retention__keep_last]", "2")
    with context.expect_page() as opened:
        page.click("text=Preview retention with what is written here")
    preview = opened.value
    preview.wait_for_load_state()
    said = preview.text_content(".sr-banner")
    if pictures:
        page.screenshot(path=f"{pictures}/form.png", full_page=True)
        preview.screenshot(path=f"{pictures}/preview.png", full_page=True)
        for name, path in json.loads(pages).items():
            page.goto(address + path)
            page.screenshot(path=f"{pictures}/{name}.png", full_page=True)
    preview.click("text=Save these rules")
    preview.wait_for_load_state()
    saved = preview.text_content("body")
    if pictures:
        preview.screenshot(path=f"{pictures}/saved.png", full_page=True)
    print(json.dumps({"said": said, "saved": "takes effect at" in saved, "faults": faults}))
    browser.close()
"""


def test_what_is_written_in_the_form_is_previewed_before_it_is_saved(live_server, ours, machine):
    policy = ours.policy(**{"selection.sources": ["/home"], "retention.keep_last": 5})
    ours.assign(policy)
    ours.in_force(policy, machine, **{"retention.keep_last": 5})
    made = ours.snapshots(machine, 7, policy)
    ours.run()
    hold = set_hold(ours.tenant, "Case 7", "A lawsuit.", by="user ada", scope="snapshot", about=made[3])
    client = Client()
    client.force_login(ours.member("ada"), backend="django.contrib.auth.backends.ModelBackend")
    pages = {
        "holds": reverse("admin:retention_hold_changelist"),
        "hold": reverse("admin:retention_hold_change", args=[hold.pk]),
        "new-hold": reverse("admin:retention_hold_add"),
        "expired": reverse("admin:retention_expiry_changelist"),
        "expired-one": reverse("admin:retention_expiry_change", args=[ours.expiry(made[6]).pk]),
        "delays": reverse("admin:retention_retentionrules_change", args=[ours.tenant.pk]),
        "stops": reverse("admin:retention_expirystop_changelist"),
        "snapshot": reverse("admin:catalog_snapshot_change", args=[made[1].pk]),
        "next": reverse("admin:retention_expiry_preview"),
    }
    arguments = [CHROMIUM, live_server.url, client.cookies["sessionid"].value, PICTURES,
                 reverse("admin:policies_policy_change", args=[policy.pk]), json.dumps(pages)]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["faults"] == []
    assert "Last 2." in seen["said"]
    assert seen["saved"]
    with tenant_scope(ours.tenant):
        assert Policy.objects.get().settings["retention.keep_last"] == 2
    assert ours.states(made).count("expired") == 2, "the delay protects what the new rules would drop"
