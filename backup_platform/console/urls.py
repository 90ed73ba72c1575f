"""The console's own pages."""

from __future__ import annotations

from django.urls import path

from backup_platform.console import second_factor, views

app_name = "console"
urlpatterns = [
    path("", views.front_door, name="front"),
    path("sign-in/code/", second_factor.ask_code, name="code"),
    path("account/second-factor/", second_factor.set_up, name="factor"),
    path("tenant/", views.choose_tenant, name="tenant"),
]
