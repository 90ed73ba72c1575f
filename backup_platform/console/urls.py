"""The console's own pages."""

from __future__ import annotations

from django.urls import path

from backup_platform.console import views

app_name = "console"
urlpatterns = [
    path("", views.front_door, name="front"),
    path("tenant/", views.choose_tenant, name="tenant"),
]
