"""Version 1 of the HTTP API. It only grows; what breaks a client becomes version 2."""

from __future__ import annotations

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.routers import DefaultRouter

from backup_platform.api.policies import PolicyViewSet
from backup_platform.api.views import MachineViewSet, SnapshotViewSet

app_name = "api"
router = DefaultRouter()
router.register("machines", MachineViewSet, basename="machine")
router.register("policies", PolicyViewSet, basename="policy")
router.register("snapshots", SnapshotViewSet, basename="snapshot")

urlpatterns = [
    path("schema/", SpectacularAPIView.as_view(permission_classes=[IsAuthenticated]), name="schema"),
    path("", include(router.urls)),
]
