"""Every address that the platform answers over HTTP."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from backup_platform.console import health, metrics

admin.autodiscover()

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("api/v1/", include("backup_platform.api.urls")),
    path("admin/", admin.site.urls),
    path("", include("backup_platform.console.urls")),
]
