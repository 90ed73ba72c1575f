"""/healthz: this process lives. /readyz: every part that a backup needs is at work."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from backup_platform.console.parts import check_parts


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answers as long as the process does; touches nothing else, so that a database that is away restarts no web."""
    return JsonResponse({"status": "alive"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when every part is at work, 503 with the parts that are not."""
    parts = check_parts()
    ready = all(part.ok for part in parts.values())
    body = {
        "status": "ready" if ready else "not ready",
        "parts": {name: {"ok": part.ok, "detail": part.detail} for name, part in parts.items()},
    }
    return JsonResponse(body, status=200 if ready else 503)
