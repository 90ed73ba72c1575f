"""What every way of running the platform shares. Nothing here opens a connection."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from backup_platform.console.unfold_settings import UNFOLD  # noqa: F401 - a setting
from backup_platform.settings.api import *
from backup_platform.settings.celery import *
from backup_platform.settings.email import *
from backup_platform.settings.environment import (
    broker_from_redis_url,
    connection_patience,
    database_from_url,
    read_key,
    read_list,
    read_number,
    read_setting,
    session_options,
)
from backup_platform.settings.log_records import logging_settings
from backup_platform.settings.retention import *

BASE_DIR = Path(__file__).resolve().parent.parent.parent

# Everything that an instance keeps on this host: secrets, certificates, spools, the local target.
STRONGROOM_HOME = Path(os.environ.get("STRONGROOM_HOME") or BASE_DIR / "var").absolute()
STRONGROOM_GATEWAY_PORT = read_number("STRONGROOM_GATEWAY_PORT", 0)
# Blocks of packs that were read from targets are kept below the home, up to this many bytes.
STRONGROOM_READ_CACHE_BYTES = read_number("STRONGROOM_READ_CACHE_MIB", 1024) * 1024 * 1024
# Where agents reach the gateway: written into enrolment strings.
STRONGROOM_GATEWAY_ADDRESS = os.environ.get("STRONGROOM_GATEWAY_ADDRESS", "")
# Whether gateways announce themselves on the local network: auto, on or off (gateway/announcing.py).
STRONGROOM_ANNOUNCE = os.environ.get("STRONGROOM_ANNOUNCE") or "auto"

DEBUG = False
SECRET_KEY = read_setting("DJANGO_SECRET_KEY", "")
# What seals credentials in the database; without it DJANGO_SECRET_KEY does. Former ones still open what they sealed.
STRONGROOM_SECRETS_KEY = read_key("STRONGROOM_SECRETS_KEY")
STRONGROOM_FORMER_SECRETS_KEYS = read_setting("STRONGROOM_FORMER_SECRETS_KEYS", "").replace(",", " ").split()
ALLOWED_HOSTS = read_list("STRONGROOM_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = read_list("STRONGROOM_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # before admin: it replaces the admin's templates
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "backup_platform.console.admin_config.StrongroomAdminConfig",  # django.contrib.admin, with our site
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_htmx",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "axes",
    "backup_platform.console.second_factor_apps.AccountTables",
    "backup_platform.console.second_factor_apps.SecondFactorTables",
    "backup_platform.tenants",
    "backup_platform.fleet",
    "backup_platform.vaults",
    "backup_platform.policies",
    "backup_platform.jobs",
    "backup_platform.targets",
    "backup_platform.catalog",
    "backup_platform.retention",
    "backup_platform.tiering",
    "backup_platform.upkeep",
    "backup_platform.rebuilding",
    "backup_platform.audit",
    "backup_platform.notifications",
    "backup_platform.reports",
    "backup_platform.gateway",
    "backup_platform.console",
    "backup_platform.api",
    "backup_platform.embedded",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "backup_platform.console.middleware.SecurityHeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "backup_platform.console.second_factor_session.SecondFactorMiddleware",  # before the scope: no factor, no rows
    "backup_platform.tenants.middleware.TenantScopeMiddleware",
    "backup_platform.console.middleware.PasswordChangeMiddleware",
    "backup_platform.console.second_factor_session.RequiredFactorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",  # last: it answers a sign-in that was locked out
]

ROOT_URLCONF = "backup_platform.urls"
ASGI_APPLICATION = "backup_platform.asgi.application"
WSGI_APPLICATION = "backup_platform.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# Two roles (docs/decisions/0002): the platform runs as the application role, which cannot change the schema or
# rewrite the audit; only commands that change the schema ask for the owner, which manage.py does for them.
DATABASE_URL = read_setting("DATABASE_URL", "postgresql:///strongroom")
DATABASE_OWNER_URL = read_setting("DATABASE_OWNER_URL", DATABASE_URL)
DATABASE_APPLICATION_ROLE: str = database_from_url(DATABASE_URL)["USER"]
DATABASE_ROLE = os.environ.get("STRONGROOM_DATABASE_ROLE", "application")

_database = (
    database_from_url(DATABASE_OWNER_URL, name="DATABASE_OWNER_URL")
    if DATABASE_ROLE == "owner"
    else database_from_url(DATABASE_URL)
)
_database["CONN_MAX_AGE"] = 0  # a kept connection outlives its thread under ASGI and in the gateway
_database["CONN_HEALTH_CHECKS"] = True
_database["ATOMIC_REQUESTS"] = False  # services say where a transaction begins and ends
_database["OPTIONS"] = {**connection_patience(), **_database["OPTIONS"], "options": session_options()}
# Threaded processes (web, gateway) borrow from a pool; forking ones (worker) must not inherit one.
_pool_size = read_number("STRONGROOM_DATABASE_POOL", 0)
if _pool_size:
    _database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": _pool_size, "timeout": 10}
DATABASES: dict[str, dict[str, Any]] = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = read_setting("REDIS_URL", "redis://127.0.0.1:6379/0")
CELERY_BROKER_URL = broker_from_redis_url(REDIS_URL)

AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "admin:login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # a stranger cannot lock an operator out of their own desk
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False
MFA_ADAPTER = "backup_platform.console.second_factor_adapter.SealingAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

REST_FRAMEWORK = {
    # JSON only: the browsable API would be a second console that nobody tests.
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["backup_platform.api.parsers.BoundedJSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["backup_platform.api.belonging.BelongsSomewhere"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "PAGE_SIZE": 50,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["backup_platform.api.rates.RateLimit"],
    "EXCEPTION_HANDLER": "backup_platform.api.refusals.answer_to",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Strongroom",
    "VERSION": "v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

LOGGING = logging_settings(os.environ.get("STRONGROOM_LOG_LEVEL", "INFO"))
