"""Questions and lists at size: what an agent waits for when it asks, and what a person waits for when they look.

A question is answered by the gateway's own handler, 1,000 ids at a time. A list is an HTTP request to the running web
process, by somebody who has signed in: the whole page, from the connection to its last byte, after one look that warmed
it up.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measuring import StepFailed
from benchmarks.storage_cells import cell, inside, prepare_django
from benchmarks.storage_grounds import Grounds

QUESTIONS, IDS, LOOKS = 200, 1_000, 5
QUESTION_SECONDS, LIST_SECONDS, WAIT_SECONDS = 0.02, 1.0, 120
ME = "benchmarks.storage_lists"


@dataclass(frozen=True)
class Page:
    """A page, who looks at it, and how many rows it shows at least (as `<tr`; of an API: results)."""

    name: str
    path: str
    who: str = "member"
    rows: int = 20


PAGES = (
    Page("snapshots", "/admin/catalog/snapshot/"),
    Page("snapshots, the oldest", "/admin/catalog/snapshot/?o=2"),
    Page("snapshots, of a machine by name", "/admin/catalog/snapshot/?q=made+up"),
    Page("snapshots of all tenants", "/admin/catalog/snapshot/", "staff"),
    Page("snapshots, API", "/api/v1/snapshots/?limit=50"),
    Page("snapshots, API, 1,000", "/api/v1/snapshots/?limit=1000"),
    Page("copies", "/admin/catalog/copy/"),
    Page("copies that are good", "/admin/catalog/copy/?state__exact=good"),
    Page("copies of all tenants", "/admin/catalog/copy/", "staff"),
    Page("snapshots at targets", "/admin/catalog/snapshotcopy/"),
    Page("packs", "/admin/catalog/pack/", rows=2),
    Page("where packs are, API", "/api/v1/storage/", rows=0),
    Page("jobs", "/admin/jobs/job/"),
    Page("jobs that failed", "/admin/jobs/job/?look=bad", rows=1),
    Page("jobs of all tenants", "/admin/jobs/job/", "staff"),
    Page("the dashboard", "/admin/", rows=0),
)


def measure(grounds: Grounds) -> list[dict[str, Any]]:
    """The cells of this part."""
    ground = grounds.counted()
    made = inside(ground.platform, "benchmarks.storage_rows", str(grounds.scale), owner=True)
    ground.platform.wait_for_rest()
    cells = []
    for kind, taken in inside(ground.platform, ME).items():
        step = f"question of {IDS:,} ids, {kind}"
        cells.append(cell(ground.corpus, step, "wall", taken["median"], goal=QUESTION_SECONDS))
        cells.append(cell(ground.corpus, f"{step}, 99 %", "wall", taken["p99"]))
    corpus = f"{ground.made['snapshots']:,} snapshots, {made['packs']:,} packs, {made['jobs']:,} jobs"
    web = urlsplit(json.loads(ground.platform.ready.read_text())["web"])
    for page in PAGES:
        taken = [look(web.netloc, page, made[page.who]) for _ in range(LOOKS + 1)][1:]
        cells.append(cell(corpus, f"list: {page.name}", "wall", statistics.median(taken), goal=LIST_SECONDS))
    return cells


def look(address: str, page: Page, cookie: str) -> float:
    """Seconds for a whole page. Raises StepFailed for anything that is not the list."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(address, timeout=WAIT_SECONDS)
    try:
        connection.request("GET", page.path, headers={"Cookie": cookie, "Accept": "text/html, application/json"})
        answer = connection.getresponse()
        body = answer.read()
    except OSError as fault:
        raise StepFailed(f"{page.path}: {fault}") from fault
    finally:
        connection.close()
    taken = time.perf_counter() - began
    if answer.status != 200 or _rows(page, body) < page.rows:
        raise StepFailed(f"{page.path} answered {answer.status}, with {_rows(page, body)} rows: {body[:300]!r}")
    return taken


def _rows(page: Page, body: bytes) -> int:
    if page.path.startswith("/admin/"):
        return body.count(b"<tr")
    try:
        return len(json.loads(body).get("results", ()))
    except ValueError:
        return 0


# --- in the platform's Django ------------------------------------------------------------------------------------


def ask() -> dict[str, Any]:
    """Questions which of 1,000 ids are missing: the same ids each time, or each time others, half of them unknown."""
    from backup_platform.gateway.caller import Caller
    from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
    from backup_platform.vaults.models import Vault

    with without_tenant_scope("the benchmark has one tenant"):
        vault = Vault.objects.get()
    caller = Caller(vault.pk, vault.tenant_id, vault.pk, vault.number, "made up", bytes(32), write_only=False)
    source = random.Random(7)
    warm = _known(source, vault.next_number, IDS)
    with tenant_scope(vault.tenant_id):
        return {
            "the same ones": _times(caller, [(warm, 0)] * QUESTIONS),
            "at random": _times(caller, [_half_known(source, vault.next_number) for _ in range(QUESTIONS)]),
        }


def _known(source: random.Random, most: int, count: int) -> list[bytes]:
    numbers = source.sample(range(most), count)
    return [hashlib.sha256(number.to_bytes(8, "big")).digest() for number in numbers]


def _half_known(source: random.Random, most: int) -> tuple[list[bytes], int]:
    unknown = [os.urandom(32) for _ in range(IDS // 2)]
    ids = _known(source, most, IDS - len(unknown)) + unknown
    source.shuffle(ids)
    return ids, len(unknown)


def _times(caller: Any, questions: list[tuple[list[bytes], int]]) -> dict[str, float]:
    from backup_platform.gateway.handlers import question
    from protocol.wire import messages

    taken = []
    for ids, unknown in questions:
        asked = messages.Question(ids=b"".join(ids))
        began = time.perf_counter()
        answer = question(caller, asked)
        taken.append(time.perf_counter() - began)
        missing = int.from_bytes(answer.missing).bit_count()
        if missing != unknown:
            raise StepFailed(f"{missing} ids are missing, where {unknown} should be.")
    taken.sort()
    return {"median": statistics.median(taken), "p99": taken[int(len(taken) * 0.99) - 1]}


def main() -> None:
    prepare_django()
    print(json.dumps(ask()))


if __name__ == "__main__":
    main()
