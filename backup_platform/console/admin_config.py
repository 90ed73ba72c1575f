"""Puts our admin site in the place of Django's."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class StrongroomAdminConfig(AdminConfig):
    """Django's admin, with our site as the default one."""

    default_site = "backup_platform.console.site.StrongroomSite"
