"""Puts our admin site in the place of Django's."""

from __future__ import annotations

from django.contrib.admin.apps import SimpleAdminConfig


class StrongroomAdminConfig(SimpleAdminConfig):
    """Django's admin, with our site as the default one.

    Its pages are imported with the addresses (urls.py), so that the gateway, the workers and commands, which serve
    none, do not spend half of their start on them.
    """

    default_site = "backup_platform.console.site.StrongroomSite"
