"""Version 1 of the HTTP API. It only grows; what breaks a client becomes version 2."""

from __future__ import annotations

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.routers import DefaultRouter

from backup_platform.api.alerts import AlertViewSet, SnoozeViewSet
from backup_platform.api.policies import PolicyViewSet
from backup_platform.api.retention import HoldViewSet, RetentionPreviewView, SnapshotExpiryView, SnapshotReturnView
from backup_platform.api.storage import StorageView
from backup_platform.api.usage import UsageView
from backup_platform.api.views import MachineViewSet, SnapshotViewSet

app_name = "api"
router = DefaultRouter()
router.register("alerts", AlertViewSet, basename="alert")
router.register("holds", HoldViewSet, basename="hold")
router.register("machines", MachineViewSet, basename="machine")
router.register("policies", PolicyViewSet, basename="policy")
router.register("snapshots", SnapshotViewSet, basename="snapshot")
router.register("snoozes", SnoozeViewSet, basename="snooze")

urlpatterns = [
    path("schema/", SpectacularAPIView.as_view(permission_classes=[IsAuthenticated]), name="schema"),
    path("retention-preview/", RetentionPreviewView.as_view(), name="retention-preview"),
    path("snapshots/<uuid:pk>/expire/", SnapshotExpiryView.as_view(), name="snapshot-expire"),
    path("snapshots/<uuid:pk>/bring-back/", SnapshotReturnView.as_view(), name="snapshot-bring-back"),
    path("storage/", StorageView.as_view(), name="storage"),
    path("usage/", UsageView.as_view(), name="usage"),
    path("", include(router.urls)),
]
