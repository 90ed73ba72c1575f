"""Servers of your own behind a TLS-ending proxy (docs/operations/install.md). Every secret is asked for."""

from __future__ import annotations

from backup_platform.settings.base import *

SECRET_KEY = read_setting("DJANGO_SECRET_KEY")
read_setting("DATABASE_URL")  # asked for: a default would silently be somebody else's database
read_setting("REDIS_URL")
ALLOWED_HOSTS = read_list("STRONGROOM_ALLOWED_HOSTS")

# The proxy must set this header and drop a client's own; docs/operations/install.md shows it.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]  # probes ask inside the network, without TLS
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_NAME = "__Host-sessionid"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_NAME = "__Host-csrftoken"
# To be on the browsers' preload list is for the owner of the domain to ask, not for a program to announce.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
