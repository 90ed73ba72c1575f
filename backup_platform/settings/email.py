"""E-mail and other ways out, as the operator sets them. Nothing is sent before a mail server is named."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from backup_platform.settings.environment import read_list, read_number, read_setting

EMAIL_HOST = read_setting("STRONGROOM_EMAIL_HOST", "")
_secure = read_setting("STRONGROOM_EMAIL_SECURITY", "starttls").lower()  # starttls, tls or none
if _secure not in {"starttls", "tls", "none"}:
    raise ImproperlyConfigured("STRONGROOM_EMAIL_SECURITY must be starttls, tls or none.")
EMAIL_USE_TLS = _secure == "starttls"
EMAIL_USE_SSL = _secure == "tls"
EMAIL_PORT = read_number("STRONGROOM_EMAIL_PORT", {"tls": 465, "starttls": 587}.get(_secure, 25))
EMAIL_HOST_USER = read_setting("STRONGROOM_EMAIL_USER", "")
EMAIL_HOST_PASSWORD = read_setting("STRONGROOM_EMAIL_PASSWORD", "")
EMAIL_TIMEOUT = read_number("STRONGROOM_EMAIL_TIMEOUT", 15)  # seconds for each step of a conversation
DEFAULT_FROM_EMAIL = SERVER_EMAIL = read_setting("STRONGROOM_EMAIL_FROM", "strongroom@localhost")

# Networks inside the house that webhooks may reach, as the operator says; all others must be public addresses.
STRONGROOM_WEBHOOK_NETWORKS = read_list("STRONGROOM_WEBHOOK_NETWORKS")
# Services of apprise that tenants may use. Those named here talk to their makers' own hosts only.
STRONGROOM_APPRISE_SCHEMES = read_list("STRONGROOM_APPRISE_SCHEMES", "discord,slack,tgram,pover,msteams,pbul")
# Asked every minute while all is well: an outside monitor that hears nothing for a while raises the alarm itself.
STRONGROOM_MONITOR_URL = read_setting("STRONGROOM_MONITOR_URL", "")
# Where people reach the console: put into messages as a link.
STRONGROOM_CONSOLE_URL = read_setting("STRONGROOM_CONSOLE_URL", "").rstrip("/")
