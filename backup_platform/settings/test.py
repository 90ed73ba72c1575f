"""Tests: real servers, started once per run by tests/conftest.py, which puts their addresses in place."""

from __future__ import annotations

import tempfile

from backup_platform.settings.base import *

SECRET_KEY = read_setting("DJANGO_SECRET_KEY", "tests only: signs nothing that leaves the test run")
ALLOWED_HOSTS = ["*"]
# A test that needs a home takes the fixture `strongroom_home`; this one exists for imports and must stay empty.
STRONGROOM_HOME = Path(os.environ.get("STRONGROOM_HOME", Path(tempfile.gettempdir()) / "strongroom-test-without-home"))
DATABASE_APPLICATION_ROLE = "strongroom_app"

# Argon2 costs a quarter of a second by design; here it would be most of the run.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
LOGGING["root"]["level"] = os.environ.get("STRONGROOM_LOG_LEVEL", "WARNING")
# All tests are one visitor of one address, and Valkey remembers between them.
STRONGROOM_API_VISITOR_RATE = 60_000
