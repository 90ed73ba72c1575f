"""The page of scrub and its figures: how much was read, where, what was found, the calendar, and who may see it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backup_platform.catalog.models import Copy, Pack
from backup_platform.tenants.models import Member, Role, Tenant, User
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep import scrub_packs
from backup_platform.upkeep.scrub_calendar import current_settings
from tests.catalog.stage import Backup, contents, make_machine, make_vault
from tests.upkeep.scrub_fixtures import Stored
from tests.upkeep.scrub_stage import copy_pack, file_at, flip, make_target

CHROMIUM = shutil.which("chromium")
PICTURES = os.environ.get("STRONGROOM_TEST_PICTURES", "")

DRIVER = """
import json, sys
from playwright.sync_api import sync_playwright

chromium, address, session, pictures, pages = sys.argv[1:]
faults, texts = [], {}
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    context = browser.new_context(viewport={"width": 1360, "height": 1000})
    context.set_default_timeout(120000)
    context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
    page = context.new_page()
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    for name, path in json.loads(pages).items():
        page.goto(address + path)
        if name == "scrub":
            page.wait_for_selector("#scrub-state h2")
        texts[name] = page.text_content("body")
        texts[name + " title"] = page.title()
        if pictures:
            page.screenshot(path=f"{pictures}/{name}.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(address + json.loads(pages)["scrub"])
    page.wait_for_selector("#scrub-state h2")
    texts["too wide"] = page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1")
    if pictures:
        page.screenshot(path=f"{pictures}/scrub-narrow.png", full_page=True)
    print(json.dumps({"texts": texts, "faults": faults}))
    browser.close()
"""


def sign_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def member_of(tenant: Tenant, role: Role) -> Client:
    with without_tenant_scope("a person of the stage"):
        user = User.objects.create_user(f"{role}-{tenant.name}")
        Member.objects.create(user=user, tenant=tenant, role=role)
    return sign_in(user)


@pytest.fixture
def boss(db) -> Client:
    return sign_in(User.objects.create_superuser("boss"))


@pytest.fixture
def rotten(stored: Stored) -> Stored:
    """A copy that was read long ago, and a pack that was damaged and healed from it."""
    copy_pack(stored.pack, make_target(stored.vault, "cloud"))
    flip(file_at(stored.pack), 3000)
    scrub_packs.scrub_pack(stored.pack.pk)
    Copy.objects.update(written_at=timezone.now() - timedelta(days=50))
    return stored


LIST = "admin:upkeep_scrubfinding_changelist"
STATE = "admin:upkeep_scrubfinding_state"


def test_the_page_says_how_much_was_read_and_what_was_healed(rotten, boss):
    text = boss.get(reverse(STATE)).content.decode() + boss.get(reverse(LIST)).content.decode()
    assert "Not everything was read within the period." in text
    assert "50% of 2 copies were read and matched within 30 days." in text
    assert "from the copy at cloud" in text
    assert "A record does not match its digest." in text


def test_only_who_may_see_targets_sees_their_own(rotten):
    operator = member_of(rotten.vault.tenant, Role.OPERATOR)
    assert "from the copy at cloud" in operator.get(reverse(LIST)).content.decode()
    assert member_of(rotten.vault.tenant, Role.VIEWER).get(reverse(STATE)).status_code == 403
    assert operator.get(reverse("admin:upkeep_scrubsettings_changelist")).status_code == 403


def test_another_tenant_sees_nothing_of_it(db, strongroom_home):
    vault = make_vault("north", 7103)
    with tenant_scope(vault.tenant_id):
        stored = Stored(vault, Backup(make_machine(vault, "alpha")), contents(6, 5000))
        copy_pack(stored.pack, make_target(vault, "cloud"))
        flip(file_at(stored.pack), 3000)
        scrub_packs.scrub_pack(stored.pack.pk)
    with without_tenant_scope("another tenant of the stage"):
        south = Tenant.objects.create(name="south")
    stranger = member_of(south, Role.ADMIN)
    text = stranger.get(reverse(LIST)).content.decode() + stranger.get(reverse(STATE)).content.decode()
    assert "from the copy at cloud" not in text
    assert "Nothing is stored yet." in text


def test_what_cannot_be_healed_comes_first(stored, boss):
    flip(file_at(stored.pack), 3000)
    scrub_packs.scrub_pack(stored.pack.pk)
    assert "1 damaged object cannot be healed from what is stored." in boss.get(reverse(STATE)).content.decode()


def test_the_calendar_is_changed_on_its_page(db, boss):
    page = boss.get(reverse("admin:upkeep_scrubsettings_changelist"), follow=True)
    assert page.status_code == 200
    values = {"every_days": 14, "from_hour": 22, "to_hour": 6, "mib_per_second": 20, "at_once": 1}
    boss.post(reverse("admin:upkeep_scrubsettings_change", args=[1]), values)
    kept = current_settings()
    assert {name: getattr(kept, name) for name in values} == values
    assert kept.changed_by == "user boss"
    refused = boss.post(reverse("admin:upkeep_scrubsettings_change", args=[1]), {**values, "every_days": 0})
    assert refused.status_code == 200
    assert current_settings().every_days == 14


def test_the_figures_for_monitoring(rotten, boss):
    text = boss.get("/metrics").content.decode()
    assert "strongroom_scrub_copies 2.0" in text
    assert "strongroom_scrub_verified_ratio 0.5" in text
    assert 'strongroom_scrub_findings{state="healed"} 1.0' in text
    line = next(one for one in text.splitlines() if one.startswith("strongroom_scrub_oldest_unverified"))
    assert float(line.split()[1]) == pytest.approx((timezone.now() - timedelta(days=50)).timestamp(), abs=600)
    assert "cloud" not in text, "figures name nobody's targets"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_pages_in_a_real_browser(live_server, transactional_db, strongroom_home):
    vault = make_vault("north", 7102)
    with tenant_scope(vault.tenant_id):
        stored = Stored(vault, Backup(make_machine(vault, "alpha")), contents(6, 5000))
        copy_pack(stored.pack, make_target(vault, "cloud", parity_percent=10))
        flip(file_at(stored.pack), 3000)
        scrub_packs.scrub_pack(stored.pack.pk)
        Copy.objects.update(written_at=timezone.now() - timedelta(days=50))
        assert Pack.objects.get().state == "verified"
    client = sign_in(User.objects.create_superuser("boss"))
    pages = {"scrub": reverse(LIST), "calendar": reverse("admin:upkeep_scrubsettings_changelist")}
    session = client.cookies["sessionid"].value
    arguments = [str(CHROMIUM), live_server.url, session, PICTURES, json.dumps(pages)]
    command = [sys.executable, "-c", DRIVER, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == []
    assert "Not everything was read within the period." in found["texts"]["scrub"]
    assert "Each copy of everything is read once in so many days." in found["texts"]["calendar"]
    assert not found["texts"]["too wide"]
