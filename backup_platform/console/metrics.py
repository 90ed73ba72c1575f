"""/metrics: the platform in figures, for Prometheus. Names no machine and no tenant; needs a sign-in or the token."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from django.db.models import Count, Max, Sum
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from backup_platform.catalog.models import Pack, PackState, Session, SessionState, Snapshot, SnapshotState
from backup_platform.console.parts import worker_seen_at
from backup_platform.console.site import actor_of
from backup_platform.fleet.models import Machine, MachineState
from backup_platform.fleet.presence import online_q
from backup_platform.jobs.models import Job, JobState
from backup_platform.settings.environment import read_setting
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.scrub_queries import scrub_state

TOKEN_SETTING = "STRONGROOM_METRICS_TOKEN"  # noqa: S105 - the variable's name
SHORTEST_TOKEN = 16


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The figures, for platform staff or whoever has the token."""
    if not _allowed(request):
        refusal = "Sign in as platform staff, or send the token of STRONGROOM_METRICS_TOKEN.\n"
        response = HttpResponse(refusal, status=401, content_type="text/plain")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    registry = CollectorRegistry()
    registry.register(PlatformCollector())
    with without_tenant_scope("metrics count over every tenant and name none"):
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _allowed(request: HttpRequest) -> bool:
    actor = actor_of(request)
    if actor is not None and actor.is_platform_staff:
        return True
    expected = read_setting(TOKEN_SETTING, "")
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return len(expected) >= SHORTEST_TOKEN and hmac.compare_digest(given.encode(), expected.encode())


class PlatformCollector:
    """Reads the figures at each request: a few grouped counts."""

    def describe(self) -> list[Metric]:
        """Nothing is read before it is asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every figure."""
        yield GaugeMetricFamily("strongroom_up", "The platform answers.", value=1)
        yield GaugeMetricFamily("strongroom_tenants", "Tenants.", value=Tenant.objects.count())
        yield from _counts()
        yield from _gauges()
        yield from _scrub()


def _counts() -> Iterator[Metric]:
    families = (
        ("machines", "Machines by state.", Machine, MachineState.values),
        ("snapshots", "Snapshots by state.", Snapshot, SnapshotState.values),
        ("sessions", "Backup sessions by state.", Session, SessionState.values),
        ("packs", "Packs by state.", Pack, PackState.values),
        ("jobs", "Jobs by state.", Job, JobState.values),
    )
    for name, text, model, states in families:
        found = dict(model.objects.order_by().values_list("state").annotate(Count("pk")))
        family = GaugeMetricFamily(f"strongroom_{name}", text, labels=["state"])
        for state in states:
            family.add_metric([state], found.get(state, 0))
        yield family


def _scrub() -> Iterator[Metric]:
    """How much of all that is stored was read and matched within scrub's period, and what it found."""
    state = scrub_state()
    oldest = state.oldest_unverified
    figures = {
        "strongroom_scrub_copies": ("Copies of packs at all places.", state.copies),
        "strongroom_scrub_verified_ratio": ("Part of them that was read and matched within the period.", state.share),
        "strongroom_scrub_oldest_unverified_timestamp_seconds": (
            "When the copy longest overdue was last read; 0: none is overdue.", oldest.timestamp() if oldest else 0,
        ),
    }  # fmt: skip
    for name, (text, value) in figures.items():
        yield GaugeMetricFamily(name, text, value=value)
    findings = GaugeMetricFamily("strongroom_scrub_findings", "Damage found by scrubs, by state.", labels=["state"])
    for name, count in state.findings.items():
        findings.add_metric([name], count)
    yield findings


def _gauges() -> Iterator[Metric]:
    online = Machine.objects.filter(online_q(), state=MachineState.ACTIVE).count()
    yield GaugeMetricFamily("strongroom_machines_online", "Machines seen within 90 seconds.", value=online)
    stored = Pack.objects.aggregate(total=Sum("bytes"))["total"] or 0
    yield GaugeMetricFamily("strongroom_storage_used_bytes", "Bytes of all packs.", value=stored)
    newest = Snapshot.objects.filter(state=SnapshotState.VERIFIED).aggregate(at=Max("received_at"))["at"]
    times = {
        "strongroom_backup_last_success_timestamp_seconds": ("When the newest verified snapshot arrived.", newest),
        "strongroom_worker_last_seen_timestamp_seconds": ("When a worker last did a task.", worker_seen_at()),
    }
    for name, (text, moment) in times.items():
        yield GaugeMetricFamily(name, text, value=moment.timestamp() if moment else 0)
